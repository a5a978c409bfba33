"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from siftlm.readers.fields import Fields
from siftlm.readers.lines import Line, LongLine, split_lines
from siftlm.readers.records import Flaw, Record, too_large
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.streams import read_blocks

_LIST = "a line must be a JSON object, got a list; a file that is one JSON list must be rewritten as JSON lines"


def read_jsonl(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """A record or a flaw for every line that is not blank."""
    fields, limit = Fields(settings), settings.max_record_bytes
    for line in split_lines(
        read_blocks(file, compression, settings.max_expansion, window=settings.max_window_bytes), limit
    ):
        if isinstance(line, Flaw):
            yield line
        elif isinstance(line, LongLine):
            yield _long(line, limit)
        elif line.content and not line.content.isspace():
            entry = _read_line(line, fields)
            # What damage cut off is part of the damage, which is an entry of its own.
            if line.whole or isinstance(entry, Record):
                yield entry


def _long(line: LongLine, limit: int) -> Flaw:
    if line.head.lstrip().startswith(b"["):
        return Flaw("error", "json_list", _LIST, line.offset)
    return too_large(line.size, limit, line.offset)


def _read_line(line: Line, fields: Fields) -> Record | Flaw:
    try:
        row = orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        row = _second_look(line, str(error))
    if isinstance(row, dict):
        return fields.record(row, line.offset)
    if isinstance(row, Flaw):
        return row
    if isinstance(row, list):
        return Flaw("error", "json_list", _LIST, line.offset)
    return Flaw("error", "wrong_type", f"a line must be a JSON object, got {type(row).__name__}", line.offset)


def _second_look(line: Line, complaint: str) -> Any:
    """The value of a line that orjson refuses, or why it has none.

    Python's own parser takes what Python's own writer gives: NaN, Infinity and lone surrogates.
    """
    try:
        return json.loads(line.content.decode())
    except UnicodeDecodeError as error:
        return Flaw("error", "bad_utf8", f"byte {error.start} of the line", line.offset)
    except RecursionError:
        return Flaw("error", "json_too_deep", complaint, line.offset)
    except ValueError:
        reason = "json_list" if line.content.lstrip().startswith(b"[") else "broken_json"
        return Flaw("error", reason, _LIST if reason == "json_list" else complaint, line.offset)
