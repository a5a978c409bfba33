"""Reads plain text files, in which a document is a file, a line or a paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from siftlm.readers.encodings import UTF8_MARK, in_utf8, is_utf16, marked, not_utf8
from siftlm.readers.lines import Piece, beginning, line_end, split_lines
from siftlm.readers.records import Flaw, Record, checked, too_large
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.slices import Bounds, SliceBound, Slicing, content_between, line_cuts
from siftlm.readers.streams import Block, read_blocks


def read_text(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """Yields the documents of a text file: the whole file, its lines or its paragraphs, as configured.

    An empty file has none.
    """
    blocks = in_utf8(read_blocks(file, compression, settings.max_expansion, window=settings.max_window_bytes))
    if settings.text_unit == "file":
        yield from _as_one(blocks, settings)
    else:
        limit = settings.max_document_bytes + 1
        first, head = beginning(blocks, limit)
        lines = split_lines(chain(first, blocks), limit, line_end(head))
        yield from (_single_lines if settings.text_unit == "line" else _paragraphs)(lines, settings)


def _cuts(file: BinaryIO, compression: Compression, settings: InputSettings, size: int) -> list[SliceBound]:
    head = _head(file, compression, settings)
    if settings.text_unit == "file" or marked(head) or is_utf16(head):
        return []
    end = line_end(head)
    return line_cuts(file, compression, size, end if settings.text_unit == "line" else end + rb"\s*" + end)


def _read_slice(
    file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds
) -> Iterator[Record | Flaw]:
    """The documents of some lines of a file."""
    end, start = line_end(_head(file, compression, settings)), bounds[0].before if bounds[0] else 0
    blocks = content_between(file, compression, settings, bounds)
    lines = split_lines(blocks, settings.max_document_bytes + 1, end, start)
    yield from (_single_lines if settings.text_unit == "line" else _paragraphs)(lines, settings)


def _head(file: BinaryIO, compression: Compression, settings: InputSettings) -> bytes:
    blocks = read_blocks(file, compression, settings.max_expansion, window=settings.max_window_bytes)
    return beginning(blocks, settings.max_document_bytes + 1)[1]


SLICING = Slicing(_cuts, _read_slice)


def _as_one(blocks: Iterator[Block | Flaw], settings: InputSettings) -> Iterator[Record | Flaw]:
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        if isinstance(block, Flaw):  # a document with a hole is not that document
            yield block
            return
        size += len(block.content)
        if size > settings.max_document_bytes + len(UTF8_MARK):
            parts.clear()
        else:
            parts.append(block.content)
    if size > settings.max_document_bytes + len(UTF8_MARK):
        yield too_large(size, settings.max_document_bytes, 0)
    elif size:
        yield _document(b"".join(parts).removeprefix(UTF8_MARK), 0, settings)


def _single_lines(lines: Iterator[Piece | Flaw], settings: InputSettings) -> Iterator[Record | Flaw]:
    for line in lines:
        if isinstance(line, Flaw):
            yield line
        elif line.content is None:
            yield too_large(line.size, settings.max_document_bytes, line.offset)
        elif line.whole and line.content.strip():
            yield _document(line.content, line.offset, settings)


def _paragraphs(lines: Iterator[Piece | Flaw], settings: InputSettings) -> Iterator[Record | Flaw]:
    parts: list[bytes] = []
    size = start = 0
    for line in lines:
        if isinstance(line, Flaw):
            yield line  # the paragraph that damage cut is part of the damage
            parts, size = [], 0
        elif line.content is None or line.content.strip():
            start = line.offset if not size else start
            size += 1 + (line.size if line.content is None else len(line.content))
            if size <= settings.max_document_bytes + 1:
                parts.append(line.content or b"")
        elif size:
            yield _paragraph(parts, size - 1, start, settings)
            parts, size = [], 0
    if size:
        yield _paragraph(parts, size - 1, start, settings)


def _paragraph(parts: list[bytes], size: int, start: int, settings: InputSettings) -> Record | Flaw:
    if size > settings.max_document_bytes:
        return too_large(size, settings.max_document_bytes, start)
    return _document(b"\n".join(parts), start, settings)


def _document(content: bytes, offset: int, settings: InputSettings) -> Record | Flaw:
    return not_utf8(content, "the text", offset) or checked(Record(content, offset), settings)
