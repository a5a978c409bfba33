"""Verifies candidate pairs of near-duplicates by the exact Jaccard similarity of their shingle sets.

The bands of a bucket give a star, edges from its smallest document to every other one. Every edge is verified by the
true Jaccard similarity of both documents' sets of shingle hashes, so every link that is made is true. A star whose
smallest document resembles few of the others would lose the pairs among these. Where an edge fails, therefore,
the members of its star are compared with each other too: all pairs of at most `SMALL_STAR` members; in a hotter
star the members that failed are compared with the smallest of them, those that fail again with the smallest of
these, `LEADERS` times in all. So the work stays linear in the edges, and what can be lost are pairs in stars of more
than `SMALL_STAR` documents of more than `LEADERS` kinds that share a band all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siftlm.engine.shards import Task
from siftlm.engine.spill import Edges, Integers, groups
from siftlm.scorers import ShingleSettings
from siftlm.scorers.protocol import ragged_text
from siftlm.stages.edit import edited_batches
from siftlm.stages.portions import with_rows
from siftlm.store import Store

SMALL_STAR = 32
LEADERS = 16
READ_DOCUMENTS = 1024

Request = tuple[bytes, bytes]  # int64 rows of a shard, and the partitions that want their sets
SetBlock = tuple[bytes, bytes, bytes]  # int64 numbers, int64 sizes, uint64 shingle hashes one after the other


@dataclass(frozen=True)
class ShingleSets:
    """Holds the sets of shingle hashes of some documents.

    Those of document `numbers[i]` are hashes[bounds[i]:bounds[i + 1]]; numbers ascend.
    """

    numbers: Integers
    bounds: Integers
    hashes: NDArray[np.uint64]

    @staticmethod
    def of(blocks: Iterable[SetBlock]) -> ShingleSets:
        parts = list(blocks)
        numbers, sizes = _integers(part[0] for part in parts), _integers(part[1] for part in parts)
        hashes = np.frombuffer(b"".join(part[2] for part in parts), np.uint64)
        sets = ShingleSets(numbers, np.r_[0, np.cumsum(sizes)], hashes)
        return sets.take(np.argsort(numbers))

    def take(self, rows: Integers) -> ShingleSets:
        """Returns the shingle sets at the given positions, in the order of the positions."""
        parts = [self.hashes[self.bounds[row] : self.bounds[row + 1]] for row in rows]
        bounds = np.r_[0, np.cumsum([len(part) for part in parts], dtype=np.int64)]
        return ShingleSets(self.numbers[rows], bounds, np.concatenate([self.hashes[:0], *parts]))

    def block(self) -> SetBlock:
        return self.numbers.tobytes(), np.diff(self.bounds).tobytes(), self.hashes.tobytes()

    def similarity(self, a: Integers, b: Integers) -> NDArray[np.float64]:
        """Returns the Jaccard similarity of every pair of documents (a[i], b[i]), which are given by number."""
        from siftlm_kernels.minhash import set_jaccard

        named, places = np.unique(np.concatenate([a, b]), return_inverse=True)
        sets = self.take(np.searchsorted(self.numbers, named))
        pairs = np.ascontiguousarray(places.reshape(2, -1).T)
        return set_jaccard(sets.hashes, sets.bounds, pairs)


def requests(near: Edges, partition: int) -> Iterator[tuple[int, Request]]:
    """Yields (shard, rows whose shingle sets this partition needs) for the documents at both ends of its edges."""
    numbers = np.unique(np.concatenate(near))
    shards = numbers >> 32
    for shard in np.unique(shards):
        rows = numbers[shards == shard] & 0xFFFFFFFF
        yield int(shard), (rows.tobytes(), np.full(len(rows), partition, np.int64).tobytes())


def shingle_sets(
    task: Task, store: Store, shingles: ShingleSettings, wanted: Iterable[Request]
) -> Iterator[tuple[int, SetBlock]]:
    """Yields (partition, shingle sets that it requested) of a shard, computed here so that no text is shuffled."""
    from siftlm_kernels.minhash import shingle_hashes

    asked = list(wanted)
    rows, parts = (_integers(request[side] for request in asked) for side in (0, 1))
    batches = edited_batches(task, store, rows=READ_DOCUMENTS, columns=["text"])
    for of_batch, batch in with_rows(batches):
        here = (rows >= of_batch.start) & (rows < of_batch.stop)
        if here.any():
            distinct, places = np.unique(rows[here], return_inverse=True)
            texts = batch["text"].take(pa.array(distinct - of_batch.start))
            hashes, bounds = shingle_hashes(*ragged_text(texts), ngram=shingles.ngram)
            sets = ShingleSets((task.shard << 32) + distinct, bounds, hashes)
            for part in np.unique(parts[here]):
                yield int(part), sets.take(places[parts[here] == part]).block()


def verified(near: Edges, sets: ShingleSets, threshold: float) -> Edges:
    """Returns the edges between similar enough documents, and new ones between the neighbours of failed edges."""
    order = np.lexsort((near[1], near[0]))
    a, b = near[0][order], near[1][order]
    similar = sets.similarity(a, b) >= threshold
    links = [(a[similar], b[similar])]
    for start, size in zip(*groups(a), strict=True):
        end = start + size
        if not similar[start:end].all():
            links += _within(b[start:end], similar[start:end], sets, threshold)
    return np.concatenate([edges[0] for edges in links]), np.concatenate([edges[1] for edges in links])


def _within(members: Integers, similar: NDArray[np.bool_], sets: ShingleSets, threshold: float) -> list[Edges]:
    """True links among the members of a star of which some are not similar to its smallest document."""
    if len(members) < SMALL_STAR:
        left, right = np.triu_indices(len(members), 1)
        new = ~(similar[left] & similar[right])
        a, b = members[left[new]], members[right[new]]
        true = sets.similarity(a, b) >= threshold
        return [(a[true], b[true])]
    links, rest = [], members[~similar]
    for _ in range(LEADERS):
        if len(rest) < 2:
            break
        leader, rest = rest[0], rest[1:]
        true = sets.similarity(np.full(len(rest), leader), rest) >= threshold
        links.append((np.full(np.count_nonzero(true), leader), rest[true]))
        rest = rest[~true]
    return links


def _integers(parts: Iterable[bytes]) -> Integers:
    return np.frombuffer(b"".join(parts), np.int64)
