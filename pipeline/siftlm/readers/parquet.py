"""Parquet: a row is a document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from siftlm.readers.fields import Fields
from siftlm.readers.records import Flaw, Record
from siftlm.readers.settings import Compression, InputSettings

_BATCH_ROWS = 512
_BATCH_BYTES = 8 << 20
_DICTIONARY_ROWS = 64  # a page of a few bytes may repeat one long value, so its size says little
_MAGIC = b"PAR1"

_ERRORS = (pa.ArrowException, OSError, ValueError)


def read_parquet(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """A record or a flaw for every row; one flaw for the rows of a row group that cannot be read."""
    if compression != "none":
        yield Flaw("error", "compressed_parquet", f"Parquet inside {compression} cannot be read", 0)
        return
    try:
        # Column chunks are streamed page by page rather than held whole.
        opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True)
    except _ERRORS as error:
        yield _unreadable(file, error)
        return
    with opened:
        names = _columns(opened, settings)
        if isinstance(names, Flaw):
            yield names
            return
        fields, first = Fields(settings), 0
        for group in range(opened.num_row_groups):
            yield from _read_group(opened, group, first, names, fields)
            first += opened.metadata.row_group(group).num_rows


def _unreadable(file: BinaryIO, error: Exception) -> Flaw:
    _raise_if_from_disk(error)
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(size - 4, 0))
    cut = file.read(4) != _MAGIC
    return Flaw("error", "truncated_parquet" if cut else "corrupt_parquet", f"{size} bytes: {error}", 0)


def _raise_if_from_disk(error: Exception) -> None:
    """Arrow says OSError for bad content too, but only the system's own errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _columns(opened: pq.ParquetFile, settings: InputSettings) -> list[str] | Flaw:
    """The columns to read, in the order of the file's schema; a flaw where the text is not among them."""
    paths = [opened.metadata.schema.column(i).path for i in range(opened.metadata.num_columns)]
    wanted = [settings.text_field, settings.id_field, settings.url_field, settings.domain_field]
    wanted += settings.metadata_fields
    present = {name for name in wanted if name and any(_is_at(path, name) for path in paths)}
    if settings.text_field not in present:
        rows = f"{opened.metadata.num_rows} rows"
        return Flaw("error", "missing_field", f"no column {settings.text_field!r} in {rows}: {paths[:20]}", 0)
    return sorted(present)


def _is_at(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _read_group(
    opened: pq.ParquetFile, group: int, first: int, names: list[str], fields: Fields
) -> Iterator[Record | Flaw]:
    facts = opened.metadata.row_group(group)
    row = first
    try:
        _probe(opened, group, names)
        for batch in opened.iter_batches(_batch_rows(opened, facts, names), row_groups=[group], columns=names):
            for values in _rows(batch, row):
                yield values if isinstance(values, Flaw) else fields.record(values, row)
                row += 1
    except _ERRORS as error:
        _raise_if_from_disk(error)
        lost = f"rows {row} to {first + facts.num_rows - 1} (row group {group})"
        yield Flaw("error", "corrupt_parquet", f"{lost}: {error}", row)


def _probe(opened: pq.ParquetFile, group: int, names: list[str]) -> None:
    """Raises what is wrong with the columns of a row group; to ask their metadata would end the process instead."""
    next(opened.iter_batches(1, row_groups=[group], columns=names), None)


def _batch_rows(opened: pq.ParquetFile, facts: Any, names: list[str]) -> int:
    """How many rows to decode at once, from the sizes that the row group declares."""
    schema = opened.metadata.schema
    chosen = [i for i in range(facts.num_columns) if any(_is_at(schema.column(i).path, name) for name in names)]
    read = [facts.column(i) for i in chosen]
    row_bytes: int = sum(column.total_uncompressed_size for column in read) // max(facts.num_rows, 1)
    rows: int = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(row_bytes, 1)))
    repeats = any("DICTIONARY" in encoding for column in read for encoding in column.encodings)
    return min(rows, _DICTIONARY_ROWS) if repeats else rows


def _rows(batch: pa.RecordBatch, first: int) -> Iterator[dict[str, Any] | Flaw]:
    """The rows of a batch; where a string is not UTF-8, row by row, to find which."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except UnicodeDecodeError:
        yield from (_row(batch.slice(i, 1), first + i) for i in range(batch.num_rows))
        return
    yield from rows


def _row(batch: pa.RecordBatch, row: int) -> dict[str, Any] | Flaw:
    try:
        values: dict[str, Any] = batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Flaw("error", "bad_utf8", f"byte {error.start} of a string", row)
    return values
