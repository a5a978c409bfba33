"""Measures how well the other documents of the corpus predict each document's words (SoftDedup).

First a pipeline counts the word n-grams of all documents that are not dropped, in a table of hashed counts
(`siftlm_kernels.commonness`); then every shard is measured by it. A shard's table is written in slices, of which only
the places pass through the pipeline, and a slice is summed one shard at a time. Counts are integers, so neither the
order of the documents nor their shards can change a bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm import filesystem
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.scorers.protocol import Ragged, ragged_text
from siftlm.settings import End
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.portions import with_rows
from siftlm.stages.texts import document_batches
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Store

VERSION = 3
STAGE = "commonness"
NGRAMS = "ngrams"  # the folder of the tables, and the fact of a task that names its own
COMMONNESS_SCHEMA = pa.schema([pa.field("commonness", pa.float64())])  # null without words, or where it is out already
GOOD_ENDS: dict[str, End] = {"commonness": "lowest"}  # what others have too is worth less
BATCH_DOCUMENTS = 1024
SLICE = 1 << 20  # counts: 8 MB
Counts = NDArray[np.int64]
Slice = tuple[str, int, int, int]  # a file, the byte at which a slice begins, its bytes, its counts


def counted_texts(task: Task, store: Store, drops: bool) -> Iterator[tuple[Ragged, BoolArray]]:
    """Yields per batch of a shard the ragged text of the counted documents and a mask that marks them.

    All of them count, or with `drops` those that represent a cluster.
    """
    duplicate = store.table(CLUSTERS, task.inputs[CLUSTERS], ["duplicate"])["duplicate"]
    alive = np.asarray(pc.is_null(duplicate).to_numpy(), np.bool_) | (not drops)
    for rows, batch in with_rows(document_batches(task, store, rows=BATCH_DOCUMENTS, columns=["text"])):
        here = alive[rows]
        yield ragged_text(batch["text"] if here.all() else batch["text"].filter(pa.array(here))), here


@dataclass(frozen=True)
class NgramTable:
    """Counts a corpus's n-grams shard by shard and sums them slice by slice; the graph calls these methods."""

    settings: CommonnessSettings
    drops: bool  # whether duplicates are out
    links: Links
    key: str

    def count(self, task: Task) -> list[tuple[int, Slice]]:
        """Writes the n-gram counts of a shard in slices and returns (slice number, location in the file) of each."""
        from siftlm_kernels.commonness import count_ngrams, empty_counts

        table = empty_counts(self.settings.bits)
        for text, _ in counted_texts(task, self.links.store, self.drops):
            count_ngrams(*text, table, ngram=self.settings.ngram)
        path, end = f"{self.links.folder}/ngrams-{task.shard}.zst", 0
        slices: list[tuple[int, Slice]] = []
        with filesystem.open_write(path, durable=False) as out:
            for part, counts in enumerate(np.split(table, range(SLICE, len(table) - 1, SLICE))):
                size = out.write(pa.compress(counts, codec="zstd", asbytes=True))
                slices.append((part, (path, end, size, len(counts))))
                end += size
        return slices

    def add(self, part: int, slices: Iterable[Slice]) -> None:
        """Writes the sum of one slice of counts over all shards."""
        total: Counts | None = None
        for path, start, size, entries in slices:
            with filesystem.open_read(path) as stream:
                stream.seek(start)
                counts = _counts(stream.read(size), entries)
            total = counts.copy() if total is None else np.add(total, counts, out=total)
        assert total is not None, "a group has a member"
        content = len(total).to_bytes(8, "little") + pa.compress(total, codec="zstd", asbytes=True)
        self.links.store.write_sealed(self._path(part), content)

    def paths(self) -> tuple[str, ...]:
        """Returns the paths of the finished table's files, in the order of their slices."""
        return tuple(self._path(part) for part in range(max(1, (1 << self.settings.bits) // SLICE)))

    def is_done(self) -> bool:
        return all(self.links.store.holds_sealed(path) for path in self.paths())

    def _path(self, part: int) -> str:
        return self.links.store.path(NGRAMS, f"{self.key}/{part:04d}", ".zst")


@lru_cache(maxsize=1)
def table_of(store: Store, paths: tuple[str, ...]) -> Counts:
    """Returns all n-gram counts of a finished table, read from its files."""
    parts = [store.read_sealed(path) for path in paths]
    return np.concatenate([_counts(part[8:], int.from_bytes(part[:8], "little")) for part in parts])


def _counts(compressed: bytes, entries: int) -> Counts:
    return np.frombuffer(pa.decompress(compressed, 8 * entries, codec="zstd", asbytes=True), np.int64)
