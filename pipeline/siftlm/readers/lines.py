"""Reads lines of a stream in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from siftlm.readers.encodings import UTF8_MARK
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block, Fault

HEAD_BYTES = 1 << 16
"""How much of the beginning of a text says how it is laid out."""


class Line(NamedTuple):
    """A line without its end. `offset` is in the uncompressed text; `whole` is false where damage cut it."""

    content: bytes
    offset: int
    whole: bool


class LongLine(NamedTuple):
    """A line of more bytes than are held in memory, with its beginning."""

    size: int
    offset: int
    head: bytes


def line_end(head: bytes) -> bytes:
    """Returns what ends the lines of a text that begins so: CR where there is no LF."""
    return b"\r" if b"\r" in head[:-1] and b"\n" not in head else b"\n"


def by_lines(blocks: Iterator[Block | Fault], limit: int) -> Iterator[Line | LongLine | Flaw]:
    """Yields the lines of `blocks` as `split_lines` gives them, whatever ends them."""
    first, head = beginning(blocks, limit)
    return split_lines(chain(first, blocks), limit, line_end(head))


def beginning(blocks: Iterator[Block | Fault], limit: int) -> tuple[list[Block | Fault], bytes]:
    """Returns the first blocks and their bytes, up to HEAD_BYTES, the first end of a line or the limit."""
    first: list[Block | Fault] = []
    head = bytearray()
    ends = False
    for block in blocks:
        first.append(block)
        if isinstance(block, Fault):
            break
        head += block.content
        ends = ends or b"\n" in block.content or b"\r" in block.content
        if len(head) >= (HEAD_BYTES if ends else limit):
            break
    return first, bytes(head)


def split_lines(blocks: Iterable[Block | Fault], limit: int, end: bytes = b"\n") -> Iterator[Line | LongLine | Flaw]:
    """Yields the lines of `blocks`, fewer of blank ones in a row, without a byte order mark.

    Lines end with `end`; a CR before LF is part of the end.

    A line of more than `limit` bytes is read over and given as a LongLine.
    """
    parts: list[bytes] = []
    held = size = offset = 0
    for block in blocks:
        if isinstance(block, Fault):
            if size:
                yield _line(parts, size, offset, limit, whole=False)
            yield as_flaw(block)
            offset, parts, held, size = offset + size, [], 0, 0
            continue
        first, *others = block.content.split(end)
        size += len(first)
        if held <= limit:
            parts.append(first)
            held += len(first)
        if not others:
            continue
        yield _line(parts, size, offset, limit, whole=True)
        offset += size + 1
        *middle, last = others
        blank = False
        for content in middle:
            blank, after_blank = not content or content.isspace(), blank
            if not (blank and after_blank):  # a bomb may hold a thousand million of them
                yield _line([content], len(content), offset, limit, whole=True)
            offset += len(content) + 1
        parts, held, size = [last], len(last), len(last)
    if size:
        yield _line(parts, size, offset, limit, whole=True)


def as_flaw(fault: Fault) -> Flaw:
    """Returns a fault of the file as an entry of the shard."""
    return Flaw("error", fault.reason, fault.detail, fault.member)


def _line(parts: list[bytes], size: int, offset: int, limit: int, *, whole: bool) -> Line | LongLine:
    if size > limit:
        return LongLine(size, offset, b"".join(parts)[:64])
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    if offset == 0:
        content = content.removeprefix(UTF8_MARK)
    return Line(content.removesuffix(b"\r"), offset, whole)
