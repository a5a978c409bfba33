"""Lines of a stream in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block, Fault

BOM = b"\xef\xbb\xbf"


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


def split_lines(blocks: Iterable[Block | Fault], limit: int) -> Iterator[Line | LongLine | Flaw]:
    """The lines of `blocks`, LF or CRLF, of blank ones in a row not all; a byte order mark at the start is dropped.

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
        first, *others = block.content.split(b"\n")
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
    """A fault of the file as an entry of the shard."""
    return Flaw("error", fault.reason, fault.detail, fault.member)


def _line(parts: list[bytes], size: int, offset: int, limit: int, *, whole: bool) -> Line | LongLine:
    if size > limit:
        return LongLine(size, offset, b"".join(parts)[:64])
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    if offset == 0:
        content = content.removeprefix(BOM)
    return Line(content.removesuffix(b"\r"), offset, whole)
