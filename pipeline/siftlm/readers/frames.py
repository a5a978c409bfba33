"""Finds where the members of a compressed file begin, without decompressing them, where the format tells.

A zstd frame says how long its blocks are and mostly how much it holds (RFC 8878); a BGZF block, a gzip member with an
extra field, says both (the SAM specification, section 4.1). Other gzip members, bzip2 and xz do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from siftlm.readers.settings import Compression
from siftlm.readers.zstd import frame_sizes

_BGZF_HEADER = 18
_EXTRA = 4  # the flag of an extra field


class Frame(NamedTuple):
    """Holds where a member begins in the file, and how many bytes it decompresses to."""

    at: int
    content: int


def frames(file: BinaryIO, compression: Compression) -> Iterator[Frame]:
    """Yields the members of a file in order, as far as they tell their sizes."""
    if compression == "zstd":
        yield from _walk(file, frame_sizes)
    elif compression == "gzip":
        yield from _walk(file, _bgzf_block)


def _walk(file: BinaryIO, measure: Callable[[BinaryIO, int], tuple[int, int] | None]) -> Iterator[Frame]:
    at, total = 0, file.seek(0, 2)
    while at < total:
        sizes = measure(file, at)
        if sizes is None:
            return
        compressed, content = sizes
        yield Frame(at, content)
        at += compressed


def _bgzf_block(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """The sizes of a BGZF block, compressed and not; None where it is none."""
    file.seek(at)
    head = file.read(_BGZF_HEADER)
    if len(head) < _BGZF_HEADER or not head.startswith(b"\x1f\x8b\x08") or not head[3] & _EXTRA or head[12:14] != b"BC":
        return None
    size = int.from_bytes(head[16:18], "little") + 1
    file.seek(at + size - 4)
    end = file.read(4)
    return (size, int.from_bytes(end, "little")) if len(end) == 4 else None
