"""Reads files over a network, and takes up a broken connection again or raises an error that says so.

Readers take an OSError in the middle of a file for damage of its content; a network that fails is none.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

from siftlm.errors import UserError, reason_of
from siftlm.remote import hub

BUFFER_BYTES = 1 << 16


class RemoteFile(io.RawIOBase):
    """Reads from a file of fsspec; `path` is what messages call it.

    Args:
        file: The open file, which can seek.
        path: Its path as a user wrote it.
        faults: Classes of what goes wrong on the way.
        waits: Seconds to wait before each new try; none where the file tries again by itself.
    """

    def __init__(self, file: Any, path: str, faults: tuple[type[Exception], ...], waits: Sequence[float] = ()) -> None:
        self._file, self._path, self._faults, self._waits = file, path, faults, waits

    def readinto(self, into: Any) -> int:
        content = self._read(len(into))
        into[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._read(-1)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read(self, size: int) -> bytes:
        start = self._file.tell()
        for wait in (*self._waits, None):
            try:
                return bytes(self._file.read(size))
            except self._faults as error:
                if wait is None:
                    raise self._broken(error) from error
                time.sleep(wait)
                self._file.seek(start)
        raise AssertionError("the last try returns or raises")

    def _broken(self, error: Exception) -> UserError:
        why = hub.why_not(error) if self._path.startswith("hf://") else f"{reason_of(error)}; run again to go on"
        return UserError(f"input: files must be readable to their ends, got {self._path}; {why}")


def buffered(file: RemoteFile) -> io.BufferedReader:
    """Returns a stream that reads a remote file in blocks."""
    return io.BufferedReader(file, BUFFER_BYTES)
