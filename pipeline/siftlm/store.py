"""Stage outputs keyed by content: written whole or not at all, marked when done, audited by their counts.

A stage's output for one shard is `<stage>/<key>.parquet`, committed by `<stage>/<key>.done`, a small JSON marker
with the counts. The key is a digest of everything that the bytes depend on, so an output is never stale: it is
there, or it is not. Several runs may share one store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from errno import ENOENT
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from siftlm import filesystem
from siftlm.errors import UserError


def digest(*parts: object) -> str:
    """A 128-bit hex digest of JSON-able parts; equal parts give equal digests on every machine."""
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return xxhash.xxh3_128_hexdigest(content)


@dataclass(frozen=True)
class Marker:
    """What one committed output says of itself; the audit adds these up.

    rows_in = rows_out + the sum of `dropped` + the sum of `errors`, always. `content` digests the output where a
    later stage wants to know whether it changed. `facts` holds what is not counted: sizes, digests, seconds.
    """

    stage: str
    key: str
    shard: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    content: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def balance(self) -> int:
        """Rows that are not accounted for; anything but 0 fails the run."""
        return self.rows_in - self.rows_out - sum(self.dropped.values()) - sum(self.errors.values())


@dataclass(frozen=True)
class Store:
    """A folder of committed stage outputs, local or remote; picklable, so that workers open their own."""

    root: str

    def path(self, stage: str, key: str, suffix: str = ".parquet") -> str:
        return f"{self.root}/{stage}/{key}{suffix}"

    def done(self, stage: str) -> set[str]:
        """The keys of `stage` that are committed, in one listing."""
        names = filesystem.list_names(f"{self.root}/{stage}")
        return {name.removesuffix(".done") for name in names if name.endswith(".done")}

    def is_done(self, stage: str, key: str) -> bool:
        return filesystem.exists(self.path(stage, key, ".done"))

    def marker(self, stage: str, key: str) -> Marker:
        path = self.path(stage, key, ".done")
        with _damage_named(path):
            return Marker(**orjson.loads(filesystem.read_bytes(path)))

    def markers(self, stage: str, keys: Iterable[str]) -> list[Marker]:
        return [self.marker(stage, key) for key in keys]

    def commit(self, marker: Marker) -> Marker:
        """Marks an output as complete; called after every file of it is in place."""
        if marker.balance():
            raise AssertionError(
                f"{marker.stage} of {marker.shard}: {marker.rows_in} rows in, {marker.rows_out} out, "
                f"{marker.dropped} dropped, {marker.errors} errors: {marker.balance()} unaccounted for"
            )
        content = orjson.dumps(asdict(marker), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        filesystem.write_bytes(self.path(marker.stage, marker.key, ".done"), content)
        return marker

    @contextmanager
    def writer(
        self,
        stage: str,
        key: str,
        schema: pa.Schema,
        *,
        suffix: str = ".parquet",
        metadata: Mapping[str, str] | None = None,
    ) -> Iterator[ShardWriter]:
        """A Parquet writer whose file appears under its name only when the block ends well."""
        with open_parquet(self.path(stage, key, suffix), schema, metadata=metadata) as shard:
            yield shard

    def batches(
        self, stage: str, key: str, *, rows: int = 512, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one output in order, at most `rows` at a time, in the memory that a row group takes."""
        with self.open(stage, key) as file:
            for group in range(file.num_row_groups):
                yield from _clip(file, group, 0, file.metadata.row_group(group).num_rows, rows, columns)

    def row_range(
        self,
        stage: str,
        key: str,
        start: int,
        end: int,
        *,
        rows: int = 512,
        columns: Sequence[str] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Rows [start, end) of one output, reading only the row groups that hold them."""
        with self.open(stage, key) as file:
            first = 0
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                if first < end and last > start:
                    yield from _clip(file, group, max(start - first, 0), min(end, last) - first, rows, columns)
                first = last

    def table(self, stage: str, key: str, columns: Sequence[str] | None = None, suffix: str = ".parquet") -> pa.Table:
        """One output as a table; for narrow columns, never for texts."""
        with self.open(stage, key, suffix) as file:
            return file.read(columns=None if columns is None else list(columns))

    def schema(self, stage: str, key: str) -> pa.Schema:
        with self.open(stage, key) as file:
            return file.schema_arrow

    @contextmanager
    def open(self, stage: str, key: str, suffix: str = ".parquet") -> Iterator[pq.ParquetFile]:
        """One output as a Parquet file; a UserError names it where it is not as it was written."""
        path = self.path(stage, key, suffix)
        with (
            _damage_named(path),
            filesystem.open_read(path) as stream,
            pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True) as file,
        ):
            yield file


@contextmanager
def _damage_named(path: str) -> Iterator[None]:
    """Names the file of the store that is not what was committed; only its owner can say what happened to it."""
    try:
        yield
    except (pa.ArrowException, orjson.JSONDecodeError, TypeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, ENOENT):
            raise
        reason = "it is gone" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        marker = path.removesuffix(".parquet").removesuffix(".rejects").removesuffix(".done") + ".done"
        raise UserError(
            f"store: must hold every output as it was written, got {path}: {reason}; "
            f"remove {marker} and run again to have it made anew"
        ) from error


def _clip(
    file: pq.ParquetFile, group: int, start: int, end: int, rows: int, columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """Rows [start, end) of one row group."""
    row = 0
    names = None if columns is None else list(columns)
    for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=names):
        low, high = max(start - row, 0), min(end - row, batch.num_rows)
        if low < high:
            yield batch.slice(low, high - low)
        row += batch.num_rows


ROW_GROUP_BYTES = 32 << 20
ROW_GROUP_ROWS = 16_384
COMPRESSION_LEVEL = 1


class ShardWriter:
    """Writes record batches in row groups bounded in bytes and rows; boundaries depend on the rows alone."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, row_group_bytes: int, row_group_rows: int) -> None:
        self._writer = writer
        self._schema = schema
        self._row_group_bytes = row_group_bytes
        self._row_group_rows = row_group_rows
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._waiting_rows = 0
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows. A batch is never split, so callers keep batches small."""
        if batch.num_rows == 0:
            return
        self._waiting.append(batch.cast(self._schema) if batch.schema != self._schema else batch)
        self._waiting_bytes += batch.nbytes
        self._waiting_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._waiting_bytes >= self._row_group_bytes or self._waiting_rows >= self._row_group_rows:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._waiting_bytes, self._waiting_rows = [], 0, 0


@contextmanager
def open_parquet(
    path: str,
    schema: pa.Schema,
    *,
    metadata: Mapping[str, str] | None = None,
    row_group_bytes: int = ROW_GROUP_BYTES,
    row_group_rows: int = ROW_GROUP_ROWS,
    compression_level: int = COMPRESSION_LEVEL,
) -> Iterator[ShardWriter]:
    """A zstd Parquet file of `schema` at `path`, atomically: the name exists only when the file is whole."""
    if metadata:
        schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
    with (
        filesystem.open_write(path) as stream,
        pq.ParquetWriter(
            stream,
            schema,
            compression="zstd",
            compression_level=compression_level,
            use_dictionary=_repetitive(schema),
            write_statistics=True,
            write_page_checksum=True,
        ) as parquet,
    ):
        shard = ShardWriter(parquet, schema, row_group_bytes, row_group_rows)
        yield shard
        shard.flush()


def _repetitive(schema: pa.Schema) -> list[str]:
    """The string columns whose values repeat, worth a dictionary; texts, ids and digests are not."""
    unique = {"text", "doc_id", "url", "metadata", "detail", "record_id"}
    return [f.name for f in schema if pa.types.is_string(f.type) and f.name not in unique]
