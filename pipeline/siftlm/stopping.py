"""Ends a command with one line when it is asked to stop, and leaves nothing behind."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from siftlm.console import discard

ASKED = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "asked to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed",
}
GRACE_SECONDS = 3.0  # for what has temporary files to remove


class Stopped(BaseException):
    """Reports that the process was asked to end; only the command line catches this."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number  # what shells give to a command that a signal ended


@contextmanager
def heeded() -> Iterator[None]:
    """Turns signals that ask to stop into `Stopped` while the block runs.

    Those that whoever started this ignores stay ignored.
    """
    ours = [n for n in ASKED if signal.getsignal(n) in (signal.SIG_DFL, signal.default_int_handler)]
    before = {number: signal.signal(number, _stop) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: object) -> None:
    """Says so at once and ends soon: by unwinding, or after a grace where something keeps the main thread.

    Threads at work complain when what they work for goes away, so nothing more is shown.
    """
    for asked in ASKED:
        signal.signal(asked, signal.SIG_DFL)  # a second one does not wait
    start = "\r\x1b[2K" if os.isatty(2) else ""  # past the stream, in which a line may be half written
    with suppress(OSError):  # nobody listens
        os.write(2, f"{start}siftlm: {ASKED[signal.Signals(number)]}; run again to go on from here\n".encode())
    discard(2)
    late = threading.Timer(GRACE_SECONDS, os._exit, [128 + number])
    late.daemon = True
    late.start()
    raise Stopped(number)


def leave(code: int) -> NoReturn:
    """Ends the process and its children without waiting for threads, which may be in the middle of a shard."""
    sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(code)
