"""Reads documents as the steps after dedup use them: edited, with unique ids and without cut paragraphs.

documents/ stays as it was read. Texts that are scored, trained on, shown or written are read through this module, those
that are annotated or compared through `edit`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.scorers.protocol import ragged_text
from siftlm.stages.aligned import Aligned
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.edit import EDITED, edited_batches
from siftlm.stages.portions import with_rows
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Store
from siftlm.tables import Choice

PARAGRAPHS = "paragraphs"
IDS = "ids"  # of shards some of whose documents came with ids that others have
TEXTS = (*EDITED, PARAGRAPHS)
"""The steps that decide the texts which `document_batches` gives."""


def doc_ids(task: Task, store: Store) -> pa.Array:
    """Returns the ids of a shard's documents, made unique where the ids step changed them."""
    stage = IDS if IDS in task.inputs else SIGNALS
    return store.table(stage, task.inputs[stage], ["doc_id"])["doc_id"].combine_chunks()


def document_batches(
    task: Task, store: Store, *, rows: int = 512, columns: Choice = None, start: int = 0, end: int = sys.maxsize
) -> Iterator[pa.RecordBatch]:
    """Yields rows [start, end) of a shard's documents, at most `rows` at a time.

    `text` and `byte_count` are as edited and exclude what was cut, and `doc_id` is unique.
    """
    batches = edited_batches(task, store, rows=rows, columns=columns, start=start, end=end)
    later = {PARAGRAPHS: ["cut_spans", "byte_count"], IDS: ["doc_id"]}
    aligned = {
        stage: Aligned(store, stage, task.inputs[stage], names, start, end, rows)
        for stage, names in later.items()
        if stage in task.inputs
    }
    for batch in batches:
        made = dict(zip(batch.schema.names, batch.columns, strict=True))
        for reader in aligned.values():
            changes = reader.take(batch.num_rows)
            if "cut_spans" in changes.schema.names and "text" in made:
                made["text"] = cut_texts(made["text"], changes["cut_spans"].combine_chunks())
            made |= {name: changes[name].combine_chunks() for name in changes.schema.names if name in made}
        yield pa.RecordBatch.from_pydict(made, schema=batch.schema) if aligned else batch


def chosen_texts(task: Task, store: Store, rows: BoolArray | None = None) -> Iterator[str]:
    """Yields the texts of a shard's documents in order: all of them, or those where `rows` is True."""
    for here, batch in with_rows(document_batches(task, store, columns=["text"])):
        yield from (batch if rows is None else batch.filter(pa.array(rows[here])))["text"].to_pylist()


def cut_texts(texts: pa.LargeStringArray, spans: pa.ListArray) -> pa.LargeStringArray:
    """Returns the texts with their `spans`, [start, end) in UTF-8 bytes, removed."""
    edges = spans.flatten()
    if not len(edges):
        return texts
    from siftlm_kernels.paragraphs import without_spans

    pairs = np.stack([edges.field("start").to_numpy(), edges.field("end").to_numpy()], axis=1)
    bounds = spans.offsets.to_numpy().astype(np.int64)
    values, offsets = without_spans(*ragged_text(texts), pairs, bounds - bounds[0])
    return pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(values))
