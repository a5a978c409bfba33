"""Finds what to replace in every text: it reads documents/ and writes edit/, the spans and their counts.

documents/ stays as it was read, and its spans are in bytes of that: of several edits each finds them in the text that
the ones before it leave. All other steps read texts with the replacements: signals, duplicates, scores and the output
are those of one and the same text.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.edits import AnyEdit, edit_schema, edited_columns, replaced, span_columns
from siftlm.engine.shards import Task
from siftlm.engine.step import Row, ShardStep, Told
from siftlm.stages.aligned import Aligned
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.store import Marker, Store
from siftlm.tables import Choice

VERSION = 1
STAGE = "edit"
FOUND = "What was found in texts"
EDITED = (DOCUMENTS, STAGE)
"""The steps that decide the texts which `edited_batches` gives."""
BATCH_DOCUMENTS = 1024
SIZE = pa.field("byte_count", pa.int64(), nullable=False)  # UTF-8 bytes of the edited text


@dataclass(frozen=True)
class Edit(ShardStep):
    """Finds what to replace in the text of every document, and counts it by kind."""

    edits: tuple[AnyEdit, ...]
    name: str = STAGE
    reads: tuple[str, ...] = (DOCUMENTS,)

    def identity(self) -> object:
        return VERSION, [(settings.kind, settings.identity()) for settings in self.edits]

    def columns(self) -> pa.Schema:
        return pa.schema([SIZE, *(column for settings in self.edits for column in edit_schema(settings))])

    def run(self, task: Task, store: Store) -> Marker:
        documents, replacements = Counter[str](), Counter[str]()
        names = [name for settings in self.edits for name in settings.counts()]
        with store.writer(STAGE, task.key, self.columns()) as out:
            for batch in store.batches(DOCUMENTS, task.inputs[DOCUMENTS], rows=BATCH_DOCUMENTS, columns=["text"]):
                made = self.edited(batch["text"])
                out.write(made)
                for name in names:
                    counts = made[name].to_numpy()
                    documents[name] += int(np.count_nonzero(counts))
                    replacements[name] += int(counts.sum())
        told = {name: [documents[name], replacements[name]] for name in names}
        return task.marker(STAGE, out.rows, out.seal, content=out.seal.digest, edited=told)

    def edited(self, texts: pa.LargeStringArray) -> pa.RecordBatch:
        """Returns the step's columns for a batch of texts."""
        columns: list[pa.Array] = []
        for settings in self.edits:
            made = edited_columns(settings, texts)
            columns += made.columns
            texts = replaced(texts, made[settings.spans])
        sizes = pc.cast(pc.binary_length(texts), SIZE.type)
        return pa.RecordBatch.from_arrays([sizes, *columns], schema=self.columns())

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns by column in how many documents something was found, and how often."""
        documents = sum(marker.rows_out for marker in markers)
        names = [name for settings in self.edits for name in settings.counts()]
        sums = {name: np.sum([[0, 0], *(m.facts["edited"][name] for m in markers)], axis=0).tolist() for name in names}
        told = {name: {"documents": having, "found": found} for name, (having, found) in sums.items()}
        remarks = [
            f"edit: {found:,} {name} in {having:,} of {documents:,} documents" for name, (having, found) in sums.items()
        ]
        rows: list[Row] = [
            {"column": name, "documents": having, "of": documents, "found": found}
            for name, (having, found) in sums.items()
        ]
        return Told(statistics={STAGE: told}, remarks=remarks, tables={FOUND: rows})


def edited_batches(
    task: Task, store: Store, *, rows: int = 512, columns: Choice = None, start: int = 0, end: int = sys.maxsize
) -> Iterator[pa.RecordBatch]:
    """Yields rows [start, end) of a shard's documents with edited texts, of which nothing is cut yet."""
    batches = store.row_range(DOCUMENTS, task.inputs[DOCUMENTS], start, end, rows=rows, columns=columns)
    if STAGE not in task.inputs:
        yield from batches
        return
    edits = Aligned(store, STAGE, task.inputs[STAGE], None, start, end, rows)
    for batch in batches:
        made = dict(zip(batch.schema.names, batch.columns, strict=True))
        changes = edits.take(batch.num_rows)
        for name in span_columns(changes.schema) if "text" in made else ():
            made["text"] = replaced(made["text"], changes[name].combine_chunks())
        made |= {SIZE.name: changes[SIZE.name].combine_chunks()} if SIZE.name in made else {}
        yield pa.RecordBatch.from_pydict(made, schema=batch.schema)
