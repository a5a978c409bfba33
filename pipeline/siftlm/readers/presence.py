"""Counts how many documents have which fields, and guesses why a source gives no documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from siftlm import filesystem
from siftlm.errors import nearest
from siftlm.readers import FORMATS, detect, detected
from siftlm.readers.archive import read_archive
from siftlm.readers.detection import HEAD_BYTES
from siftlm.readers.encodings import head_as_text, is_utf16
from siftlm.readers.jsonl import read_rows
from siftlm.readers.parquet import column_paths, open_parquet
from siftlm.readers.records import Flaw
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.streams import Block, read_blocks

_RECORDS = 200
_DEEPEST = 4  # objects in one another whose keys are looked at
MISFITS = frozenset({"missing_field", "wrong_type"})
NEAR = 0.5  # how alike a name must be to be the one that was meant, by difflib
_COLUMNS = {"id_field": "record_id", "url_field": "url", "domain_field": "domain"}


def count_values(documents: pa.RecordBatch, settings: InputSettings) -> Counter[str]:
    """Counts for each field beside the text that the settings name how many documents have a value."""
    counts: Counter[str] = Counter()
    for place in settings.extra_fields.keys() & _COLUMNS.keys():
        column = documents[_COLUMNS[place]]
        counts[place] = len(column) - column.null_count
    if settings.metadata_fields:
        for packed in documents["metadata"].to_pylist():
            metadata = orjson.loads(packed) if packed else {}
            counts.update(f"metadata_fields.{name}" for name, value in metadata.items() if value is not None)
    return counts


def field_names(path: str, settings: InputSettings) -> set[str]:
    """Returns the names of the fields in the first records of a file; none where it is unreadable.

    Names have dots into objects.
    """
    with filesystem.open_read(path) as file:
        kind = detected(path, file, settings)
        return FORMATS[kind.format].field_names(file, kind.compression, settings)


def of_parquet(file: BinaryIO, _compression: Compression, _settings: InputSettings) -> set[str]:
    """Returns the names of a Parquet file's columns, and of the fields inside them joined by dots.

    There are none where the file cannot be read.
    """
    try:
        with open_parquet(file) as opened:
            paths = column_paths(opened)
    except (pa.ArrowException, OSError, ValueError):
        return set()
    return {".".join(parts[:end]) for path in paths for parts in [path.split(".")] for end in range(1, len(parts) + 1)}


def of_jsonl(file: BinaryIO, compression: Compression, settings: InputSettings) -> set[str]:
    """Returns the keys of the first JSON objects of a file, nested ones joined by dots."""
    rows = islice(read_rows(file, compression, settings), _RECORDS)
    return {name for row in rows if not isinstance(row, Flaw) for name in _keys(row[0])}


def _keys(row: Mapping[str, Any], depth: int = 1) -> Iterator[str]:
    for key, value in row.items():
        yield key
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from (f"{key}.{inner}" for inner in _keys(value, depth + 1))


def of_archive(file: BinaryIO, compression: Compression, settings: InputSettings) -> set[str]:
    """Returns the names of the headers of an archive's first records."""
    entries = islice(read_archive(file, compression, settings, 0), _RECORDS)
    return {name for entry in entries if not isinstance(entry, Flaw) for name in entry.header}


def suspicion(path: str, settings: InputSettings, reason: str) -> str:
    """Returns the likely cause why a source gave no documents; empty where none is known.

    `reason` is the most frequent reason of its rejects.
    """
    try:
        if reason in MISFITS:
            names = sorted(field_names(path, settings) - {settings.text_field})
            near = nearest(settings.text_field, names, NEAR)
            meant = f" did you mean {near!r}?" if near else ""
            return f"is text_field = {settings.text_field!r} right?{meant}"
        content, kind = _beginning(path, settings)
    except FileNotFoundError:
        return ""
    name = path.rpartition("/")[2]
    if not content:
        return ""
    if settings.format not in ("auto", kind) and kind != "text":
        return f"{name} looks like {kind}, is format = {settings.format!r} right?"
    lines = {name for name, of in FORMATS.items() if of.lines}
    if lines & {kind, settings.format} and is_utf16(content):
        return f"{name} looks like UTF-16 without a byte-order mark; convert it to UTF-8"
    if lines & {kind, settings.format} and head_as_text(content) is None:
        return f"{name} is not UTF-8; convert it, with iconv -f LATIN1 -t UTF-8 for instance where it is Latin-1"
    return ""


def _beginning(path: str, settings: InputSettings) -> tuple[bytes, str]:
    """The beginning of a file, unpacked, and the format that it has by name and content."""
    given = None if settings.compression == "auto" else settings.compression
    with filesystem.open_read(path) as file:
        kind = detect(path, file.read(HEAD_BYTES), given)
        file.seek(0)
        first = next(read_blocks(file, kind.compression, settings.max_expansion), None)
    return (first.content[:HEAD_BYTES] if isinstance(first, Block) else b""), kind.format
