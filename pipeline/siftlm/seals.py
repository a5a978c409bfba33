"""Computes checksums of files while they are written, and checks them when they are read.

A file is hashed once a process for as long as the file system says the same of it (size, both times, inode); an object
once a process, and not at all where its store keeps the digest that it had when it was written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import xxhash

from siftlm import filesystem, paths

CHANGED = "its checksum is not that of what was written"
KNOWN = 1 << 16  # files whose seals a process remembers to have looked at


@dataclass(frozen=True)
class Seal:
    """Holds a file's size, its xxh3_128 and its store's digest, as they were when it was written."""

    size: int
    digest: str
    kept: str = ""

    @staticmethod
    def of(path: str) -> Seal:
        """Returns the seal of a file that exists already."""
        return Seal(filesystem.size(path), filesystem.hash_bytes(path))

    def damage(self, path: str, stream: BinaryIO) -> str | None:
        """Returns what is wrong with the file that `stream` reads; None where it is as it was written."""
        if self.kept and filesystem.kept_digest(path) == self.kept:
            return None
        size = stream.seek(0, 2)
        if size != self.size:
            return f"it has {size:,} bytes, {self.size:,} were written"
        stream.seek(0)
        if filesystem.hash_stream(stream) != self.digest:
            return CHANGED
        stream.seek(0)
        return None


_known: dict[str, str] = {}
"""Files that are known to be as they were written, and what the file system said of them then."""


def is_known(path: str, stream: BinaryIO) -> bool:
    """Tells whether this process has found the file undamaged, and the file has not changed since."""
    return _known.get(path) == _signature(path, stream)


def remember(path: str, stream: BinaryIO) -> None:
    """Records that this process has found the file undamaged."""
    if len(_known) >= KNOWN:
        _known.clear()
    _known[path] = _signature(path, stream)


def _signature(path: str, stream: BinaryIO) -> str:
    return filesystem.signature(stream.fileno()) if paths.is_local(path) else ""


class SealingStream:
    """Passes bytes on to another stream, and computes the seal of all of them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._digest, self._size = stream, xxhash.xxh3_128(), 0
        self.closed = False  # pyarrow asks

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        self._size += len(content)
        self._stream.write(content)
        return len(content)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        self._stream.flush()

    @property
    def seal(self) -> Seal:
        """Returns the seal of all bytes written so far."""
        return Seal(self._size, str(self._digest.hexdigest()))
