"""dedup: signals/ -> clusters/, who represents every document. The only shuffle of the job.

Documents are linked that share a content hash (exact) or an LSH band (near); a cluster is a connected component,
and its representative the best document by a column, ties by doc_id. What is shuffled is ids and hashes, in blocks
of arrays. A document's number is `shard << 32 | row`, so sorting by number is the order of the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from siftlm import filesystem
from siftlm.scorers import ShingleSettings
from siftlm.settings import Settings
from siftlm.stages.runner import RunnerSettings, run_pipeline
from siftlm.stages.shards import Task, write_plan
from siftlm.store import Marker, Store, digest, open_parquet

VERSION = 1
STAGE = "clusters"
LINK_SCHEMA = pa.schema([pa.field("number", pa.int64(), False), pa.field("component", pa.int64(), False)])
CLUSTER_SCHEMA = pa.schema(
    [
        pa.field("cluster_id", pa.string(), nullable=False),  # doc_id of the representative
        pa.field("cluster_size", pa.int32(), nullable=False),
        pa.field("duplicate", pa.string()),  # null for a representative, else exact or near
    ]
)
LINKED_COLUMNS = ("doc_id", "content_hash")

Integers = NDArray[np.int64]
Block = tuple[bytes, bytes]  # two parallel arrays, as bytes: what Beam ships cheaply on every runner


class DedupSettings(Settings):
    """Exact and near-duplicate removal over the whole corpus."""

    shingles: ShingleSettings = Field(default_factory=ShingleSettings, description="How near-duplicates are found.")

    exact: bool = Field(True, description="Link documents with the same bytes.")
    near: bool = Field(True, description="Link documents that share a MinHash LSH band.")
    keep: str = Field(
        "byte_count",
        description="The representative of a cluster has the largest value of this column, ties by doc_id.",
    )
    partitions: int = Field(0, ge=0, le=65_536, description="Partitions of the shuffle; 0 sizes them to the data.")


@dataclass(frozen=True)
class Dedup:
    """The plain functions of the stage, in the order of its graph."""

    settings: DedupSettings
    store: Store
    key: str
    partitions: int

    def links_path(self) -> str:
        return self.store.path("links", self.key)

    def band_blocks(self, task: Task) -> Iterator[tuple[int, Block]]:
        """(partition, (band keys, document numbers)) of a shard; equal keys fall into the same partition."""
        columns = ["content_hash", *(("bands", "has_shingles") if self.settings.near else ())]
        row = 0
        for batch in self.store.batches("signals", task.inputs["signals"], rows=65_536, columns=columns):
            numbers = (np.int64(task.shard) << 32) + np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            keys, owners = self._band_keys(batch, numbers)
            yield from partition(keys, owners, self.partitions)

    def _band_keys(self, batch: pa.RecordBatch, numbers: Integers) -> tuple[NDArray[np.uint64], Integers]:
        keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        if self.settings.exact:
            keys.append(_hash_columns(batch["content_hash"])[:, 0])
            owners.append(numbers)
        if self.settings.near:
            bands = (
                pc.list_flatten(batch["bands"]).to_numpy(zero_copy_only=False).reshape(-1, self.settings.shingles.bands)
            )
            has_shingles = batch["has_shingles"].to_numpy(zero_copy_only=False)
            keys.append(bands[has_shingles].reshape(-1))
            owners.append(np.repeat(numbers[has_shingles], self.settings.shingles.bands))
        return np.concatenate(keys), np.concatenate(owners)

    def write_links(self, components: tuple[Integers, Integers]) -> str:
        """Writes who is linked with whom, sorted by number, and returns the path."""
        numbers, labels = components
        with open_parquet(self.links_path(), LINK_SCHEMA) as links:
            for start in range(0, len(numbers), 65_536):
                block = slice(start, start + 65_536)
                links.write(pa.record_batch([numbers[block], labels[block]], schema=LINK_SCHEMA))
        return self.links_path()

    def linked_rows(self, task: Task) -> tuple[Integers, Integers]:
        """Rows of a shard that are linked with another document, and their components."""
        low, high = task.shard << 32, (task.shard + 1) << 32
        with filesystem.open_read(self.links_path()) as stream:
            links = pq.read_table(stream, filters=(pc.field("number") >= low) & (pc.field("number") < high))
        return links["number"].to_numpy() - low, links["component"].to_numpy()

    def candidates(self, task: Task) -> Iterator[tuple[int, bytes]]:
        """(partition, Arrow block) of a shard's linked documents with what decides who represents them."""
        rows, components = self.linked_rows(task)
        if not len(rows):
            return
        columns = list(dict.fromkeys([*LINKED_COLUMNS, self.settings.keep]))
        taken = self.store.table("signals", task.inputs["signals"], columns).take(pa.array(rows))
        best = pc.cast(taken[self.settings.keep], pa.float64()).combine_chunks()
        table = pa.table(
            {
                "component": components,
                "number": rows + (task.shard << 32),
                "best": pc.fill_null(best, -np.inf),
                "doc_id": taken["doc_id"],
                "content_hash": taken["content_hash"],
            }
        )
        owner = _mix(components.astype(np.uint64)) % np.uint64(self.partitions)
        for part in np.unique(owner):
            yield int(part), _to_ipc(table.filter(pa.array(owner == part)))

    def represent(self, blocks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """(shard, Arrow block of row, cluster_id, cluster_size, duplicate) for complete components."""
        table = pa.concat_tables([_from_ipc(block) for block in blocks])
        order = [
            ("component", "ascending"),
            ("best", "descending"),
            ("doc_id", "ascending"),
            ("number", "ascending"),
        ]
        table = table.take(pc.sort_indices(table, sort_keys=order)).combine_chunks()
        components = table["component"].to_numpy()
        first = np.flatnonzero(np.r_[True, components[1:] != components[:-1]])
        sizes = np.diff(np.r_[first, len(components)])
        leader = np.repeat(first, sizes)
        hashes = _hash_columns(table["content_hash"].combine_chunks())
        same = (hashes == hashes[leader]).all(axis=1)
        kind = np.where(same, "exact", "near").astype(object)
        kind[first] = None
        numbers = table["number"].to_numpy()
        clusters = pa.table(
            {
                "row": numbers & 0xFFFFFFFF,
                "cluster_id": table["doc_id"].take(pa.array(leader)),
                "cluster_size": pa.array(np.repeat(sizes, sizes), pa.int32()),
                "duplicate": pa.array(kind, pa.string()),
            }
        )
        shards = numbers >> 32
        for shard in np.unique(shards):
            yield int(shard), _to_ipc(clusters.filter(pa.array(shards == shard)))

    def write_clusters(self, task: Task, blocks: Iterable[bytes]) -> None:
        """The clusters shard of one signals shard: every row in order, alone in its cluster unless linked."""
        doc_ids = self.store.table("signals", task.inputs["signals"], ["doc_id"])["doc_id"].combine_chunks()
        cluster_ids = np.array(doc_ids.to_pylist(), object)
        sizes = np.ones(len(doc_ids), np.int32)
        duplicate = np.full(len(doc_ids), None, object)
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
        dropped = Counter(f"{kind}_duplicate" for kind in duplicate if kind)
        self.store.commit(
            Marker(
                stage=STAGE,
                key=task.key,
                shard=task.name,
                rows_in=len(doc_ids),
                rows_out=len(doc_ids) - dropped.total(),
                dropped=dict(sorted(dropped.items())),
                content=digest([kind or "" for kind in duplicate]),
            )
        )


def tasks(settings: DedupSettings, shards: Sequence[Task]) -> list[Task]:
    """A task for every shard with signals; the keys depend on all shards, for a cluster may span any of them."""
    signals = [shard.inputs["signals"] for shard in shards]
    whole = digest("dedup", VERSION, settings.model_dump(exclude={"partitions"}), signals)
    return [replace(shard, key=digest(whole, shard.shard)) for shard in shards]


def run(
    settings: DedupSettings, todo: Sequence[Task], documents: int, store: Store, runner: RunnerSettings
) -> list[Marker]:
    """The markers of all clusters shards; one pipeline when any is missing."""
    done = store.done(STAGE)
    if any(task.key not in done for task in todo):
        partitions = settings.partitions or 1 + documents * (settings.shingles.bands + 1) // 4_000_000
        stage = Dedup(settings, store, digest([task.key for task in todo]), partitions)
        plan = write_plan(store, STAGE, todo)
        from siftlm.stages.dedup_graph import build

        run_pipeline(runner, "dedup", lambda pipeline: build(pipeline, stage, plan))
    return store.markers(STAGE, (task.key for task in todo))


def partition(keys: NDArray[np.uint64], owners: Integers, partitions: int) -> Iterator[tuple[int, Block]]:
    """(partition, block) of parallel arrays, split by key."""
    if partitions == 1:
        yield 0, (keys.tobytes(), owners.tobytes())
        return
    part = (_mix(keys) % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(partitions + 1))
    for index in np.flatnonzero(np.diff(bounds)):
        rows = order[bounds[index] : bounds[index + 1]]
        yield int(index), (keys[rows].tobytes(), owners[rows].tobytes())


def bucket_links(blocks: Iterable[Block]) -> tuple[Integers, Integers]:
    """Edges from every member of a bucket to the smallest number in it: linear, however hot the bucket."""
    from siftlm_kernels.components import bucket_edges

    pairs = [(np.frombuffer(keys, np.uint64), np.frombuffer(owners, np.int64)) for keys, owners in blocks]
    return bucket_edges(np.concatenate([k for k, _ in pairs]), np.concatenate([o for _, o in pairs]))


def _mix(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser, so that partitions are even whatever the keys."""
    with np.errstate(over="ignore"):
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


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
