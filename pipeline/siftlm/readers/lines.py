"""Reads the lines of a stream in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from siftlm.readers.encodings import UTF8_MARK
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block

HEAD_BYTES = 1 << 16  # how much of the beginning of a text says how it is laid out


class Piece(NamedTuple):
    """Holds a line or a JSON value as it stands in the stream.

    `offset` is in the uncompressed text, `size` in bytes. `content` is None where it is longer than what is held in
    memory; `whole` is false where damage cut it, or where it has no end.
    """

    content: bytes | None
    offset: int
    size: int
    whole: bool = True


def line_end(head: bytes) -> bytes:
    """Returns the byte that ends the lines of a text, LF or CR, judged by its beginning.

    It is CR where there is no LF.
    """
    return b"\r" if b"\r" in head[:-1] and b"\n" not in head else b"\n"


def beginning(blocks: Iterator[Block | Flaw], limit: int) -> tuple[list[Block | Flaw], bytes]:
    """Returns the first blocks of a stream and their bytes, enough to see how lines end.

    Reading stops at HEAD_BYTES; where no line has ended by then, at the first end of a line or at `limit` bytes.
    """
    first: list[Block | Flaw] = []
    head = bytearray()
    ends = False
    for block in blocks:
        first.append(block)
        if isinstance(block, Flaw):
            break
        head += block.content
        ends = ends or b"\n" in block.content or b"\r" in block.content
        if len(head) >= (HEAD_BYTES if ends else limit):
            break
    return first, bytes(head)


def split_lines(
    blocks: Iterable[Block | Flaw], limit: int, end: bytes = b"\n", offset: int = 0
) -> Iterator[Piece | Flaw]:
    """Yields the lines of `blocks`, with fewer blank lines in a row and without a byte order mark.

    Lines end with `end`; a CR before LF is part of the end. `offset` is where in the text the blocks begin.

    A line of more than `limit` bytes is read over and given without its content.
    """
    parts: list[bytes] = []
    kept = size = 0
    for block in blocks:
        if isinstance(block, Flaw):
            if size:
                yield _line(parts, size, offset, limit, whole=False)
            yield block
            offset, parts, kept, size = offset + size, [], 0, 0
            continue
        first, *others = block.content.split(end)
        size += len(first)
        if kept <= limit:
            parts.append(first)
            kept += len(first)
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
        parts, kept, size = [last], len(last), len(last)
    if size:
        yield _line(parts, size, offset, limit, whole=True)


def _line(parts: list[bytes], size: int, offset: int, limit: int, *, whole: bool) -> Piece:
    if size > limit:
        return Piece(None, offset, size, whole)
    content = parts[0] if len(parts) == 1 else b"".join(parts)
    if offset == 0:
        content = content.removeprefix(UTF8_MARK)
    return Piece(content.removesuffix(b"\r"), offset, size, whole)
