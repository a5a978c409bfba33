"""Finds lines or paragraphs that several documents have, and computes what to cut from each document.

A paragraph (`siftlm_kernels.paragraphs`) is cut where it occurs in `min_documents` documents or more, counted after the
removal of duplicates, by the hash of its bytes. A paragraph that one document repeats is in one document. With
`keep = "first"` one document keeps it, all its occurrences. The first is not the first of the input, whose order must
change nothing, but the one with the smallest keyed hash of doc_id; documents that train the reference model come last,
so that they keep nothing that another has. Documents of one cluster (`dedup.action = "annotate"`) count as one and
keep the same.

What is shuffled is hashes of paragraphs and documents, in files of which only the places pass through the pipeline. Of
a paragraph no more than the `min_documents` smallest document hashes are passed on from a block: they decide whether it
is common and who is first, so a line that every page has costs no more than one that few have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from siftlm.engine.shards import Stopwatch, Task
from siftlm.engine.spill import Links, Span, groups, partition, read_spans
from siftlm.scorers.protocol import ragged_text
from siftlm.selectors.reasons import ALL_CUT
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.edit import edited_batches
from siftlm.stages.paragraphs.settings import ParagraphSettings
from siftlm.stages.portions import batched, with_rows
from siftlm.stages.texts import PARAGRAPHS
from siftlm.statistics.hashing import hash_strings, keyed
from siftlm.statistics.ordered import BoolArray, UInt64Array
from siftlm.store import Store

VERSION = 1
SPAN = pa.struct([pa.field("start", pa.int64(), nullable=False), pa.field("end", pa.int64(), nullable=False)])
CUT_SCHEMA = pa.schema(
    [
        pa.field("byte_count", pa.int64(), nullable=False),  # UTF-8 bytes that are left
        pa.field("cut_spans", pa.list_(SPAN), nullable=False),  # [start, end) in bytes of the text as edited
        pa.field("cut_count", pa.int32(), nullable=False),  # paragraphs that were cut
        pa.field("cut_bytes", pa.int64(), nullable=False),
        pa.field("cut_share", pa.float64(), nullable=False),  # of the bytes of the text as edited
    ]
)
BATCH_DOCUMENTS = 1024
BLOCK = 1 << 20  # paragraphs that a shard holds before it writes them: 16 MB
ENTRIES = 4_000_000  # paragraphs in a partition, about: 64 MB of them, five times that while they are sorted
TEXT_BYTES = 128  # that a paragraph takes of a corpus, about, where short ones are considered too


@dataclass(frozen=True)
class ParagraphRanks:
    """Holds which documents have which paragraphs, as hashes: document `ranks[i]` has paragraph `keys[i]`."""

    keys: UInt64Array
    ranks: UInt64Array

    @staticmethod
    def read(spans: Iterable[Span]) -> ParagraphRanks:
        keys, ranks = read_spans(spans)
        return ParagraphRanks(keys, ranks.view(np.uint64))

    @staticmethod
    def joined(parts: Sequence[ParagraphRanks]) -> ParagraphRanks:
        none = np.zeros(0, np.uint64)
        keys, ranks = ([none, *(getattr(part, side) for part in parts)] for side in ("keys", "ranks"))
        return ParagraphRanks(np.concatenate(keys), np.concatenate(ranks))

    def smallest(self, most: int) -> ParagraphRanks:
        """Returns at most the `most` smallest distinct document ranks of every paragraph key, by key, then rank."""
        order = np.lexsort((self.ranks, self.keys))
        keys, ranks = self.keys[order], self.ranks[order]
        new, _ = groups(keys, ranks)
        keys, ranks = keys[new], ranks[new]
        place = np.arange(len(keys)) - np.repeat(*groups(keys))
        return ParagraphRanks(keys[place < most], ranks[place < most])

    def common(self, documents: int) -> ParagraphRanks:
        """Returns the paragraph keys that at least `documents` documents have, with their smallest ranks, by key."""
        best = self.smallest(documents)
        starts, sizes = groups(best.keys)
        starts = starts[sizes >= documents]
        return ParagraphRanks(best.keys[starts], best.ranks[starts])

    def find(self, keys: UInt64Array) -> tuple[BoolArray, UInt64Array]:
        """Returns a mask of the `keys` that are held here, and the rank of each key.

        The keys held here must ascend; the rank of a key that is not found is arbitrary.
        """
        if not len(self.keys):
            return np.zeros(len(keys), np.bool_), np.zeros(len(keys), np.uint64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.keys[place] == keys, self.ranks[place]


@dataclass(frozen=True)
class CommonParagraphs:
    """Finds and cuts common paragraphs; its methods are the graph's functions, in the order of use."""

    settings: ParagraphSettings
    seed: int
    drops: bool  # whether duplicates are out
    store: Store
    links: Links
    partitions: int = 1
    watch: Stopwatch = field(default_factory=Stopwatch)

    def spans(self, task: Task) -> list[tuple[int, tuple[int, Span]]]:
        """Writes the paragraph hashes of a shard and returns (partition, (shard, file span)) of every block written."""
        with self.links.open_spans(f"paragraphs-{task.shard}") as out:
            return [
                (part, (task.shard, out.write(block)))
                for block_of in self._blocks(task)
                for part, block in partition(block_of.keys, block_of.ranks.view(np.int64), self.partitions)
            ]

    def common(self, part: int, spans: Iterable[tuple[int, Span]]) -> list[tuple[int, Span]]:
        """Writes the common paragraphs of a partition; returns (shard, file span) for every shard that has some."""
        by_shard: dict[int, list[Span]] = defaultdict(list)
        for shard, span in spans:
            by_shard[shard].append(span)
        blocks = {shard: ParagraphRanks.read(of_shard) for shard, of_shard in sorted(by_shard.items())}
        common = ParagraphRanks.joined(list(blocks.values())).common(self.settings.min_documents)
        spans_of_common = []
        with self.links.open_spans(f"common-{part}") as out:
            for shard, block in blocks.items():
                keys = np.unique(block.keys)
                there, firsts = common.find(keys)
                if there.any():
                    spans_of_common.append((shard, out.write((keys[there].tobytes(), firsts[there].tobytes()))))
        return spans_of_common

    def cut(self, task: Task, spans: Iterable[Span]) -> None:
        """Writes what to cut from each document of a shard, in order; nothing is cut from dropped documents."""
        common = ParagraphRanks.read(spans)
        order = np.argsort(common.keys)
        common = ParagraphRanks(common.keys[order], common.ranks[order])
        content, sums = xxhash.xxh3_128(), np.zeros(5, np.int64)
        with self.store.writer(PARAGRAPHS, task.key, CUT_SCHEMA) as out:
            for batch, ranks, alive in self._documents(task):
                cuts = self.cuts(batch["text"], ranks, alive, common)
                out.write(cuts)
                spans_of, counts = cuts["cut_spans"], cuts["cut_count"].to_numpy()
                content.update(pc.list_value_length(spans_of).to_numpy().tobytes())
                content.update(np.stack([spans_of.flatten().field(side) for side in (0, 1)]).tobytes())
                emptied = np.count_nonzero((counts > 0) & (cuts["byte_count"].to_numpy() == 0))
                cut_bytes = cuts["cut_bytes"].to_numpy().sum()
                sums += [np.count_nonzero(~alive), emptied, np.count_nonzero(counts), counts.sum(), cut_bytes]
        out_already, left_empty, documents, paragraphs, cut_bytes = sums.tolist()
        self.store.commit(
            task.marker(
                PARAGRAPHS, out.rows, out.seal, content=content.hexdigest(),
                dropped={"not_alive": out_already, ALL_CUT: left_empty},
                cut_documents=documents, cut_paragraphs=paragraphs, cut_bytes=cut_bytes, seconds=self.watch.part(),
            )
        )  # fmt: skip

    def cuts(self, texts: pa.Array, ranks: UInt64Array, alive: BoolArray, common: ParagraphRanks) -> pa.RecordBatch:
        """Returns the CUT_SCHEMA columns of texts; `common` has common paragraphs with their first document's rank."""
        from siftlm_kernels.paragraphs import cut_spans

        keys, bounds, values, offsets = self._hashes(texts, alive)
        goes, firsts = common.find(keys)
        if self.settings.keep == "first":
            goes &= firsts != np.repeat(ranks[alive], np.diff(bounds))
        unit, least = self.settings.unit, self.settings.min_bytes
        spans, ends = cut_spans(values, offsets, goes, unit=unit, min_bytes=least)
        sizes = pc.fill_null(pc.binary_length(texts), 0).to_numpy()
        cut_bytes = _per_row(_sums(spans[:, 1] - spans[:, 0], ends), alive)
        columns = [
            pa.array(sizes - cut_bytes),
            _lists(spans, _per_row(np.diff(ends), alive)),
            pa.array(_per_row(_sums(goes, bounds), alive), pa.int32()),
            pa.array(cut_bytes),
            pa.array(cut_bytes / np.maximum(sizes, 1)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=CUT_SCHEMA)

    def _blocks(self, task: Task) -> Iterator[ParagraphRanks]:
        """The paragraphs of the shard's documents, of every one the smallest ranks that a block has."""
        for parts in batched(self._paragraphs(task), (lambda part: len(part.keys), BLOCK)):
            yield ParagraphRanks.joined(parts).smallest(self.settings.min_documents)

    def _paragraphs(self, task: Task) -> Iterator[ParagraphRanks]:
        for batch, ranks, alive in self._documents(task):
            keys, bounds, *_ = self._hashes(batch["text"], alive)
            yield ParagraphRanks(keys, np.repeat(ranks[alive], np.diff(bounds)))

    def _documents(self, task: Task) -> Iterator[tuple[pa.RecordBatch, UInt64Array, BoolArray]]:
        """(texts; rank of every document, the smallest comes first; which are not out) in batches."""
        clusters = self.store.table(CLUSTERS, task.inputs[CLUSTERS], ["cluster_id", "duplicate"])
        hashes = hash_strings(clusters["cluster_id"].combine_chunks())
        ranks = ~keyed(hashes, self.seed, "reference")  # the draw of the held-out split, whose smallest are held out
        alive = np.asarray(pc.is_null(clusters["duplicate"]).to_numpy(), np.bool_) | (not self.drops)
        batches = edited_batches(task, self.store, rows=BATCH_DOCUMENTS, columns=["text"])
        for rows, batch in with_rows(batches):
            yield batch, ranks[rows], alive[rows]

    def _hashes(
        self, texts: pa.Array, alive: BoolArray
    ) -> tuple[UInt64Array, NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
        """(hashes, their offsets, and the bytes and offsets of the texts) of the documents that are not out."""
        from siftlm_kernels.paragraphs import paragraphs

        values, offsets = ragged_text(texts if alive.all() else texts.filter(pa.array(alive)))
        keys, bounds = paragraphs(values, offsets, unit=self.settings.unit, min_bytes=self.settings.min_bytes)
        return keys, bounds, values, offsets


def _sums(values: NDArray[np.int64] | BoolArray, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum of every values[bounds[i]:bounds[i + 1]]."""
    return np.asarray(np.diff(np.r_[0, np.cumsum(values, dtype=np.int64)][bounds]), np.int64)


def _per_row(values: NDArray[np.int64], alive: BoolArray) -> NDArray[np.int64]:
    """The values of the rows that are not out, 0 for the others."""
    rows = np.zeros(len(alive), np.int64)
    rows[alive] = values
    return rows


def _lists(spans: NDArray[np.int64], counts: NDArray[np.int64]) -> pa.ListArray:
    """`counts[i]` spans a row."""
    edges = pa.StructArray.from_arrays([pa.array(side.copy()) for side in spans.T], fields=list(SPAN))
    return pa.ListArray.from_arrays(pa.array(np.r_[0, np.cumsum(counts)], pa.int32()), edges)
