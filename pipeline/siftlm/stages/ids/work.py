"""Makes document ids unique where several documents came with the same id.

Of the documents with one id the first keeps it; another text gets `<id>#<hash of the text>`, and another copy of a text
`<id>#<hash of the text>.<number>`. First is who has the smallest hash of its text, then the earlier source of the
configuration, then the smaller key of its shard, which is a digest of content: so neither the names of shards nor their
order decides, and a copy more of a text changes no id of another text. A document may have come with an id that is made
here for another, as in the output of an earlier run: ids of that form are compared again until none is shared.

Ids are compared by 128-bit hashes (the odds that two of 1e9 different ids share one are 1e-21). Only shards in which an
id changes have an output here, an id a row; all others are left as they are. A small corpus is compared in this
process, of a large one only the places of hashes pass through a pipeline, a partition of them in memory at a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from siftlm.engine.gather import GATHERED
from siftlm.engine.shards import Task
from siftlm.engine.spill import Integers, Links, Span, groups, read_spans
from siftlm.engine.values import SUFFIX
from siftlm.stages.aligned import Aligned
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.portions import batched, with_rows
from siftlm.stages.texts import IDS, doc_ids
from siftlm.statistics.hashing import finalise
from siftlm.statistics.ordered import UInt64Array
from siftlm.store import Marker, Store, digest

VERSION = 2
IDS_SCHEMA = pa.schema([pa.field("doc_id", pa.string(), nullable=False)])
READ_ROWS = 65_536
BLOCK = 1 << 20  # documents that a shard holds before it writes them: 32 MB
ENTRIES = 4_000_000  # documents in a partition: 128 MB of them, and as much again while they are sorted

MADE = r"#[0-9a-f]{16}(\.[0-9]+)?$"  # how the ids end that are made here

FIELDS = ("high", "low", "content", "place")
ENTRY = np.dtype(list(zip(FIELDS, (np.uint64, np.uint64, np.uint64, np.int64), strict=True)))
"""A document: both halves of the hash of its id, a hash of its text, and its place `rank of the shard << 32 | row`."""
Pair = tuple[Span, Span]  # where a block of entries lies: the halves of the hashes; hashes of texts and places


@dataclass(frozen=True)
class Shared:
    """Counts the ids that several documents share, and those documents, and locates the most frequent id."""

    ids: int = 0
    documents: int = 0
    most: int = 0  # documents of one id
    place: int = 0  # of one of them

    @staticmethod
    def merged(parts: Iterable[Shared]) -> Shared:
        """Returns the sum of the counts of all partitions, which have no id in common."""
        every = [Shared(), *parts]
        worst = max(every, key=lambda part: (part.most, -part.place))
        return Shared(sum(part.ids for part in every), sum(part.documents for part in every), worst.most, worst.place)


def read_entries(pairs: Iterable[Pair]) -> NDArray[np.void]:
    """Returns the entries (id hash, text hash, position) stored in blocks of files, as rows of `ENTRY`."""
    every = list(pairs)
    high, low = read_spans(hashes for hashes, _ in every)
    content, place = read_spans(places for _, places in every)
    entries = np.empty(len(high), ENTRY)
    entries["high"], entries["low"], entries["content"], entries["place"] = high, low.view(np.uint64), content, place
    return entries


def to_rename(entries: NDArray[np.void]) -> tuple[Integers, Integers, Shared]:
    """Returns the positions of documents that need a new id, their copy numbers, and counts of shared ids."""
    order = np.argsort(entries["high"])
    sorted_high = entries["high"][order]
    same = sorted_high[1:] == sorted_high[:-1]
    alike = entries[order[np.r_[same, False] | np.r_[False, same]] if len(order) else order]
    order = np.lexsort([alike[name] for name in reversed(FIELDS)])
    high, low, content, place = (alike[name][order] for name in FIELDS)
    number = 1 + np.arange(len(place)) - np.repeat(*groups(high, low, content))
    starts, sizes = groups(high, low)
    return np.delete(place, starts), np.delete(number, starts), _shared(sizes, place[starts])


def _shared(sizes: Integers, places: Integers) -> Shared:
    """What groups of documents of one id come to; groups of one are of an id that is nobody else's."""
    several = sizes > 1
    if not several.any():
        return Shared()
    most = int(sizes.max())
    place = int(places[sizes == most].min())
    return Shared(int(several.sum()), int(sizes[several].sum()), most, place)


@dataclass(frozen=True)
class Ids:
    """Compares ids and makes new ones; its methods are the graph's functions, in the order of use.

    The rank of a shard, whose documents come before those of larger ranks, is a fact of its task. Without `names` ids
    are only compared, before there are signals. With `made_alone` only those are that look as if they were made here.
    """

    store: Store
    links: Links
    names: bool = True
    partitions: int = 1
    made_alone: bool = False

    @property
    def answer(self) -> str:
        """Returns the path of the file to which the graph writes its outcome."""
        return self.store.path(GATHERED, self.links.key, SUFFIX)

    def entries(self, task: Task) -> Iterator[NDArray[np.void]]:
        """Yields an entry (id hash, text hash, position) per document of a shard, in batches of `ENTRY` rows."""
        stage = SIGNALS if self.names else DOCUMENTS
        columns = ["doc_id", *(["content_hash"] if self.names else [])]
        made = task.inputs.get(IDS)
        new = Aligned(self.store, IDS, made, ["doc_id"], 0, sys.maxsize, READ_ROWS) if made else None
        batches = self.store.batches(stage, task.inputs[stage], rows=READ_ROWS, columns=columns)
        for rows, batch in with_rows(batches, int(task.facts["rank"]) << 32):
            ids = new.take(batch.num_rows)["doc_id"].combine_chunks() if new else batch["doc_id"]
            entries = np.zeros(len(ids), ENTRY)
            entries["high"], entries["low"] = _hashes(ids).T
            entries["content"] = _contents(batch["content_hash"]) if self.names else 0
            entries["place"] = np.arange(rows.start, rows.stop)
            yield entries[np.asarray(pc.match_substring_regex(ids, MADE))] if self.made_alone else entries

    def spans(self, task: Task) -> list[tuple[int, Pair]]:
        """Writes the entries of a shard by partition and returns (partition, file spans) of every block."""
        spans = []
        with self.links.open_spans(f"ids-{task.shard}") as out:
            for batches in batched(self.entries(task), (len, BLOCK)):
                block = np.concatenate(batches)
                part = finalise(block["high"]) % np.uint64(self.partitions)
                for index in np.unique(part).tolist():
                    high, low, content, place = (block[name][part == index].tobytes() for name in FIELDS)
                    spans.append((index, (out.write((high, low)), out.write((content, place)))))
        return spans

    def renamed(self, part: int, pairs: Iterable[Pair]) -> tuple[list[tuple[int, Span]], Shared]:
        """Writes which documents need new ids; returns (rank, file span) of their shards and counts of shared ids."""
        places, numbers, shared = to_rename(read_entries(pairs))
        with self.links.open_spans(f"renamed-{part}") as out:
            spans = [
                (rank, out.write((rows.astype(np.uint64).tobytes(), copies.tobytes())))
                for rank, rows, copies in by_shard(places, numbers)
            ]
        return spans, shared

    def write(self, task: Task, rows: Integers, numbers: Integers) -> Marker:
        """Writes a shard's ids, unique ones for `rows`, and returns a marker whose fact `renamed` counts new ids."""
        order = np.argsort(rows)
        rows, numbers = rows[order], numbers[order]
        changed = xxhash.xxh3_128_hexdigest(rows.tobytes() + numbers.tobytes())
        key = digest(IDS, VERSION, task.inputs[DOCUMENTS], task.inputs.get(IDS, ""), changed)
        if marker := self.store.find(IDS, key):
            return marker
        table = self.store.table(SIGNALS, task.inputs[SIGNALS], ["doc_id", "content_hash"]).combine_chunks()
        ids = doc_ids(task, self.store).to_pylist()
        contents = _contents(table["content_hash"].chunk(0))[rows]
        for row, content, number in zip(rows.tolist(), contents.tolist(), numbers.tolist(), strict=True):
            ids[row] = unique_id(ids[row], content, number)
        with self.store.writer(IDS, key, IDS_SCHEMA) as out:
            for start in range(0, len(ids), READ_ROWS):
                out.write(pa.record_batch([pa.array(ids[start : start + READ_ROWS])], schema=IDS_SCHEMA))
        renamed = sum(new != old for new, old in zip(ids, table["doc_id"].to_pylist(), strict=True))
        return self.store.commit(replace(task, key=key).marker(IDS, len(ids), out.seal, renamed=renamed))

    def made(self, task: Task, spans: Iterable[Span]) -> tuple[int, str, int] | None:
        """Returns (shard, key of its ids, number of new ids) after writing them, or None without new ids."""
        rows, numbers = read_spans(spans)
        return self._made(task, rows.view(np.int64), numbers) if len(rows) else None

    def _made(self, task: Task, rows: Integers, numbers: Integers) -> tuple[int, str, int]:
        if not self.names:
            return task.shard, "", len(rows)
        marker = self.write(task, rows, numbers)
        return task.shard, marker.key, int(marker.facts["renamed"])

    def compared(self, tasks: Sequence[Task]) -> tuple[list[tuple[int, str, int]], Shared]:
        """Returns the same result as the graph, computed in memory; tasks must be in order of their ranks."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            batches = pool.map(lambda task: list(self.entries(task)), tasks)
            entries = np.concatenate([np.zeros(0, ENTRY), *(batch for of_task in batches for batch in of_task)])
            places, numbers, shared = to_rename(entries)
            made = pool.map(lambda part: self._made(tasks[part[0]], *part[1:]), by_shard(places, numbers))
            return list(made), shared


def by_shard(places: Integers, numbers: Integers) -> Iterator[tuple[int, Integers, Integers]]:
    """Yields (rank, rows, copy numbers) for every shard that has one of the positions `places`."""
    order = np.argsort(places)
    places, numbers = places[order], numbers[order]
    ranks, starts = np.unique(places >> 32, return_index=True)
    ends = np.r_[starts, len(places)][1:]
    for rank, start, end in zip(ranks.tolist(), starts, ends, strict=True):
        yield rank, places[start:end] & 0xFFFFFFFF, numbers[start:end]


def unique_id(doc_id: str, content: int, number: int) -> str:
    """Returns the new id of copy `number` (from 1) of a text with hash `content`, whose id others share."""
    return f"{doc_id}#{content:016x}" + (f".{number}" if number > 1 else "")


def _hashes(ids: pa.Array) -> UInt64Array:
    """Both halves of the xxh3_128 of every id, uint64[ids, 2]."""
    raw = ids.cast(pa.large_binary()).to_pylist()
    return np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, raw)), np.uint64).reshape(-1, 2)


def _contents(hashes: pa.FixedSizeBinaryArray) -> UInt64Array:
    """The first half of every content hash, as the number that its digits write."""
    halves = np.frombuffer(hashes.buffers()[1], ">u8").reshape(-1, 2)[hashes.offset : hashes.offset + len(hashes)]
    return halves[:, 0].astype(np.uint64)
