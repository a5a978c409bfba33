"""Defines the step that joins a table to documents: it reads signals/ and writes join/<number>/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from siftlm import filesystem
from siftlm.documents import host
from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, ShardStep, Told
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.stages import inputs
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.join.settings import JoinSettings
from siftlm.stages.join.source import Source
from siftlm.stages.join.table import FOLDER, MOST_BITS, PART_BYTES, Table, TableFacts, forget
from siftlm.store import Marker, Store, digest

VERSION = 4
JOIN = "join/"
JOINED = "Joined tables"
BATCH_ROWS = 65_536
EXPANSION = 4  # of a table in memory over its files, about
PACKED_EXPANSION = 12  # where these are compressed


@dataclass(frozen=True)
class Join(ShardStep):
    """Adds a table's columns to documents; documents without a row in the table get nulls."""

    number: int
    settings: JoinSettings
    reads: tuple[str, ...] = (SIGNALS,)

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{JOIN}{self.number}"

    @property
    def source(self) -> Source:
        return Source(self.settings, f"join.{self.number}")

    def identity(self) -> object:
        return VERSION, self.settings.model_dump(exclude={"path"})

    def columns(self) -> pa.Schema:
        return self.source.schema()

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with a table key that depends on the files' contents and the columns."""
        files = self.source.files()
        contents = inputs.digests(files, store)
        table = digest(FOLDER, VERSION, self.identity(), [contents[file] for file in files])
        facts: dict[str, Any] = {"table": table, "bits": _bits(files)}
        return [shard.task(digest(JOIN, table, shard.contents(self.reads)), **facts) for shard in shards]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        if not tasks:
            return []
        self._write_table(tasks[0], context.store)
        try:
            return super().work(tasks, context)
        finally:
            forget()

    def _write_table(self, task: Task, store: Store) -> None:
        """Writes the table of the tasks, unless it is there; what was counted of it is written last."""
        facts = facts_path(store, task.facts["table"])
        if not store.holds_sealed(facts):
            write_value(facts, self._table(task, store).write(self.source), store)

    def _table(self, task: Task, store: Store) -> Table:
        return Table(store, task.facts["table"], task.facts["bits"])

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:
        return [(FOLDER, tasks[0].facts["table"])] if tasks else []

    def run(self, task: Task, store: Store) -> Marker:
        table, matched = self._table(task, store), 0
        columns = table.columns()
        named = "url" if self.settings.on == "host" else self.settings.on
        with store.writer(self.name, task.key, columns) as out:
            for batch in store.batches(SIGNALS, task.inputs[SIGNALS], rows=BATCH_ROWS, columns=[named]):
                values, there = table.look_up(self._keys(batch[named]), columns)
                matched += int(np.count_nonzero(there))
                for part in values.to_batches():
                    out.write(part)
        return task.marker(self.name, out.rows, out.seal, content=out.seal.digest, matched=matched)

    def _keys(self, column: pa.Array) -> pa.Array:
        if self.settings.on != "host":
            return column.cast(pa.string())
        encoded = column.dictionary_encode()
        return pa.array([host(url) for url in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)

    def rehearse(self, task: Task, store: Store) -> None:
        """Looks up the sample's documents in the first rows of the table, of which a whole one may take minutes."""
        first = replace(task, facts={**task.facts, "bits": 0})
        lenient = self.settings.model_copy(update={"duplicates": "first"})
        self._table(first, store).write(Source(lenient, self.source.place, BATCH_ROWS))
        super().rehearse(first, store)

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:
        """Returns how many documents have a row of the table, and how many rows it has."""
        if not tasks:
            return Told()
        table: TableFacts = read_value(facts_path(store, tasks[0].facts["table"]), store)
        matched = sum(int(marker.facts["matched"]) for marker in markers)
        documents = sum(marker.rows_out for marker in markers)
        told = {"path": self.settings.path, "on": self.settings.on, "matched": matched, "documents": documents}
        told |= {"rows": table.rows, "keys": table.keys, "without_key": table.without_key}
        nothing = f"{self.source.place}: no document has a row of {self.settings.path}"
        warnings = [nothing] if documents and not matched else []
        remark = (
            f"{self.source.place}: {matched:,} of {documents:,} documents have a row of {self.settings.path} by "
            f"{self.settings.on}, which has {table.rows:,} rows"
        )
        row: dict[str, str | int | float | None] = {
            "join": self.source.place,
            "table": self.settings.path,
            "by": self.settings.on,
            "documents": documents,
            "with a row": matched,
            "rows of the table": table.rows,
            "without a key": table.without_key,
        }
        return Told(warnings, {self.name: told}, remarks=[remark], tables={JOINED: [row]})


def facts_path(store: Store, table: str) -> str:
    """Returns the path of the file with the row counts of a finished table."""
    return store.path(FOLDER, f"{table}/facts", SUFFIX)


def _bits(files: Sequence[str]) -> int:
    """The leading bits that tell parts apart, by the size of the files: parts are of `PART_BYTES` at most, about."""
    packed = (".gz", ".zst")
    size = sum(filesystem.size(file) * (PACKED_EXPANSION if file.endswith(packed) else EXPANSION) for file in files)
    return min(MOST_BITS, max(0, (size // PART_BYTES).bit_length()))
