"""Draws the documents of one replicate: from a selection, or from the pool like a selection in source and length.

All draws are functions of ids and a seed. Documents are told apart by the hash of their doc_id, and come in an order
of random numbers that are computed from it; a draw looks at all documents, a million at a time, and holds those only
whose numbers are small enough to come first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from siftlm.statistics.hashing import finalise, keyed, uniform

Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
COPY = np.uint64(0x9E3779B97F4A7C15)  # the odd number nearest to 2^64 over the golden ratio
LENGTHS_AN_OCTAVE = 2  # bins of length
BINS = 128  # of length, more than there are
CHUNK = 1 << 20  # documents that are looked at together
MARGIN = 1.2  # times what is wanted is looked for at first
LAST = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class Documents:
    """Holds what draws need to know of documents.

    Attributes:
        hashes: uint64[n], hashes of their ids.
        bytes: uint32[n], UTF-8 bytes of each.
        weight: float32[n], expected copies of each in one pass; 0 where it is not selected.
        source: int16[n], the number of each document's source.
        rates: float64[sources], bytes of a token in the documents of each source.
    """

    hashes: Hashes
    bytes: npt.NDArray[np.uint32]
    weight: npt.NDArray[np.float32]
    source: npt.NDArray[np.int16]
    rates: npt.NDArray[np.float64]

    def sizes(self, rows: Indices | slice = slice(None)) -> Indices:
        """Returns the estimated tokens of some documents, with a separator before each, int64[rows]."""
        return np.ceil(self.bytes[rows] / self.rates[self.source[rows]]).astype(np.int64) + 1

    @cached_property
    def expected_size(self) -> float:
        """Returns the estimated tokens of one pass over the selection."""
        return float(sum((self.weight[rows] * self.sizes(rows)).sum(dtype=np.float64) for rows in chunks(len(self))))

    def strata(self, rows: Indices | slice = slice(None)) -> Indices:
        """Returns a number for some documents' source and bin of length, half an octave wide, int64[rows]."""
        bins = np.floor(LENGTHS_AN_OCTAVE * np.log2(np.maximum(self.bytes[rows], 1))).astype(np.int64)
        return np.asarray(self.source[rows].astype(np.int64) * BINS + bins)

    def __len__(self) -> int:
        return len(self.hashes)


def chunks(number: int) -> Iterator[slice]:
    """Yields slices of so many documents, a million at a time."""
    return (slice(start, min(number, start + CHUNK)) for start in range(0, number, CHUNK))


def draw(documents: Documents, size: int, share: float, seed: int) -> Indices:
    """Returns the documents of a replicate, a copy each.

    A document of weight w has floor(w) copies and one more with the probability of the rest. Copies come in a random
    order until `size` or the `share` of the selection's size is reached; the last one may go beyond.

    Args:
        documents: What to draw from; at least one must have a weight.
        size: Estimated tokens to draw.
        share: Share of the selection that a replicate may draw, above 0 and at most 1.
        seed: Of the draw.
    """
    limit = min(float(size), share * documents.expected_size)
    looked_for = max(1e-9, limit / max(1.0, documents.expected_size))
    while True:
        looked_for *= MARGIN
        rows = copies(documents, seed, np.full(1, _first(looked_for)))
        sums = np.cumsum(documents.sizes(rows))
        if looked_for >= 1 or (len(sums) and sums[-1] >= limit):
            return rows[: int(np.searchsorted(sums, limit)) + 1]
        looked_for *= 2


def matched(pool: Documents, like: Documents, drawn: Indices, size: int, seed: int) -> Indices:
    """Returns documents of the pool with a draw's shares of bytes in every source and bin of length.

    Args:
        pool: What to draw from.
        like: The documents that `drawn` numbers, whose sources have the numbers of the pool's.
        drawn: Documents of the draw to match.
        size: Estimated tokens to draw, which may be more than a draw of a small selection has.
        seed: Of the draw.

    Returns:
        The documents, a copy each. A stratum of which the pool has too little is repeated; one that the pool lacks is
        left out, so there may be less than `size`.
    """
    strata = BINS * (1 + max(int(of.source.max(initial=0)) for of in (pool, like)))
    wanted = np.bincount(like.strata(drawn), like.bytes[drawn], strata)
    of_bytes, of_tokens = _totals(pool, seed, strata)
    tokens = np.where(of_bytes > 0, wanted * of_tokens / np.maximum(of_bytes, 1), 0)
    targets = np.round(tokens * size / max(1.0, tokens.sum())).astype(np.int64)
    rows = _first_of_strata(pool, seed, targets, targets / np.maximum(of_tokens, 1))
    own = np.split(rows, np.cumsum(np.bincount(pool.strata(rows), minlength=strata))[:-1])
    return np.concatenate([_filled(pool, of, int(targets[stratum])) for stratum, of in enumerate(own)])


def _totals(pool: Documents, seed: int, strata: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The bytes and the estimated tokens of all copies in every stratum."""
    of_bytes, of_tokens = np.zeros(strata), np.zeros(strata)
    for rows, _ in _copies_by_chunk(pool, seed):
        of_bytes += np.bincount(pool.strata(rows), pool.bytes[rows], strata)
        of_tokens += np.bincount(pool.strata(rows), pool.sizes(rows), strata)
    return of_bytes, of_tokens


def _first_of_strata(pool: Documents, seed: int, targets: Indices, shares: npt.NDArray[np.float64]) -> Indices:
    """The first copies of every stratum, more than its target of tokens or all; by stratum, each in its order."""
    shares = np.where(shares > 0, shares, 0.0)
    while True:
        shares = shares * MARGIN
        rows = copies(pool, seed, np.array([_first(share) for share in shares.tolist()]))
        short = (np.bincount(pool.strata(rows), pool.sizes(rows), len(targets)) <= targets) & (targets > 0)
        if not (short & (shares < 1)).any():
            return rows[np.argsort(pool.strata(rows), kind="stable")]
        shares = np.where(short, 2 * shares + 1e-6, shares)


def _filled(pool: Documents, own: Indices, target: int) -> Indices:
    """The documents of a stratum whose tokens are nearest to a target, from the first on and round again."""
    sizes = pool.sizes(own)
    if not target or not len(own):
        return own[:0]
    rounds = -(-target // int(sizes.sum()))
    return np.tile(own, rounds)[: _nearest(np.cumsum(np.tile(sizes, rounds)), target)]


def copies(documents: Documents, seed: int, cuts: Hashes | None = None) -> Indices:
    """Returns the documents of one pass in a random order, each as often as it has copies.

    With `cuts`, uint64 [1] or [strata], only those copies whose random number is at most the cut of their stratum.
    """
    rows, keys = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    for some, numbers in _copies_by_chunk(documents, seed):
        if cuts is not None:
            chosen = numbers <= (cuts[0] if len(cuts) == 1 else cuts[documents.strata(some)])
            some, numbers = some[chosen], numbers[chosen]
        rows.append(some)
        keys.append(numbers)
    return np.concatenate(rows)[np.argsort(np.concatenate(keys), kind="stable")]


def _copies_by_chunk(documents: Documents, seed: int) -> Iterator[tuple[Indices, Hashes]]:
    """The copies of some documents at a time, and the random numbers that order them."""
    for part in chunks(len(documents)):
        hashes, weight = documents.hashes[part], documents.weight[part].astype(np.float64)
        whole = np.floor(weight)
        count = whole.astype(np.int64) + (uniform(keyed(hashes, seed, "copies")) < weight - whole)
        within = np.repeat(np.arange(len(count)), count)
        number = np.arange(len(within)) - np.repeat(np.cumsum(count) - count, count)
        mixed = finalise(hashes[within] + number.astype(np.uint64) * COPY)
        yield within + part.start, keyed(mixed, seed, "order")


def _first(share: float) -> np.uint64:
    """The number that a share of all random numbers is at most."""
    return np.uint64(LAST) if share >= 1 else np.uint64(int(share * 2**64))


def first_in_order(
    hashes: Hashes, seed: int, purpose: str, most: int, allowed: npt.NDArray[np.bool_] | None = None
) -> Indices:
    """Returns the first `most` documents in a random order of those that are allowed, int64."""
    rows, keys = np.zeros(0, np.int64), np.zeros(0, np.uint64)
    for part in chunks(len(hashes)):
        here = np.arange(part.start, part.stop) if allowed is None else part.start + np.flatnonzero(allowed[part])
        rows = np.concatenate([rows, here])
        keys = np.concatenate([keys, keyed(hashes[here], seed, purpose)])
        order = np.argsort(keys, kind="stable")[:most]
        rows, keys = rows[order], keys[order]
    return rows


def _nearest(cumulative: Indices, size: int) -> int:
    """How many documents have the size that is nearest to `size`."""
    return int(np.abs(np.concatenate([[0], cumulative]) - size).argmin())
