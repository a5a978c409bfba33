"""Writes Parquet files in row groups of bounded size, and reads rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from siftlm import filesystem
from siftlm.seals import Seal, SealingStream

MANY_ROWS = 1 << 16  # what takes less is read faster without handing it to other threads
_MANY_BYTES = 1 << 20
_FEW_BYTES = 1 << 18  # what is no larger is read at once
_UNIQUE = frozenset({"text", "doc_id", "url", "metadata", "detail", "record_id"})  # columns of strings; others repeat

Choice = Sequence[str] | Callable[[list[str]], list[str]] | None
"""Which columns to read: some names, what chooses among those that are there, or None for all of them."""


def at_hand(stream: BinaryIO) -> BinaryIO | pa.BufferReader:
    """Returns the bytes of a small stream in memory, and a large stream as it is.

    Arrow asks Python's streams for a piece at a time.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    return pa.BufferReader(stream.read()) if size <= _FEW_BYTES else stream


def chosen(file: pq.ParquetFile, columns: Choice) -> list[str] | None:
    """Returns the names of the columns to read, None for all of them."""
    if callable(columns):
        return columns(file.schema_arrow.names)
    return None if columns is None else list(columns)


def rows_of_group(
    file: pq.ParquetFile, group: int, start: int, end: int, rows: int, names: list[str] | None
) -> Iterator[pa.RecordBatch]:
    """Yields rows [start, end) of one row group, at most `rows` at a time."""
    row = 0
    large = file.metadata.row_group(group).total_byte_size > _MANY_BYTES
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=large):
        low, high = max(start - row, 0), min(end - row, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        row += batch.num_rows


class ShardWriter:
    """Writes record batches in row groups of bounded bytes and rows.

    Boundaries depend on the rows alone.
    """

    def __init__(self, writer: pq.ParquetWriter, stream: SealingStream, most_bytes: int, most_rows: int) -> None:
        self._writer, self._stream = writer, stream
        self._most_bytes, self._most_rows = most_bytes, most_rows
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = self._waiting_rows = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends the rows of a batch, which is never split, so callers keep batches small."""
        if batch.num_rows == 0:
            return
        schema = self._writer.schema
        self._waiting.append(batch.cast(schema) if batch.schema != schema else batch)
        self._waiting_bytes += batch.nbytes
        self._waiting_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._waiting_bytes >= self._most_bytes or self._waiting_rows >= self._most_rows:
            self.flush()

    @property
    def seal(self) -> Seal:
        """Returns the seal of the whole file, once the writer's block has ended."""
        return self._stream.seal

    def flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._writer.schema)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._waiting_bytes, self._waiting_rows = [], 0, 0


@contextmanager
def open_parquet(
    path: str,
    schema: pa.Schema,
    *,
    metadata: Mapping[str, str] | None = None,
    row_group_bytes: int = 32 << 20,
    row_group_rows: int = 16_384,
    compression_level: int = 1,
    durable: bool = True,
    published: bool = False,
) -> Iterator[ShardWriter]:
    """Opens a writer of a zstd Parquet file of `schema`, which appears under its name only when whole.

    A `published` file has an index of its pages, for readers that skip, and pages that are cut by content: rows that
    are new or gone leave the bytes of most pages as they are, which the hub then knows already.
    """
    if metadata:
        schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
    with filesystem.open_write(path, durable=durable) as file:
        stream = SealingStream(file)
        with pq.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            compression_level=compression_level,
            use_dictionary=[f.name for f in schema if pa.types.is_string(f.type) and f.name not in _UNIQUE],
            write_statistics=True,
            write_page_checksum=True,
            write_page_index=published,
            use_content_defined_chunking=published,
        ) as parquet:
            shard = ShardWriter(parquet, stream, row_group_bytes, row_group_rows)
            yield shard
            shard.flush()
