"""What steps read, written as the steps before them leave it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import xxhash

from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.shards import Task
from siftlm.engine.step import Output, Shard
from siftlm.stages.dedup.work import CLUSTER_SCHEMA
from siftlm.store import Marker, Store

Document = tuple[str, str, str | None]  # doc_id, text, the representative where it is a duplicate


def shards_of(tasks: Sequence[Task]) -> list[Shard]:
    """Shards that have what the tasks read."""
    return [Shard(t.shard, t.name, t.facts, {step: Output(key, key) for step, key in t.inputs.items()}) for t in tasks]


def write_table(store: Store, step: str, key: str, schema: pa.Schema, columns: Sequence[Sequence[object]]) -> None:
    """Commits one output of a step."""
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    with store.writer(step, key, schema) as out:
        out.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
    store.commit(Marker(step, key, key, out.rows, out.rows, files={".parquet": out.seal}))


def write_documents(store: Store, key: str, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Commits a shard of documents of one source."""
    nulls, sizes = [None] * len(ids), [len(text.encode()) for text in texts]
    columns = [ids, texts, nulls, nulls, ["s"] * len(ids), nulls, sizes, range(len(ids))]
    write_table(store, "documents", key, DOCUMENT_SCHEMA, columns)


def write_clustered(store: Store, shards: Sequence[Sequence[Document]]) -> list[Task]:
    """Documents and clusters of the shards, under keys of what they hold."""
    tasks = []
    for number, shard in enumerate(shards):
        key = xxhash.xxh64_hexdigest(repr(shard).encode())
        ids, texts, owners = ([row[side] for row in shard] for side in range(3))
        write_documents(store, key, ids, texts)
        names = [owner or name for name, owner in zip(ids, owners, strict=True)]
        kinds = ["near" if owner else None for owner in owners]
        write_table(store, "clusters", key, CLUSTER_SCHEMA, [names, [1] * len(ids), kinds])
        tasks.append(Task(number, f"shard {number}", "", {"documents": key, "clusters": key}))
    return tasks
