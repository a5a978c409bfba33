"""Finds clusters of duplicate documents and their representatives from the hashes in signals/.

Documents are linked that share a content hash (exact) or an LSH band (near); a cluster is a connected component,
and its representative the best document by a column, ties by doc_id; a document of an earlier run is better than
any of this one. What is shuffled is ids and hashes, in blocks of arrays. A document's number is `shard << 32 | row`,
so sorting by number is the order of the run; shards of earlier runs are numbered below 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm.engine.runner import RunnerSettings, batch_size
from siftlm.engine.shards import Stopwatch, Task
from siftlm.engine.spill import Block, Edges, Integers, Links, Span, groups, partition, read_spans
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.dedup.earlier import STORE, touched
from siftlm.stages.dedup.settings import STAGE, DedupSettings
from siftlm.stages.portions import with_rows
from siftlm.stages.texts import doc_ids
from siftlm.statistics.hashing import finalise
from siftlm.store import Store

VERSION = 2
CLUSTER_SCHEMA = pa.schema(
    [
        pa.field("cluster_id", pa.string(), nullable=False),  # doc_id of the representative
        pa.field("cluster_size", pa.int32(), nullable=False),
        pa.field("duplicate", pa.string()),  # null for a representative, else exact or near
    ]
)
EXACT = np.uint64(1)  # the lowest bit of a key tells content hashes from bands
ENTRIES = 1_000_000  # keys in a partition of buckets: 16 MB of them, five times that while they are sorted
VERIFIED_DOCUMENTS = 32_768  # of which a partition holds the shingle sets: about 200 MB of web pages


@dataclass(frozen=True)
class Dedup:
    """Finds duplicates; its methods are the functions of the Beam graph, in the order of their use."""

    settings: DedupSettings
    store: Store
    links: Links
    partitions: int
    verify_partitions: int = 1
    watch: Stopwatch = field(default_factory=Stopwatch)

    def store_of(self, task: Task) -> Store:
        """Returns the store that holds a shard's outputs; an earlier run's shards are in its own store."""
        return Store(task.facts[STORE], owned=False) if task.shard < 0 else self.store

    def band_spans(self, task: Task) -> list[tuple[int, Span]]:
        """Writes a shard's (band keys, document numbers) and returns (partition, file span) of every block written.

        Equal keys fall into the same partition.
        """
        with self.links.open_spans(f"bands-{task.shard}") as spans:
            return [(part, spans.write(block)) for part, block in self._band_blocks(task)]

    def _band_blocks(self, task: Task) -> Iterator[tuple[int, Block]]:
        columns = ["content_hash", *(("bands", "has_shingles") if self.settings.near else ())]
        batches = self.store_of(task).batches(SIGNALS, task.inputs[SIGNALS], rows=65_536, columns=columns)
        for rows, batch in with_rows(batches, task.shard << 32):
            keys, owners = self._band_keys(batch, np.arange(rows.start, rows.stop))
            yield from partition(keys, owners, self.partitions)

    def _band_keys(self, batch: pa.RecordBatch, numbers: Integers) -> tuple[NDArray[np.uint64], Integers]:
        keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        if self.settings.exact:
            keys.append(_hash_columns(batch["content_hash"])[:, 0] | EXACT)
            owners.append(numbers)
        if self.settings.near:
            bands = (
                pc.list_flatten(batch["bands"]).to_numpy(zero_copy_only=False).reshape(-1, self.settings.shingles.bands)
            )
            has_shingles = batch["has_shingles"].to_numpy(zero_copy_only=False)
            keys.append(bands[has_shingles].reshape(-1) & ~EXACT)
            owners.append(np.repeat(numbers[has_shingles], self.settings.shingles.bands))
        return np.concatenate(keys), np.concatenate(owners)

    def candidates(self, task: Task) -> Iterator[tuple[int, bytes]]:
        """Yields (partition, Arrow block) of a shard's linked documents, with what the representative is chosen by."""
        rows, components = self.links.linked(task.shard)
        if not len(rows):
            return
        store, key, keep = self.store_of(task), task.inputs[SIGNALS], self.settings.keep
        known = [name for name in {"content_hash", keep} if name in store.schema(SIGNALS, key).names]
        taken = store.table(SIGNALS, key, known).take(pa.array(rows))
        ids = doc_ids(task, store).take(pa.array(rows))
        best = taken[keep] if keep in known else pa.nulls(len(rows), pa.float64())
        table = pa.table(
            {
                "component": components,
                "number": rows + (task.shard << 32),
                "best": pc.fill_null(pc.cast(best, pa.float64()), -np.inf),
                "doc_id": ids,
                "content_hash": taken["content_hash"],
                **self._clusters_so_far(task, rows, ids),
            }
        )
        owner = finalise(components.astype(np.uint64)) % np.uint64(self.partitions)
        for part in np.unique(owner):
            yield int(part), _to_ipc(table.filter(pa.array(owner == part)))

    def _clusters_so_far(self, task: Task, rows: Integers, ids: pa.Array) -> dict[str, pa.ChunkedArray]:
        """The clusters that an earlier run made; a document without one is a cluster by itself."""
        if task.shard >= 0 or STAGE not in task.inputs:
            return {"cluster_id": ids, "cluster_size": pa.array(np.ones(len(rows), np.int32))}
        columns = ["cluster_id", "cluster_size"]
        table = self.store_of(task).table(STAGE, task.inputs[STAGE], columns).take(pa.array(rows))
        return {name: table[name] for name in columns}

    def represent(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """Chooses the representatives of complete components and yields (shard, Arrow block of its rows).

        A block has the columns row, cluster_id, cluster_size and duplicate.
        """
        table = pa.concat_tables([_from_ipc(block) for block in blocks])
        table = table.append_column("earlier", pc.less(table["number"], 0))
        ranks = {"component": "ascending", "earlier": "descending", "best": "descending", "doc_id": "ascending"}
        order = [*ranks.items(), ("number", "ascending")]
        table = table.take(pc.sort_indices(table, sort_keys=order)).combine_chunks()
        numbers = table["number"].to_numpy()
        first, members = groups(table["component"].to_numpy())
        leader = np.repeat(first, members)
        hashes = _hash_columns(table["content_hash"].combine_chunks())
        same = (hashes == hashes[leader]).all(axis=1)
        kind = np.where(same, "exact", "near").astype(object)
        kind[first] = None
        clusters = pa.table(
            {
                "row": numbers & 0xFFFFFFFF,
                "cluster_id": table["cluster_id"].take(pa.array(leader)),
                "cluster_size": pa.array(np.repeat(np.add.reduceat(_sizes(table), first), members), pa.int32()),
                "duplicate": pa.array(kind, pa.string()),
            }
        )
        shards = numbers >> 32
        for shard in np.unique(shards[shards >= 0]):
            yield int(shard), _to_ipc(clusters.filter(pa.array(shards == shard)))

    def write_clusters(self, task: Task, blocks: Iterable[bytes]) -> None:
        """Writes the cluster of every document of a shard, in order; an unlinked document is alone in its cluster."""
        if self.store.is_done(STAGE, task.key):  # by a run that was stopped, with the same bytes
            return
        cluster_ids = np.array(doc_ids(task, self.store).to_pylist(), object)
        sizes = np.ones(len(cluster_ids), np.int32)
        duplicate = np.full(len(cluster_ids), None, object)
        for block in blocks:
            linked = _from_ipc(block)
            rows = linked["row"].to_numpy()
            cluster_ids[rows] = linked["cluster_id"].to_pylist()
            sizes[rows] = linked["cluster_size"].to_numpy()
            duplicate[rows] = linked["duplicate"].to_pylist()
        columns = [pa.array(cluster_ids, pa.string()), pa.array(sizes), pa.array(duplicate, pa.string())]
        table = pa.Table.from_arrays(columns, schema=CLUSTER_SCHEMA)
        with self.store.writer(STAGE, task.key, CLUSTER_SCHEMA) as clusters:
            for batch in table.to_batches(max_chunksize=16_384):
                clusters.write(batch)
        dropped = Counter(f"{kind}_duplicate" for kind in duplicate if kind and self.settings.drops)
        seal, seconds = clusters.seal, self.watch.part()
        self.store.commit(
            task.marker(STAGE, clusters.rows, seal, dropped=dropped, content=seal.digest, seconds=seconds)
        )


def sizes(settings: DedupSettings, documents: int, runner: RunnerSettings) -> tuple[int, int]:
    """Returns how many partitions the LSH buckets and the verification need, so that one partition fits in memory."""
    keys = settings.exact + settings.near * settings.shingles.bands
    return (
        settings.partitions or 1 + documents * keys // batch_size(runner, ENTRIES),
        settings.partitions or 1 + documents // batch_size(runner, VERIFIED_DOCUMENTS),
    )


def bucket_links(spans: Iterable[Span]) -> tuple[Edges, Edges]:
    """Returns (exact, near) edges from each document of a bucket to its smallest-numbered one, in linear time."""
    from siftlm_kernels.components import bucket_edges

    keys, owners = read_spans(spans)
    if owners.min(initial=0) < 0:
        wanted = touched(keys, owners)
        keys, owners = keys[wanted], owners[wanted]
    exact = (keys & EXACT) > 0
    return bucket_edges(keys[exact], owners[exact]), bucket_edges(keys[~exact], owners[~exact])


def joined(*edges: Edges) -> Edges:
    """Returns several arrays of edges concatenated into one."""
    return np.concatenate([a for a, _ in edges]), np.concatenate([b for _, b in edges])


def only_near(exact: Edges, near: Edges) -> Edges:
    """Returns the near edges without repeats, and without those between documents that have the same bytes."""
    a, b = joined(exact, near)
    is_near = np.arange(len(a)) >= len(exact[0])
    order = np.lexsort((is_near, b, a))
    a, b, is_near = a[order], b[order], is_near[order]
    first, _ = groups(a, b)
    first = first[is_near[first]]
    return a[first], b[first]


def _sizes(table: pa.Table) -> Integers:
    """What a row adds to its cluster's size: 1, or for the first row of an earlier cluster, all of that cluster."""
    earlier = table["earlier"].to_numpy()
    ids = pc.dictionary_encode(table["cluster_id"].combine_chunks()).indices.to_numpy()
    _, first = np.unique(np.stack([table["component"].to_numpy(), ids]), axis=1, return_index=True)
    starts = np.zeros(len(ids), np.bool_)
    starts[first] = True
    return np.where(earlier, np.where(starts, table["cluster_size"].to_numpy(), 0), 1).astype(np.int64)


def _hash_columns(hashes: pa.FixedSizeBinaryArray) -> NDArray[np.uint64]:
    """16-byte digests as a (rows, 2) array."""
    values = np.frombuffer(hashes.buffers()[1], np.uint64).reshape(-1, 2)
    return values[hashes.offset : hashes.offset + len(hashes)]


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _from_ipc(block: bytes) -> pa.Table:
    with pa.ipc.open_stream(block) as reader:
        return reader.read_all()
