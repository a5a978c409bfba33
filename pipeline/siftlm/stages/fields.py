"""Reads fields of the input shards as columns with their own types and writes them to fields/.

Reading an input writes them beside the documents, in the same pass. Where documents are there already and other columns
are asked for, the input is read for these alone, and nothing that was made of the documents is made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.engine.step import Row, Shard, ShardStep, Told
from siftlm.readers import InputSettings
from siftlm.readers.columns import schema, typed
from siftlm.stages.slicing import SLICES, read_unchanged
from siftlm.store import Marker, Store, digest
from siftlm.tables import ShardWriter

VERSION = 1
STAGE = "fields"
FIELDS = "Columns from fields of the input"
NAMED = 12  # fields of an input in a line of the terminal


@dataclass(frozen=True)
class FieldColumns(ShardStep):
    """Writes a column for every field that an input configures; it is null for the other inputs."""

    inputs: Mapping[str, InputSettings]
    documents: str  # the step whose documents they belong to
    batch_bytes: int
    name: str = STAGE

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.documents,)

    def identity(self) -> object:
        return VERSION, str(self.columns())

    def columns(self) -> pa.Schema:
        return schema(self.inputs.values())

    def key(self, documents: str, source: str) -> str:
        """Returns the key of the columns that belong to the output of documents with the key `documents`."""
        return digest(STAGE, self.identity(), list(self.inputs[source].columns.items()), documents)

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:  # noqa: ARG002
        return [
            shard.task(
                self.key(shard.outputs[self.documents].key, shard.facts["source"]),
                **{SLICES: [part.packed for part in shard.reads]},
            )
            for shard in shards
        ]

    def run(self, task: Task, store: Store) -> Marker:
        settings = self.inputs[task.facts["source"]]
        with self.writing(task.key, settings, store) as out:
            for read in read_unchanged(task, settings, self.batch_bytes):
                out.write(read.documents)
        return out.marker(task, task.key)

    def rehearse(self, task: Task, store: Store) -> None:
        """Writes nulls for the sample's documents, since fields are read in the pass that reads the documents."""
        with store.writer(STAGE, task.key, self.columns()) as out:
            for batch in store.batches(self.documents, task.inputs[self.documents], columns=["doc_id"]):
                nulls = [pa.nulls(batch.num_rows, column.type) for column in self.columns()]
                out.write(pa.record_batch(nulls, schema=self.columns()))
        store.commit(task.marker(STAGE, out.rows, out.seal, content=out.seal.digest))

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns per input and field how many documents have a value, and how many a value of another type."""
        documents: Counter[str] = Counter()
        values: dict[str, Counter[str]] = {source: Counter() for source in self.inputs}
        unusable: dict[str, Counter[str]] = {source: Counter() for source in self.inputs}
        for task, marker in zip(tasks, markers, strict=True):
            source = task.facts["source"]
            documents[source] += marker.rows_out
            values[source].update(marker.facts["values"])
            unusable[source].update(marker.facts["unusable"])
        counts = [
            FieldCounts(source, path, kind, documents[source], values[source][place], unusable[source][place])
            for source, settings in self.inputs.items()
            for path, kind in settings.columns.items()
            for place in [f"columns.{path}"]
        ]
        statistics = {source: {"values": dict(values[source]), "unusable": dict(unusable[source])} for source in values}
        warnings = [warning for counted in counts if (warning := counted.warning())]
        tables = {FIELDS: [counted.row() for counted in counts]} if counts else {}
        return Told(warnings, {STAGE: statistics}, remarks=_remarks(counts), tables=tables)

    @contextmanager
    def writing(self, key: str, settings: InputSettings, store: Store) -> Iterator[FieldsFile]:
        """Yields a writer of the columns' file, which appears when the block ends without an error."""
        with store.writer(STAGE, key, self.columns()) as file:
            yield FieldsFile(file, settings, self.columns())


@dataclass(frozen=True)
class FieldCounts:
    """Counts the documents of an input that have a value of a field, and those with one of another type."""

    source: str
    path: str
    kind: str
    documents: int
    values: int
    unusable: int

    def warning(self) -> str:
        """Returns what a user should look at; empty where all is well."""
        if self.unusable:
            what = (
                f"{self.unusable:,} of {self.documents:,} documents have a value of {self.path!r} that is no "
                f"{self.kind}; it is null there"
            )
        elif self.documents and not self.values:
            what = f"no document has a value of {self.path!r}"
        else:
            return ""
        return f"input {self.source!r}: columns: {what}"

    def row(self) -> Row:
        """Returns the counts as a row of the report."""
        return {
            "input": self.source,
            "field": self.path,
            "type": self.kind,
            "documents": self.documents,
            "with a value": self.values,
            "absent or null": self.documents - self.values - self.unusable,
            "of another type": self.unusable,
        }


def _remarks(counts: Sequence[FieldCounts]) -> list[str]:
    """A line for each input: how many of its documents have a value, field by field."""
    by_source: dict[str, list[FieldCounts]] = {}
    for counted in counts:
        by_source.setdefault(counted.source, []).append(counted)
    return [
        f"input {source!r}: of {fields[0].documents:,} documents these have a value: "
        + ", ".join(f"{counted.path} {counted.values:,}" for counted in fields[:NAMED])
        + (f" and {len(fields) - NAMED:,} more fields" if len(fields) > NAMED else "")
        for source, fields in by_source.items()
    ]


@dataclass
class FieldsFile:
    """Writes the columns of documents to a file as the documents are read, and counts their values."""

    file: ShardWriter
    settings: InputSettings
    columns: pa.Schema
    values: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)

    def write(self, records: pa.RecordBatch) -> None:
        """Writes the columns of a batch of records (RECORD_SCHEMA)."""
        made = typed(records["columns"], self.settings, self.columns)
        for batch in made.table.to_batches():
            self.file.write(batch)
        self.values += made.values
        self.unusable += made.unusable

    def marker(self, task: Task, key: str) -> Marker:
        """Returns the marker of the finished file."""
        counts = {"values": dict(self.values), "unusable": dict(self.unusable)}
        own = replace(task, key=key)
        return own.marker(STAGE, self.file.rows, self.file.seal, content=self.file.seal.digest, **counts)
