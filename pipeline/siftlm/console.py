"""Sets up text encoding and output streams, whatever terminal, locale or pipe there is."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from typing import Any, TextIO

SHOWN_ESCAPED = "backslashreplace"  # what becomes of characters that a terminal does not have


def use_utf8() -> None:
    """Restarts this command in Python's UTF-8 mode where the locale has another encoding.

    Names of files and texts are UTF-8 wherever they come from; worker processes inherit the mode. Only what is printed
    keeps the encoding of the terminal.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    if sys.stdout is not None:
        os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:{SHOWN_ESCAPED}")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def open_streams() -> None:
    """Makes standard output and error take every character, and go on when their reader goes away.

    A stream that was closed before the start becomes the null device, or the next file opened would take its number.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdout is sys.__stdout__:
        sys.stdout = _patient(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _patient(sys.stderr, 2)


def _patient(stream: TextIO | None, number: int) -> TextIO:
    encoding = "utf-8" if stream is None else stream.encoding
    if stream is not None:
        stream.flush()
    lines = number == 2 or os.isatty(number)
    return io.TextIOWrapper(
        io.BufferedWriter(_Patient(number, "wb", closefd=False)), encoding, SHOWN_ESCAPED, line_buffering=lines
    )


class _Patient(io.FileIO):
    """Writes to a stream whose reader may go away, as `| head` does: the rest is for nobody, and no error.

    Neither is what standard error cannot take: there is no other place to say so, and work goes on. What standard
    output cannot take (a full disk) is an error once, and what is left of it does not come up again at the end.
    """

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            hung_up = error.errno == errno.EIO and stat.S_ISCHR(os.fstat(self.fileno()).st_mode)
            discard(self.fileno())
            if self.fileno() != 2 and error.errno != errno.EPIPE and not hung_up:
                raise
        return memoryview(content).nbytes


def discard(number: int) -> None:
    """Discards everything that is written to a file descriptor from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
