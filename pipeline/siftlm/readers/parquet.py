"""Reads Parquet files, with one document for each row."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from siftlm.readers import parquet_pages
from siftlm.readers.arrow_values import is_string, values
from siftlm.readers.fields import ABSENT, MOST_NAME_BYTES, Fields
from siftlm.readers.metadata import MOST_VALUE_BYTES
from siftlm.readers.records import UNREADABLE, Flaw, Record
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.slices import WHOLE, Bounds, SliceBound, Slicing

_MAGIC = b"PAR1"
_MOST_ROWS = 1 << 40
_ARROW_SCHEMA, _SET_ASIDE = b"ARROW:schema", b"ARROW schema"

_ERRORS = (pa.ArrowException, OSError, ValueError)


def read_parquet(
    file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds = WHOLE
) -> Iterator[Record | Flaw]:
    """Yields a record or a flaw for every row, and one flaw for a row group that cannot be read."""
    if compression != "none":
        yield Flaw("error", "compressed_parquet", f"Parquet inside {compression} cannot be read", 0)
        return
    try:
        opened = open_parquet(file)
    except _ERRORS as error:
        yield _unreadable(file, error)
        return
    with opened:
        names = _columns(opened, settings)
        if isinstance(names, Flaw):
            yield names
            return
        begin, end = bounds
        table, first = _Table(file, opened, names, settings), begin.before if begin else 0
        for group in range(begin.at if begin else 0, end.at if end else opened.num_row_groups):
            yield from table.read_group(group, first)
            first += opened.metadata.row_group(group).num_rows


def _cuts(file: BinaryIO, compression: Compression, settings: InputSettings, size: int) -> list[SliceBound]:
    """Cuts between row groups, by the size of the texts in them."""
    if compression != "none":
        return []
    try:
        with open_parquet(file) as opened:
            return _group_cuts(opened, settings, size)
    except _ERRORS as error:
        _raise_if_from_disk(error)
        return []


def _group_cuts(opened: pq.ParquetFile, settings: InputSettings, size: int) -> list[SliceBound]:
    texts = [n for n, path in enumerate(column_paths(opened)) if _is_at(path, settings.text_field)]
    made: list[SliceBound] = []
    content, wanted, rows = 0, size, 0
    for number in range(opened.num_row_groups):
        if content >= wanted:
            made.append(SliceBound(number, 0, rows))
            wanted = content + size
        group = opened.metadata.row_group(number)
        content += sum(group.column(n).total_uncompressed_size for n in texts)
        rows += group.num_rows
    return made


SLICING = Slicing(_cuts, read_parquet)


def open_parquet(file: BinaryIO, like: pq.ParquetFile | None = None, dictionaries: tuple[str, ...] = ()) -> Any:
    """Opens a Parquet file so that column chunks are streamed page by page, not held whole.

    Beside Parquet's schema a file may have Arrow's. Where that names a type that this Arrow has not, or is damaged,
    Parquet's own is what counts.
    """
    try:
        return _opened(file, like and like.metadata, dictionaries)
    except pa.ArrowException:
        metadata = _without_arrow_schema(file)
        if metadata is None:
            raise
        return _opened(file, metadata, dictionaries)


def _with_dictionaries(file: BinaryIO, opened: pq.ParquetFile, columns: tuple[str, ...]) -> Any:
    return open_parquet(file, opened, columns) if columns else opened


def _opened(file: BinaryIO, metadata: Any, dictionaries: tuple[str, ...]) -> Any:
    return pq.ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=list(dictionaries),
        pre_buffer=False,
        buffer_size=1 << 20,
        page_checksum_verification=True,
        coerce_int96_timestamp_unit="us",  # as Spark writes them; nanoseconds end in 2262, and later years would wrap
    )


def _without_arrow_schema(file: BinaryIO) -> Any:
    """A file's metadata with Arrow's schema under a name that nobody looks for; None where there is no such schema."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if end[4:] != _MAGIC or length > size - 12:
        return None
    file.seek(size - 8 - length)
    before, name, after = file.read(length).rpartition(_ARROW_SCHEMA)  # what a file says of itself comes last
    return pq.read_metadata(io.BytesIO(_MAGIC + before + _SET_ASIDE + after + end)) if name else None


def _leaves(opened: pq.ParquetFile) -> list[Any]:
    return [opened.metadata.schema.column(number) for number in range(opened.metadata.num_columns)]


def _untold(opened: pq.ParquetFile) -> frozenset[str]:
    """The leaves whose bytes only Arrow's schema would explain, where that cannot be read: integers of 128 bits."""
    if _SET_ASIDE not in (opened.metadata.metadata or {}):
        return frozenset()
    raw = [leaf for leaf in _leaves(opened) if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY"]
    return frozenset(leaf.path for leaf in raw if leaf.logical_type.type == "NONE")


def count_rows(file: BinaryIO) -> int:
    """Returns how many rows a file says it has; 0 where it cannot be read or cannot be true."""
    try:
        with open_parquet(file) as opened:
            rows = int(opened.metadata.num_rows)
            return rows if rows <= _MOST_ROWS else 0
    except _ERRORS as error:
        _raise_if_from_disk(error)
        return 0


def column_paths(opened: pq.ParquetFile) -> list[str]:
    """Returns the paths of all leaf columns of a file, with dots into nested objects."""
    return [leaf.path for leaf in _leaves(opened)]


def _unreadable(file: BinaryIO, error: Exception) -> Flaw:
    _raise_if_from_disk(error)
    size = file.seek(0, 2)
    file.seek(max(size - 4, 0))
    reason = "corrupt_parquet" if file.read(4) == _MAGIC else "truncated_parquet"
    return Flaw("error", reason, f"{size} bytes: {error}", 0)


def _raise_if_from_disk(error: Exception) -> None:
    """Arrow says OSError for bad content too, but only the system's own errors have a number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _columns(opened: pq.ParquetFile, settings: InputSettings) -> list[str] | Flaw:
    """The fields to read that the file has; a flaw where the text is not among them."""
    paths, rows = column_paths(opened), opened.metadata.num_rows
    wanted = {settings.text_field, *settings.extra_fields.values()}
    present = {name for name in wanted if any(_is_at(path, name) for path in paths)}
    if settings.text_field not in present:
        detail = f"no column {settings.text_field!r} in {rows} rows: {paths[:20]}"
        return Flaw("error", "missing_field", detail, 0, records=_credible(rows))
    return sorted(present)


def _credible(rows: int) -> int:
    """Rows that are lost, where the file says how many; a damaged one may say anything."""
    return rows if 0 < rows <= _MOST_ROWS else 1


def _is_at(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


class _Table:
    """Reads the rows of a file in batches that stay small, and without columns that cannot be read."""

    def __init__(self, file: BinaryIO, opened: pq.ParquetFile, names: list[str], settings: InputSettings) -> None:
        self._file, self._opened, self._names, self._settings = file, opened, names, settings
        self._fields = Fields(settings)
        self._untold = _untold(opened)
        self._source = lru_cache(maxsize=1)(partial(_with_dictionaries, file, opened))  # for most groups

    def read_group(self, group: int, first: int) -> Iterator[Record | Flaw]:
        """Yields a record or a flaw for every row of a row group.

        A column that is damaged costs its own values, the text the rows.
        """
        names: list[str] | None = self._names
        row = first
        while names is not None:
            try:
                for entry in self._entries(group, first, row - first, names):
                    yield entry
                    row += 1
                return
            except _ERRORS as error:
                _raise_if_from_disk(error)
                names, reason = self._readable(group, names), str(error)
        end = first + self._opened.metadata.row_group(group).num_rows
        detail = f"rows {row} to {end - 1} (row group {group}): {reason}"
        yield Flaw("error", "corrupt_parquet", detail, row, records=_credible(end - row))

    def _entries(self, group: int, first: int, done: int, names: list[str]) -> Iterator[Record | Flaw]:
        """The entries of a row group behind those that are done."""
        plan = self._plan(group, names)
        out = plan.left_out | self._untold
        read = [name for name in names if not any(_is_at(path, name) for path in out)]
        source, row = self._source(plan.by_dictionary), 0
        for batch in source.iter_batches(plan.rows, row_groups=[group], columns=read):
            skipped = min(max(0, done - row), batch.num_rows)
            if skipped < batch.num_rows:
                yield from self._rows(batch.slice(skipped), first + row + skipped, read)
            row += batch.num_rows

    def _plan(self, group: int, names: list[str]) -> parquet_pages.ReadPlan:
        # To ask for the metadata of columns that are not as they should be would end the process; to read does not.
        next(self._opened.iter_batches(1, row_groups=[group], columns=names), None)
        chosen = [i for i, path in enumerate(column_paths(self._opened)) if any(_is_at(path, n) for n in names)]
        metadata, text = self._opened.metadata, self._settings.text_field
        return parquet_pages.plan(metadata.row_group(group), metadata.schema, self._file, chosen, text)

    def _readable(self, group: int, names: list[str]) -> list[str] | None:
        """The columns that can be read to their end; None where the text cannot, or where all can."""
        good = []
        for name in names:
            try:
                plan = self._plan(group, [name])
                deque(self._source(plan.by_dictionary).iter_batches(plan.rows, row_groups=[group], columns=[name]), 0)
                good.append(name)
            except _ERRORS as error:
                _raise_if_from_disk(error)
        return good if self._settings.text_field in good and len(good) < len(names) else None

    def _rows(self, batch: pa.RecordBatch, first: int, read: list[str]) -> Iterator[Record | Flaw]:
        settings, fields = self._settings, self._fields
        texts = self._values(batch, settings.text_field, read, settings.max_document_bytes)
        names = [
            self._values(batch, path, read, MOST_NAME_BYTES)
            for path in (settings.id_field, settings.url_field, settings.domain_field)
        ]
        urls = _column(batch, settings.url_field)
        if urls is not None and not is_string(urls.type):  # whose values may print as one, and are none
            names[1] = [None if value is None or value != value else UNREADABLE for value in names[1]]
        metadata = {path: self._values(batch, path, read, MOST_VALUE_BYTES) for path in settings.packed_fields}
        for at, (text, *named) in enumerate(zip(texts, *names, strict=True)):
            packed = fields.pack({path: column[at] for path, column in metadata.items()})
            yield fields.made(text, named, packed, first + at)

    def _values(self, batch: pa.RecordBatch, path: str | None, read: list[str], limit: int) -> list[Any]:
        """A field of every row; UNREADABLE where the file has the column and it is not read."""
        column = _column(batch, path)
        if column is not None:
            return values(column, limit)
        lost = path is not None and path in self._names and path not in read
        return [UNREADABLE if lost else ABSENT] * batch.num_rows


def _column(batch: pa.RecordBatch, path: str | None) -> pa.Array | None:
    """The column at a path; one that has dots in its name goes before the objects that the dots would name."""
    if path is None:
        return None
    columns: Mapping[str, pa.Array] = dict(zip(batch.schema.names, batch.columns, strict=True))
    if path in columns:
        return columns[path]
    column: pa.Array | None = None
    for name in path.split("."):
        column = columns.get(name)
        if column is None:
            return None
        is_object = pa.types.is_struct(column.type)
        columns = (
            {field.name: inner for field, inner in zip(column.type, column.flatten(), strict=True)} if is_object else {}
        )
    return column
