"""Finds where the members of a compressed file begin, without decompressing them, where the format tells.

A zstd frame says how long its blocks are and mostly how much it holds (RFC 8878); a BGZF block, a gzip member with an
extra field, says both (the SAM specification, section 4.1). Other gzip members, bzip2 and xz do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from siftlm.readers.settings import Compression

FIRST_BYTES = 64 << 20  # a first member that goes on for so long is taken for the only one
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
_SIZE_BYTES = (0, 2, 4, 8)  # of the content's size, by the two bits that say so
_DICTIONARY_BYTES = (0, 1, 2, 4)
_RLE, _RESERVED = 1, 3
_BGZF_HEADER = 18
_EXTRA = 4  # the flag of an extra field


class Frame(NamedTuple):
    """Holds where a member begins in the file, and how many bytes it decompresses to."""

    at: int
    content: int


def frames(file: BinaryIO, compression: Compression) -> Iterator[Frame]:
    """Yields the members of a file in order, as far as they tell their sizes."""
    if compression == "zstd":
        yield from _walk(file, _zstd_frame)
    elif compression == "gzip":
        yield from _walk(file, _bgzf_block)


def _walk(file: BinaryIO, measure: object) -> Iterator[Frame]:
    at, total = 0, file.seek(0, 2)
    while at < total:
        sizes = measure(file, at)  # type: ignore[operator]
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


def _zstd_frame(file: BinaryIO, at: int) -> tuple[int, int] | None:
    """The sizes of a zstd frame, compressed and not; None where it does not tell its content's, or is damaged."""
    file.seek(at)
    head = file.read(18)
    if head[1:4] == _SKIPPABLE and 0x50 <= head[0] <= 0x5F:
        return 8 + int.from_bytes(head[4:8], "little"), 0
    if len(head) < 9 or not head.startswith(_ZSTD_MAGIC):
        return None
    single, checksum, flag = head[4] >> 5 & 1, head[4] >> 2 & 1, head[4] >> 6
    size_bytes = _SIZE_BYTES[flag] or single
    start = 5 + (not single) + _DICTIONARY_BYTES[head[4] & 3]
    if not size_bytes:
        return None
    content = int.from_bytes(head[start : start + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    end = _last_block(file, at + start + size_bytes, at)
    return None if end is None else (end + 4 * checksum - at, content)


def _last_block(file: BinaryIO, place: int, start: int) -> int | None:
    """Where the blocks of a zstd frame end, the first of which is at `place`."""
    while True:
        file.seek(place)
        header = int.from_bytes(block := file.read(3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if len(block) < 3 or kind == _RESERVED or (start == 0 and place > FIRST_BYTES):
            return None
        place += 3 + (1 if kind == _RLE else size)
        if last:
            return place
