"""Reads JSON files: one object for each line, or objects and lists of them in any layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

import orjson

from siftlm.readers.encodings import BAD_UTF8, UTF8_MARK, in_utf8, is_utf16, marked, not_utf8
from siftlm.readers.fields import Fields
from siftlm.readers.json_values import Values, split_values
from siftlm.readers.lines import Piece, beginning, line_end, split_lines
from siftlm.readers.records import Flaw, Record, too_large
from siftlm.readers.salvage import members, parse
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.slices import Bounds, SliceBound, Slicing, content_between, line_cuts
from siftlm.readers.streams import Block, read_blocks

_BLANK = b" \t\r\n\v\f\0"  # some downloaders pad files with zeros
_LIST = "a line must be a JSON object, got a list between other lines"
_MAY_BE_SEVERAL = frozenset({"broken_json", "json_list", BAD_UTF8})
_TEXT = "text"  # the field that a string in a list stands for, unless the settings name another

Row = tuple[dict[str, Any], int, bytes]
"""An object, its offset, and the bytes that it was read from."""


def read_jsonl(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """Yields a record or a flaw for every JSON value: a line, an object, or an element of a list."""
    yield from _records(read_rows(file, compression, settings), settings)


def _cuts(file: BinaryIO, compression: Compression, settings: InputSettings, size: int) -> list[SliceBound]:
    head = _head(file, compression, settings)
    return line_cuts(file, compression, size, line_end(head)) if _is_lines(head) and not marked(head) else []


def _read_slice(
    file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds
) -> Iterator[Record | Flaw]:
    """The records of some lines of a file whose values are a line each."""
    end = line_end(_head(file, compression, settings))
    blocks = content_between(file, compression, settings, bounds)
    start = bounds[0].before if bounds[0] else 0
    yield from _records(_lines(blocks, settings, end, start), settings)


def _head(file: BinaryIO, compression: Compression, settings: InputSettings) -> bytes:
    blocks = read_blocks(file, compression, settings.max_expansion, window=settings.max_window_bytes)
    return beginning(blocks, settings.max_record_bytes)[1]


SLICING = Slicing(_cuts, _read_slice)


def _records(rows: Iterable[Row | Flaw], settings: InputSettings) -> Iterator[Record | Flaw]:
    fields = Fields(settings, partial(_exact, settings))
    for row in rows:
        if isinstance(row, Flaw):
            yield row
            continue
        entry = fields.record(*row)
        yield _explained(entry, row) if isinstance(entry, Flaw) else entry


def _explained(flaw: Flaw, row: Row) -> Flaw:
    """The flaw of a text; a record that is not UTF-8, or not JSON, was read as far as that goes."""
    _, offset, content = row
    if flaw.reason == "unreadable_text":
        flaw = flaw._replace(reason="broken_json")
    elif flaw.reason != "lone_surrogate":
        return flaw
    return not_utf8(content, "the record", offset) or flaw


def read_rows(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Row | Flaw]:
    """Yields the JSON objects of a file as rows, and a flaw for everything else."""
    blocks = in_utf8(read_blocks(file, compression, settings.max_expansion, window=settings.max_window_bytes))
    first, head = beginning(blocks, settings.max_record_bytes)
    every: Iterator[Block | Flaw] = chain(first, blocks)
    if _is_lines(head):
        return _lines(every, settings, line_end(head))
    if line_end(head) == b"\r":  # as if it were LF: no string reaches over the end of a line
        every = (b if isinstance(b, Flaw) else replace(b, content=b.content.replace(b"\r", b"\n")) for b in every)
    return _rows(split_values(every, settings.max_record_bytes), settings)


def _is_lines(head: bytes) -> bool:
    """Whether a file that begins so has a value a line.

    A list that goes on behind its first line, an object that does, and objects side by side have not.
    """
    start = head.removeprefix(UTF8_MARK).lstrip()
    if is_utf16(head) or not start.startswith((b"{", b"[")):
        return not start.startswith(b"\x1e")
    line, ended, behind = start.partition(line_end(start))
    first = next(Values(len(start)).feed(b"[" * start.startswith(b"[") + start), None)
    end = first.size if first and first.whole else None  # of the list or object that the file begins with
    if start.startswith(b"["):
        return end is not None and end <= len(line) and bool(behind.strip())
    whole = end is not None and _is_json(start[:end])
    if end is not None and end <= len(line):
        return not (whole and line[end:].lstrip(b" \t,").startswith(b"{"))
    goes_on = bool(ended) and line.rstrip().endswith((b"{", b"[", b",", b":"))
    if goes_on and line.rstrip().endswith((b",", b":")):  # or its end is cut off
        goes_on = not _is_json(behind.partition(line_end(start))[0])
    return not (goes_on or whole)


def _is_json(content: bytes) -> bool:
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    return True


def _lines(blocks: Iterable[Block | Flaw], settings: InputSettings, end: bytes, start: int = 0) -> Iterator[Row | Flaw]:
    limit = settings.max_record_bytes
    for line in split_lines(blocks, limit, end, start):
        if isinstance(line, Flaw):
            yield line
        elif line.content is None:
            yield too_large(line.size, limit, line.offset)
        elif line.content.strip(_BLANK):
            rows = _rows_of_line(line.content, line.offset, settings)
            # What damage cut off is part of the damage, which is an entry of its own.
            yield from (row for row in rows if line.whole or not isinstance(row, Flaw))


def _rows_of_line(content: bytes, offset: int, settings: InputSettings) -> list[Row | Flaw]:
    """The object of a line; or those of one that holds several, side by side, between CRs, before commas or in a list.

    What else a line may hold is one flaw, of the whole line.
    """
    row = _row(content, offset, settings)
    if not isinstance(row, Flaw) or row.reason not in _MAY_BE_SEVERAL:
        return [row]
    values = list(split_values([Block(content, 0, True)], len(content)))
    if not all(isinstance(value, Piece) and value.content and value.content.startswith(b"{") for value in values):
        return [row]
    rows = list(_rows(values, settings, offset))
    return rows if any(not isinstance(each, Flaw) for each in rows) else [row]


def _rows(values: Iterable[Piece | Flaw], settings: InputSettings, start: int = 0) -> Iterator[Row | Flaw]:
    """The objects of values whose offsets count from `start`: a string is a text, unless the settings name a field."""
    for value in values:
        if isinstance(value, Flaw):
            yield value
        elif not value.whole:
            detail = f"{value.size} bytes that begin a value and have no end"
            yield Flaw("error", "broken_json", detail, start + value.offset)
        elif value.content is None:
            yield too_large(value.size, settings.max_record_bytes, start + value.offset)
        elif value.content.startswith(b'"') and settings.text_field == _TEXT:
            yield _row(b'{"%b":%b}' % (_TEXT.encode(), value.content), start + value.offset, settings)
        else:
            yield _row(value.content, start + value.offset, settings)


def _row(content: bytes, offset: int, settings: InputSettings) -> Row | Flaw:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        value = _second_look(content, offset, str(error), settings)
    if type(value) is dict:
        return value, offset, content
    if isinstance(value, Flaw):
        return value
    if isinstance(value, list):
        return Flaw("error", "json_list", _LIST, offset)
    return Flaw("error", "wrong_type", f"a record must be a JSON object, got {type(value).__name__}", offset)


def _second_look(content: bytes, offset: int, complaint: str, settings: InputSettings) -> Any:
    """The value of a record that orjson refuses, as far as it can be read, or why it has none."""
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        return parse(text)
    except RecursionError:
        reason = "json_too_deep"
    except ValueError:
        reason = "broken_json"
        if text.lstrip().startswith("["):
            return not_utf8(content, "the record", offset) or Flaw("error", "json_list", _LIST, offset)
    if (row := members(text, _depth(settings))) is not None:
        return row
    return not_utf8(content, "the record", offset) or Flaw("error", reason, complaint, offset)


def _exact(settings: InputSettings, content: bytes) -> Any:
    """The value of a record with its integers as they are written: orjson rounds those above 64 bits."""
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        return parse(text)
    except (ValueError, RecursionError):
        return members(text, _depth(settings))


def _depth(settings: InputSettings) -> int:
    """How many objects deep the fields of the settings lie."""
    return max(path.count(".") for path in (settings.text_field, *settings.extra_fields.values()))
