"""Draws the documents of one replicate: from a selection, or from the pool like a selection in source and length.

All draws are functions of ids and a seed. Documents are told apart by the hash of their doc_id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.statistics.hashing import finalise, keyed, uniform

Indices = npt.NDArray[np.int64]
COPY = np.uint64(0x9E3779B97F4A7C15)  # the odd number nearest to 2^64 over the golden ratio
LENGTHS_AN_OCTAVE = 2  # bins of length


@dataclass(frozen=True)
class Documents:
    """Holds what draws need to know of documents.

    Attributes:
        hashes: uint64[n], hashes of their ids.
        bytes: int64[n], UTF-8 bytes of each.
        sizes: int64[n], estimated tokens of each.
        weight: float64[n], expected copies of each in one pass; 0 where it is not selected.
        source: int64[n], the number of each document's source.
    """

    hashes: npt.NDArray[np.uint64]
    bytes: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    source: npt.NDArray[np.int64]

    @property
    def expected_size(self) -> float:
        """Returns the estimated tokens of one pass over the selection."""
        return float((self.weight * self.sizes).sum())

    def strata(self) -> Indices:
        """Returns a number for each document's source and bin of length, half an octave wide, int64[n]."""
        bins = np.floor(LENGTHS_AN_OCTAVE * np.log2(np.maximum(self.bytes, 1))).astype(np.int64)
        return np.asarray(self.source * 1024 + bins)


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
    rows = copies(documents, seed)
    limit = min(float(size), share * documents.expected_size)
    return rows[: int(np.searchsorted(np.cumsum(documents.sizes[rows]), limit)) + 1]


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
    wanted = _by_stratum(like.strata()[drawn], like.bytes[drawn])
    rows = copies(pool, seed)
    strata = pool.strata()[rows]
    own_rows = {stratum: own for stratum in wanted if len(own := rows[strata == stratum])}
    tokens = {n: wanted[n] * pool.sizes[own].sum() / pool.bytes[own].sum() for n, own in own_rows.items()}
    scale = size / max(1.0, sum(tokens.values()))
    taken = [np.zeros(0, np.int64)]
    for stratum, own in own_rows.items():
        target = round(tokens[stratum] * scale)
        again = np.tile(own, -(-target // int(pool.sizes[own].sum())))
        taken.append(again[: _nearest(np.cumsum(pool.sizes[again]), target)])
    return np.concatenate(taken)


def copies(documents: Documents, seed: int) -> Indices:
    """Returns the documents of one pass in a random order, each as often as it has copies."""
    whole = np.floor(documents.weight)
    one_more = uniform(keyed(documents.hashes, seed, "copies")) < documents.weight - whole
    count = whole.astype(np.int64) + one_more
    rows = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    mixed = finalise(documents.hashes[rows] + number.astype(np.uint64) * COPY)
    return rows[np.argsort(keyed(mixed, seed, "order"), kind="stable")]


def _nearest(cumulative: npt.NDArray[np.int64], size: int) -> int:
    """How many documents have the size that is nearest to `size`."""
    return int(np.abs(np.concatenate([[0], cumulative]) - size).argmin())


def _by_stratum(strata: Indices, sizes: npt.NDArray[np.int64]) -> dict[int, int]:
    names, place = np.unique(strata, return_inverse=True)
    sums = np.bincount(place, weights=sizes)
    return {int(name): int(total) for name, total in zip(names, sums, strict=True)}
