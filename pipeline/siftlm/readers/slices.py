"""Cuts a large file into slices that give the records of the whole, and reads the content between two cuts.

A cut is a place between two records. In a compressed file it is a place within a member: lines go on over the ends of
members, so a cut is behind the first line that ends in one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from siftlm.readers.frames import Frame, frames
from siftlm.readers.records import Flaw, Record
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.streams import Block, read_blocks

_LOOK_BYTES = 64 << 20  # in which the end of a record is looked for
_CHUNK_BYTES = 1 << 20
_LONGEST_END = 4096  # bytes that the end of a record may have


class SliceBound(NamedTuple):
    """Marks a place between two records of a file.

    Attributes:
        at: Where the file is opened: a byte, or a row group of Parquet.
        skip: How many decompressed bytes from there on belong to the record before the cut.
        before: What is before the cut in the unit in which errors count: bytes of the text, or rows.
    """

    at: int
    skip: int = 0
    before: int = 0


Bounds = tuple[SliceBound | None, SliceBound | None]
"""The cuts where a slice of a file begins and ends; None for the ends of the file."""
WHOLE: Bounds = (None, None)


class Slicing(NamedTuple):
    """Says how files of a format are cut into slices, and how the records of a slice are read.

    `cuts` takes a file, its compression, the settings and how many bytes of content a slice is to have, about; it gives
    no cut where records cannot be found without reading what is before them. `read` takes the bounds of a slice last;
    it gives the records and flaws that a reader of the whole file gives of this part, in the same units.
    """

    cuts: Callable[[BinaryIO, Compression, InputSettings, int], list[SliceBound]]
    read: Callable[[BinaryIO, Compression, InputSettings, Bounds], Iterator[Record | Flaw]]


def line_cuts(file: BinaryIO, compression: Compression, size: int, end: bytes) -> list[SliceBound]:
    """Returns cuts behind matches of the regular expression `end`, about `size` bytes of content apart."""
    pattern = re.compile(end)
    if compression == "none":
        return _plain_cuts(file, size, pattern)
    return _framed_cuts(file, compression, size, pattern)


def _plain_cuts(file: BinaryIO, size: int, end: re.Pattern[bytes]) -> list[SliceBound]:
    made: list[SliceBound] = []
    total, wanted = file.seek(0, 2), size
    while wanted <= total - size // 2:
        place = _end_after(file, wanted, end)
        if place is None or place >= total:
            break
        made.append(SliceBound(place, 0, place))
        wanted = place + size
    return made


def _end_after(file: BinaryIO, place: int, end: re.Pattern[bytes]) -> int | None:
    """Where the first record that ends at or behind a place does so; None where none does for long."""
    file.seek(place)
    content = b""
    while len(content) < _LOOK_BYTES and (more := file.read(_CHUNK_BYTES)):
        looked = max(0, len(content) - _LONGEST_END)
        content += more
        if match := end.search(content, looked):
            return place + match.end()
    return None


def _framed_cuts(file: BinaryIO, compression: Compression, size: int, end: re.Pattern[bytes]) -> list[SliceBound]:
    made: list[SliceBound] = []
    content, wanted = 0, size
    for frame in frames(file, compression):
        if content >= wanted and (skip := _skipped(file, compression, frame, end)) is not None:
            made.append(SliceBound(frame.at, skip, content + skip))
            wanted = content + size
        content += frame.content
    return [cut for cut in made if cut.before <= content - size // 2]


def _skipped(file: BinaryIO, compression: Compression, frame: Frame, end: re.Pattern[bytes]) -> int | None:
    """How many bytes of a member belong to the record that goes on in it; None where none ends in it."""
    content = b""
    for block in read_blocks(file, compression, 1 << 20, frame.at):
        if isinstance(block, Flaw) or block.member != frame.at or len(content) >= _LOOK_BYTES:
            return None
        content += block.content
        if match := end.search(content):
            return match.end()
    return None


def content_between(
    file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds
) -> Iterator[Block | Flaw]:
    """Yields the decompressed content between two cuts in blocks, and flaws where it is damaged."""
    begin, end = bounds
    blocks = read_blocks(
        file, compression, settings.max_expansion, begin.at if begin else 0, window=settings.max_window_bytes
    )
    skip, rest = begin.skip if begin else 0, end.skip if end else 0
    for block in blocks:
        if isinstance(block, Flaw):
            if end and block.offset >= end.at:
                return
            yield block
            continue
        content = block.content
        if end and block.member + (len(content) if compression == "none" else 1) > end.at:
            content = content[: end.at - block.member] if compression == "none" else content[:rest]
            rest -= len(content)
            if not content or block.member > end.at:
                return
        dropped = min(skip, len(content))
        skip -= dropped
        if content := content[dropped:]:
            yield replace(block, content=content)
