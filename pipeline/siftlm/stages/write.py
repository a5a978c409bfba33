"""Writes the output shards, and on request the rejects with their reasons.

An output file has the rows whose text begins in its stretch of all text that is written, `shard_bytes` long; its row
groups end at rows, too. So no byte of it depends on what the shards are. In run order a file reads its rows straight
from the stages; with a shuffle every shard first scatters its kept rows by a keyed hash, and a file gathers the rows of
its range of hashes.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from siftlm import filesystem
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.drive import Context, run_shards
from siftlm.engine.runner import batch_size
from siftlm.engine.shards import Task
from siftlm.paths import WrittenPath
from siftlm.seals import Seal
from siftlm.settings import Settings
from siftlm.stages.columns import available, read_columns, row_batches
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.layout import Given, cut_parts, row_groups
from siftlm.stages.portions import batched
from siftlm.statistics.hashing import hash_strings, keyed
from siftlm.store import Marker, Store, digest
from siftlm.tables import ShardWriter, open_parquet

VERSION = 3
STAGE = "data"
CHUNK_BYTES = 64 << 20  # of text that a scatter sorts at a time
FIRST = ("doc_id", "text", "url", "domain", "source", "metadata", "byte_count")
COPY = pa.field("copy", pa.int32(), nullable=False)  # number of the copy, from 0
PLACE = pa.field("place", pa.uint64(), nullable=False)  # in the shuffled corpus
PART = re.compile(r"part-\d{5,}-of-\d{5,}\.parquet")
DECISIONS = frozenset({"kept", "reason", "copies", "dropped_by"})


class OutputSettings(Settings):
    """Configures where and in what form the selected corpus is written."""

    folder: WrittenPath = Field(description="Folder of the run: data/, manifest.json, README.md, report.html, store/.")
    shard_bytes: int = Field(
        256 << 20, ge=1 << 16, le=1 << 40, description="Text bytes in an output file: one document more at most."
    )
    row_group_bytes: int = Field(32 << 20, ge=1 << 12, description="Bytes in a row group before compression, about.")
    compression_level: int = Field(3, ge=1, le=22, description="Level of zstd.")
    shuffle: bool = Field(False, description="Order the rows by a keyed hash over the whole corpus.")
    allow_empty: bool = Field(
        False,
        description="Let a run pass that can read no document of a source, or keeps none; else it stops and leaves "
        "what was published before.",
    )
    rejects: bool = Field(False, description="Write the dropped documents too, with their reasons, to rejects/.")


@dataclass(frozen=True)
class Scatter:
    """Sorts a shard's kept rows in chunks by their shuffle key, one row group per output shard."""

    parts: int
    seed: int
    schema: pa.Schema
    chunk_bytes: int = CHUNK_BYTES
    name: str = "shuffled"

    def run(self, task: Task, store: Store) -> Marker:
        groups: list[list[int]] = []
        rows = output_rows(task, store, self.schema, 0, task.facts["rows"])
        with store.writer(self.name, task.key, self.schema.append(PLACE)) as out:
            for tables in batched(rows, (attrgetter("nbytes"), self.chunk_bytes)):
                chunk = pa.concat_tables(tables)
                places = shuffle_places(chunk, self.seed)
                order = np.argsort(places, kind="stable")
                chunk = chunk.append_column(PLACE, pa.array(places)).take(pa.array(order))
                part = part_of(places[order], self.parts)
                for index in np.unique(part):
                    low, high = np.searchsorted(part, [index, index + 1])
                    write_rows(out, chunk.slice(low, high - low))
                    out.flush()
                    groups.append([len(groups), int(index)])
        return task.marker(self.name, out.rows, out.seal, groups=groups)


@dataclass(frozen=True)
class Write:
    """Writes one output file of the run."""

    settings: OutputSettings
    schema: pa.Schema
    folder: str
    metadata: Mapping[str, str]
    name: str = "parts"

    def run(self, task: Task, store: Store) -> Marker:
        with open_parquet(
            f"{self.folder}/{task.name}",
            self.schema,
            metadata=self.metadata,
            compression_level=self.settings.compression_level,
            row_group_bytes=sys.maxsize,  # they end where `row_groups` says
            published=True,
        ) as out:
            rows = self._gathered(task, store) if self.settings.shuffle else _in_order(task, store, self._rows)
            for table in row_groups(rows, self.settings.row_group_bytes):
                write_rows(out, table)
                out.flush()
        return _written(self, task, task.name, out)

    def _rows(self, task: Task, store: Store, start: int, end: int) -> Iterator[pa.Table]:
        return output_rows(task, store, self.schema, start, end)

    def _gathered(self, task: Task, store: Store) -> Iterator[pa.Table]:
        tables = [self.schema.append(PLACE).empty_table()]
        for key, groups in task.facts["scattered"]:
            with store.open("shuffled", key) as file:
                tables.append(file.read_row_groups(groups))
        table = pa.concat_tables(tables)
        order = [(name, "ascending") for name in (PLACE.name, "doc_id", COPY.name)]
        yield table.take(pc.sort_indices(table, sort_keys=order)).drop_columns([PLACE.name])


@dataclass(frozen=True)
class WriteRejects:
    """Writes one file of dropped documents, with their reasons."""

    settings: OutputSettings
    schema: pa.Schema
    folder: str
    name: str = "rejects"

    def run(self, task: Task, store: Store) -> Marker:
        with open_parquet(
            f"{self.folder}/{task.name}", self.schema, row_group_bytes=sys.maxsize, published=True
        ) as out:
            for table in row_groups(_in_order(task, store, self._rows), self.settings.row_group_bytes):
                write_rows(out, table)
                out.flush()
        return _written(self, task, task.name, out)

    def _rows(self, task: Task, store: Store, start: int, end: int) -> Iterator[pa.Table]:
        for table in row_batches(task, store, start, end):
            yield table.filter(pc.invert(table["kept"])).select(self.schema.names).cast(self.schema)


def _in_order(
    task: Task, store: Store, rows: Callable[[Task, Store, int, int], Iterator[pa.Table]]
) -> Iterator[pa.Table]:
    """The rows of an output file, of one shard after the other."""
    for shard, start, end in task.facts["runs"]:
        yield from rows(Task(**task.facts["shards"][str(shard)]), store, start, end)


def write_rows(out: ShardWriter, table: pa.Table) -> None:
    """Writes a table to a file in as few batches as possible."""
    for batch in table.combine_chunks().to_batches():
        out.write(batch)


def _written(stage: Write | WriteRejects, task: Task, path: str, out: ShardWriter) -> Marker:
    """The marker of a file of the output, which is in no folder of the store."""
    kept = filesystem.kept_digest(f"{stage.folder}/{path}")
    facts = {"path": path, "bytes": out.seal.size, "checksum": out.seal.digest, "kept": kept}
    return Marker(stage.name, task.key, task.name, out.rows, out.rows, facts=facts)


def output_schema(task: Task, store: Store) -> pa.Schema:
    """Returns the output's schema: the document's columns, every score column, the weight and the copy number."""
    names = available(task, store)
    document = [DOCUMENT_SCHEMA.field(name) for name in FIRST]
    rest = [pa.field(n, t) for n, t in names.items() if n not in FIRST and n not in DECISIONS | {"weight"}]
    return pa.schema([*document, *rest, pa.field("weight", pa.float64(), nullable=False), COPY])


def reject_schema(schema: pa.Schema) -> pa.Schema:
    """Returns the schema of rejects/, which has reasons instead of weights and copies."""
    names = [f for f in schema if f.name not in ("weight", COPY.name)]
    why = [pa.field(name, pa.string(), nullable=False) for name in ("reason", "dropped_by")]
    return pa.schema([*names, *why])


def output_rows(task: Task, store: Store, schema: pa.Schema, start: int, end: int) -> Iterator[pa.Table]:
    """Yields the kept rows of [start, end) in the output's schema, with one row per copy."""
    for table in row_batches(task, store, start, end):
        copies = pc.if_else(table["kept"], table["copies"], 0).to_numpy()
        rows = np.repeat(np.arange(table.num_rows), copies)
        if not len(rows):
            continue
        numbers = np.arange(len(rows)) - np.repeat(np.cumsum(copies) - copies, copies)
        kept = table.take(pa.array(rows)).append_column(COPY.name, pa.array(numbers, COPY.type))
        yield kept.select(schema.names).cast(schema)


def shuffle_places(table: pa.Table, seed: int) -> np.ndarray:
    """Returns every row's uint64 shuffle key, a keyed hash of doc_id and copy number."""
    places = keyed(hash_strings(table["doc_id"].combine_chunks()), seed, "shuffle")
    copies = table["copy"].to_numpy().astype(np.uint64)
    with np.errstate(over="ignore"):
        return np.asarray(places + copies * np.uint64(0x9E3779B97F4A7C15), np.uint64)


def part_of(places: np.ndarray, parts: int) -> np.ndarray:
    """Returns the output shard of every shuffle key, by cutting the range of keys into equal intervals."""
    return np.minimum((places.astype(np.float64) / 2.0**64 * parts).astype(np.int64), parts - 1)


def run(
    settings: OutputSettings,
    seed: int,
    selected: Sequence[Task],
    decisions: Sequence[Marker],
    folder: str,
    metadata: dict[str, str],
    context: Context,
) -> tuple[list[Marker], list[Marker]]:
    """Writes the output shards and the rejects below `folder`, and returns the markers of both."""
    store = context.store
    schema = output_schema(selected[0], store)
    tasks = [
        replace(
            task,
            key=digest("write", VERSION, task.key, sorted(task.inputs.items()), metadata),
            facts={"rows": marker.rows_in},
        )
        for task, marker in zip(selected, decisions, strict=True)
    ]
    of_all = digest([task.key for task in tasks], settings.model_dump(exclude={"allow_empty"}), folder)
    if settings.shuffle:
        kept_bytes = sum(int(marker.facts["written_bytes"]) for marker in decisions)
        count = max(1, math.ceil(kept_bytes / settings.shard_bytes))
        keyed_tasks = [replace(task, key=digest(task.key, "scatter", count, seed)) for task in tasks]
        scatter = Scatter(count, seed, schema, batch_size(context.runner, CHUNK_BYTES))
        contents = [{"scattered": groups} for groups in fallen(run_shards(scatter, keyed_tasks, context), count)]
    else:
        kept = [Given(int(marker.facts["copies"]), int(marker.facts["written_bytes"])) for marker in decisions]
        contents = _ordered(tasks, kept, partial(_written_sizes, store), settings)

    def written(stage: Write | WriteRejects, tasks: Sequence[Task]) -> list[Marker]:
        forget_lost(stage.name, tasks, settings.folder, folder, store)
        return run_shards(stage, tasks, context)

    names = [of_all, "shuffled"] if settings.shuffle else [of_all]
    parts = [
        Task(at, _name("data", at, len(contents)), digest(*names, at), facts=facts) for at, facts in enumerate(contents)
    ]
    data = written(Write(settings, schema, folder, metadata), parts)
    if not settings.rejects:
        return data, []
    gone = [Given(marker.rows_in - marker.rows_out, int(marker.facts["dropped_bytes"])) for marker in decisions]
    dropped = _ordered(tasks, gone, partial(_dropped_sizes, store), settings)
    rejects = [
        Task(at, _name("rejects", at, len(dropped)), digest(of_all, "rejects", at), facts=facts)
        for at, facts in enumerate(dropped)
    ]
    return data, written(WriteRejects(settings, reject_schema(schema), folder), rejects)


def rehearse(settings: OutputSettings, task: Task, store: Store) -> None:
    """Writes every document and column of a small sample shard, twice where a shuffle would scatter them first."""
    for part in range(1 + settings.shuffle):
        first, *others = row_batches(task, store, 0, store.rows(DOCUMENTS, task.inputs[DOCUMENTS]))
        path, level = store.path(STAGE, str(part)), settings.compression_level
        with open_parquet(path, first.schema, compression_level=level, published=True) as out:
            for table in (first, *others):
                write_rows(out, table)


def forget_lost(stage: str, tasks: Sequence[Task], folder: str, staging: str, store: Store) -> None:
    """Removes the markers of output files that are gone or changed since they were written.

    Unlike what is in the store, they move to the run's folder, where another output of the run may have replaced
    them under the same names, or a user may have removed them.
    """
    for marker in store.committed(stage, (task.key for task in tasks)).values():
        if not _is_there(marker, folder, staging):
            filesystem.remove(store.path(stage, marker.key, ".done"))


def _is_there(marker: Marker, folder: str, staging: str) -> bool:
    """Whether the file is where it was written, or else where it was moved to, whole in either case."""
    facts = marker.facts
    path = f"{staging}/{facts['path']}"
    if not filesystem.exists(path):
        path = f"{folder}/{facts['path']}"
    if not filesystem.exists(path):
        return False
    with filesystem.open_read(path) as stream:
        return Seal(facts["bytes"], facts["checksum"], facts["kept"]).damage(path, stream) is None


def _written_sizes(store: Store, task: Task) -> np.ndarray:
    table = read_columns(task, store, {"kept", "copies", "byte_count"})
    copies = pc.if_else(table["kept"], table["copies"], 0).to_numpy()
    return np.where(copies > 0, copies * table["byte_count"].to_numpy(), -1)


def _dropped_sizes(store: Store, task: Task) -> np.ndarray:
    table = read_columns(task, store, {"kept", "byte_count"})
    return np.asarray(pc.if_else(table["kept"], -1, table["byte_count"]).to_numpy())


def _ordered(
    tasks: Sequence[Task], given: Sequence[Given], sizes: Callable[[Task], np.ndarray], settings: OutputSettings
) -> list[dict[str, Any]]:
    """The row ranges of every output file, and the shards that they are of."""
    parts = cut_parts(given, lambda shard: sizes(tasks[shard]), settings.shard_bytes)
    return [{"runs": part, "shards": {str(shard): asdict(tasks[shard]) for shard, _, _ in part}} for part in parts]


def fallen(scattered: Sequence[Marker], count: int) -> list[list[tuple[str, list[int]]]]:
    """Returns for each of `count` output shards the (key, row groups) of scattered shards that hold its rows."""
    parts: list[list[tuple[str, list[int]]]] = [[] for _ in range(count)]
    for marker in scattered:
        groups: dict[int, list[int]] = {}
        for group, part in marker.facts["groups"]:
            groups.setdefault(part, []).append(group)
        for part, groups_of_part in groups.items():
            parts[part].append((marker.key, groups_of_part))
    return parts


def _name(folder: str, index: int, count: int) -> str:
    return f"{folder}/part-{index:05d}-of-{count:05d}.parquet"
