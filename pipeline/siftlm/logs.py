"""Shows the log messages of siftlm and of its workers, one line each on standard error."""

from __future__ import annotations

import logging
from typing import TextIO

from siftlm.errors import one_line

NAMES = ("siftlm", "siftlm_kernels")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def show(stream: TextIO, level: int = logging.INFO) -> None:
    """Sends the log messages of siftlm to a stream, instead of where they went before.

    Commands and workers call this when they begin; somebody who uses siftlm from Python sets up logging as they like.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line("%(message)s"))
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def level() -> int:
    """Returns the level at which siftlm logs in this process, to set it in workers."""
    return logging.getLogger(NAMES[0]).getEffectiveLevel()
