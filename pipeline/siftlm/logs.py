"""Shows what siftlm logs, in the process that runs and in its workers: one line each on standard error."""

from __future__ import annotations

import logging
from typing import TextIO

from siftlm.errors import one_line

NAMES = ("siftlm", "siftlm_kernels")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def show(stream: TextIO, level: int = logging.INFO) -> None:
    """Sends the records of our loggers to a stream, in the place of where they went before.

    Commands and workers call this when they begin; somebody who uses siftlm from Python sets up logging as they like.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line("%(message)s"))
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def level() -> int:
    """The level that our loggers show in this process, for its workers."""
    return logging.getLogger(NAMES[0]).getEffectiveLevel()
