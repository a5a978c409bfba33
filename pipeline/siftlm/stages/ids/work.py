"""Gives every document an id of its own where several came with one.

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
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from siftlm.engine.shards import Task
from siftlm.engine.spill import Integers, Links, Span, read_spans
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS, Aligned, doc_ids
from siftlm.statistics.hashing import finalise
from siftlm.statistics.ordered import BoolArray, UInt64Array
from siftlm.store import Marker, Store, digest

VERSION = 2
IDS_SCHEMA = pa.schema([pa.field("doc_id", pa.string(), nullable=False)])
READ_ROWS = 65_536
BLOCK = 1 << 20  # documents that a shard holds before it writes them: 32 MB
ENTRIES = 4_000_000  # documents in a partition: 128 MB of them, and as much again while they are sorted

MADE = r"#[0-9a-f]{16}(\.[0-9]+)?$"  # how the ids end that are made here

Pair = tuple[Span, Span]  # where a block of entries lies: the halves of the hashes; hashes of texts and places


@dataclass(frozen=True)
class Shared:
    """How many ids several documents have, how many documents those are, and the id that most of them have."""

    ids: int = 0
    documents: int = 0
    most: int = 0  # documents of one id
    place: int = 0  # of one of them

    @staticmethod
    def merged(parts: Iterable[Shared]) -> Shared:
        """Returns the sums of all partitions, whose ids differ."""
        every = [Shared(), *parts]
        worst = max(every, key=lambda part: (part.most, -part.place))
        return Shared(sum(part.ids for part in every), sum(part.documents for part in every), worst.most, worst.place)


@dataclass(frozen=True)
class Entries:
    """Documents side by side: both halves of the hash of their id, a hash of their text, and their place.

    A place is `rank of the shard << 32 | row`.
    """

    high: UInt64Array
    low: UInt64Array
    content: UInt64Array
    place: Integers

    @staticmethod
    def read(pairs: Iterable[Pair]) -> Entries:
        every = list(pairs)
        high, low = read_spans(hashes for hashes, _ in every)
        content, place = read_spans(places for _, places in every)
        return Entries(high, low.view(np.uint64), content, place)

    @staticmethod
    def joined(parts: Sequence[Entries]) -> Entries:
        unsigned, signed = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        none = Entries(unsigned, unsigned, unsigned, signed)
        sides = ([getattr(part, side) for part in (none, *parts)] for side in ("high", "low", "content", "place"))
        return Entries(*(np.concatenate(side) for side in sides))

    def take(self, rows: Any) -> Entries:
        return Entries(self.high[rows], self.low[rows], self.content[rows], self.place[rows])

    def __len__(self) -> int:
        return len(self.place)

    def renamed(self) -> tuple[Integers, Integers, Shared]:
        """Returns the places of documents that need another id, which copy each is, and what they share."""
        order = np.argsort(self.high)
        alike = self.high[order][1:] == self.high[order][:-1]
        mine = self.take(order[np.r_[alike, False] | np.r_[False, alike]] if len(order) else order)
        mine = mine.take(np.lexsort((mine.place, mine.content, mine.low, mine.high)))
        first = _changes(mine.high) | _changes(mine.low)
        texts = np.flatnonzero(first | _changes(mine.content))
        number = 1 + np.arange(len(mine)) - np.repeat(texts, np.diff(np.r_[texts, len(mine)]))
        starts = np.flatnonzero(first)
        sizes = np.diff(np.r_[starts, len(mine)])
        return mine.place[~first], number[~first], _shared(sizes, mine.place[starts])


def _shared(sizes: Integers, places: Integers) -> Shared:
    """What groups of documents of one id come to; groups of one are of an id that is nobody else's."""
    several = sizes > 1
    if not several.any():
        return Shared()
    most = int(sizes.max())
    place = int(places[sizes == most].min())
    return Shared(int(several.sum()), int(sizes[several].sum()), most, place)


def _changes(values: UInt64Array) -> BoolArray:
    """Where a value is not the one before it; the first is not."""
    return np.asarray(np.r_[True, values[1:] != values[:-1]][: len(values)], np.bool_)


@dataclass(frozen=True)
class Ids:
    """The plain functions of the stage, in the order of its graph.

    The rank of a shard, whose documents come before those of larger ranks, is a fact of its task. Without `names` ids
    are only compared, before there are signals. With `made_alone` only those are that look as if they were made here.
    """

    store: Store
    links: Links
    names: bool = True
    partitions: int = 1
    made_alone: bool = False

    def entries(self, task: Task) -> Iterator[Entries]:
        """Yields the documents of a shard in blocks."""
        stage = SIGNALS if self.names else DOCUMENTS
        columns = ["doc_id", *(["content_hash"] if self.names else [])]
        row, held = int(task.facts["rank"]) << 32, list[Entries]()
        made = task.inputs.get(IDS)
        new = Aligned(self.store, IDS, made, ["doc_id"], 0, sys.maxsize, READ_ROWS) if made else None
        for batch in self.store.batches(stage, task.inputs[stage], rows=READ_ROWS, columns=columns):
            ids = new.take(batch.num_rows)["doc_id"].combine_chunks() if new else batch["doc_id"]
            high, low = _hashes(ids)
            content = _contents(batch["content_hash"]) if self.names else np.zeros(len(high), np.uint64)
            block = Entries(high, low, content, np.arange(row, row + len(high)))
            held.append(block.take(np.asarray(pc.match_substring_regex(ids, MADE))) if self.made_alone else block)
            row += batch.num_rows
            if sum(map(len, held)) >= BLOCK:
                yield Entries.joined(held)
                held = []
        yield Entries.joined(held)

    def spans(self, task: Task) -> list[tuple[int, Pair]]:
        """Writes the entries of a shard; (partition, where its part is) of every block."""
        found = []
        with self.links.open_spans(f"ids-{task.shard}") as out:
            for block in self.entries(task):
                part = finalise(block.high) % np.uint64(self.partitions)
                for index in np.unique(part).tolist():
                    mine = block.take(part == index)
                    hashes = out.write((mine.high.tobytes(), mine.low.tobytes()))
                    found.append((index, (hashes, out.write((mine.content.tobytes(), mine.place.tobytes())))))
        return found

    def renamed(self, part: int, pairs: Iterable[Pair]) -> tuple[list[tuple[int, Span]], Shared]:
        """Writes who needs another id; (rank, where its part is) of every shard with any, and what they share."""
        places, numbers, shared = Entries.read(pairs).renamed()
        with self.links.open_spans(f"renamed-{part}") as out:
            found = [
                (rank, out.write((rows.astype(np.uint64).tobytes(), mine.tobytes())))
                for rank, rows, mine in by_shard(places, numbers)
            ]
        return found, shared

    def write(self, task: Task, rows: Integers, numbers: Integers) -> Marker:
        """Writes the ids of a shard, those of `rows` made unique; its fact `renamed` counts those that are new."""
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
        return self.store.commit(
            Marker(IDS, key, task.name, len(ids), len(ids), files={".parquet": out.seal}, facts={"renamed": renamed})
        )

    def made(self, task: Task, spans: Iterable[Span]) -> tuple[int, str, int] | None:
        """Returns (shard, key of its ids, how many are new), or None where it keeps what it has."""
        rows, numbers = read_spans(spans)
        return self._made(task, rows.view(np.int64), numbers) if len(rows) else None

    def _made(self, task: Task, rows: Integers, numbers: Integers) -> tuple[int, str, int]:
        if not self.names:
            return task.shard, "", len(rows)
        marker = self.write(task, rows, numbers)
        return task.shard, marker.key, int(marker.facts["renamed"])

    def compared(self, tasks: Sequence[Task]) -> tuple[list[tuple[int, str, int]], Shared]:
        """Returns what a pipeline over the tasks, in order of their ranks, would come to, all in memory."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            blocks = list(pool.map(lambda task: Entries.joined(list(self.entries(task))), tasks))
            places, numbers, shared = Entries.joined(blocks).renamed()
            made = pool.map(lambda part: self._made(tasks[part[0]], *part[1:]), by_shard(places, numbers))
            return list(made), shared


def by_shard(places: Integers, numbers: Integers) -> Iterator[tuple[int, Integers, Integers]]:
    """Yields (rank, rows, numbers of the copies) of every shard among the places."""
    order = np.argsort(places)
    places, numbers = places[order], numbers[order]
    ranks, starts = np.unique(places >> 32, return_index=True)
    ends = np.r_[starts, len(places)][1:]
    for rank, start, end in zip(ranks.tolist(), starts, ends, strict=True):
        yield rank, places[start:end] & 0xFFFFFFFF, numbers[start:end]


def unique_id(doc_id: str, content: int, number: int) -> str:
    """Returns the id of the copy `number`, from 1, of a text with that hash, where others have the id."""
    return f"{doc_id}#{content:016x}" + (f".{number}" if number > 1 else "")


def _hashes(ids: pa.Array) -> tuple[UInt64Array, UInt64Array]:
    """Both halves of the xxh3_128 of every id."""
    raw = ids.cast(pa.large_binary()).to_pylist()
    halves = np.frombuffer(b"".join(map(xxhash.xxh3_128_digest, raw)), np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(halves[:, 0]), np.ascontiguousarray(halves[:, 1])


def _contents(hashes: pa.FixedSizeBinaryArray) -> UInt64Array:
    """The first half of every content hash, as the number that its digits write."""
    halves = np.frombuffer(hashes.buffers()[1], ">u8").reshape(-1, 2)[hashes.offset : hashes.offset + len(hashes)]
    return halves[:, 0].astype(np.uint64)
