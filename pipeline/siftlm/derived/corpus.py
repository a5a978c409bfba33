"""Computes the statistics of formulas that need the whole corpus: ranks, medians, z-scores and quantile buckets.

Each is a statistic of `statistics.passes` over measured rows: finite values with the group that each belongs to.
Nothing depends on the order of the rows or on how they are cut.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from siftlm.statistics.cuts import Ranked, Search, Target, advance, histogram
from siftlm.statistics.exact import as_float, as_fraction, exact_sum
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array, UInt64Array, from_float, to_float
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored

_ENTRIES_PER_GROUP = 16
"""So many entries of a histogram a group at least, where there are many groups."""


class Measured(NamedTuple):
    """Holds the group, value and mass (bytes, for example) of rows that have a value.

    Arrays: group uint64[rows], finite value float64[rows], and mass int64[rows], 1 if None.
    """

    group: UInt64Array
    value: Float64Array
    mass: Int64Array | None = None

    def where(self, mask: BoolArray) -> Measured:
        """Returns the rows for which `mask` bool[rows] holds."""
        mass = None if self.mass is None else self.mass[mask]
        return Measured(self.group[mask], self.value[mask], mass)


@stored
@dataclass(frozen=True, eq=False)
class RankTable:
    """Holds the sorted values of the corpus and, for each, the number of documents below it and with it.

    Documents are counted within a group.

    Arrays are [entries]; `groups` [groups] ascends, and group i has the entries [bounds[i], bounds[i + 1]).
    """

    limit: int
    done: bool = False
    groups: UInt64Array = field(default_factory=lambda: np.empty(0, np.uint64))
    bounds: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    first: UInt64Array = field(default_factory=lambda: np.empty(0, np.uint64))
    last: UInt64Array = field(default_factory=lambda: np.empty(0, np.uint64))
    below: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))
    documents: Int64Array = field(default_factory=lambda: np.empty(0, np.int64))


class Rank:
    """Computes each document's rank by a value: (documents below + half of those equal) / documents, in its group.

    Exact while the corpus has no more different values in groups than `entry_limit`. With more, neighbours count as
    equal, as few of them as the limit allows: of 10 million different values some forty at a time.
    """

    def begin(self, entry_limit: int) -> RankTable:
        """Returns the state before the first pass."""
        return RankTable(entry_limit)

    def observe(self, rows: Measured, state: RankTable) -> RankHistogram:
        """Returns the histogram of the values of some rows."""
        zero = np.zeros(len(rows.value), np.uint64)
        return RankHistogram.of(state.limit, rows.group, (from_float(rows.value), zero), np.ones(len(zero), np.int64))

    def settle(self, state: RankTable, partial: RankHistogram | None) -> RankTable:
        """Returns the finished ranks, or a state for another pass with more entries.

        Another pass is needed where groups are so many that few entries were left for each.
        """
        counted = partial if partial is not None else RankHistogram.empty(state.limit)
        groups, starts = np.unique(counted.cell, return_index=True)
        if _ENTRIES_PER_GROUP * len(groups) > state.limit:
            return RankTable(_ENTRIES_PER_GROUP * len(groups))
        bounds = np.append(starts, len(counted)).astype(np.int64)
        total = np.cumsum(counted.documents) - counted.documents
        below = total - np.repeat(total[starts], np.diff(bounds)) if len(counted) else total
        first, last = counted.first[0], counted.last[0]
        return RankTable(state.limit, True, groups, bounds, first, last, below, counted.documents)

    def values(self, rows: Measured, state: RankTable) -> Float64Array:
        """Returns the rank of every row, from 0 to 1; NaN for a group that was never observed."""
        row, known = _row_of(state.groups, rows.group)
        ranks = np.full(len(row), np.nan)
        row, keys = row[known], from_float(rows.value[known])
        start, end = state.bounds[row], state.bounds[row + 1]
        place = _last_not_above(state.first, start, end, keys)
        entry = np.maximum(place, start)
        own = np.where(keys > state.last[entry], 1.0, 0.5) * state.documents[entry]  # beyond, or one of them
        below = np.where(place < start, 0.0, state.below[entry] + own)
        ranks[known] = below / (state.below[end - 1] + state.documents[end - 1])
        return ranks


class _Cut:
    """Searches for the values at which the mass of each group reaches some targets."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """Returns what is searched for."""
        raise NotImplementedError(f"{type(self).__name__} must have targets")

    def begin(self, entry_limit: int) -> Search:
        """Returns the state before the first pass."""
        return Search(self.targets, entry_limit=entry_limit)

    def observe(self, rows: Measured, state: Search) -> RankHistogram:
        """Returns the histogram of some rows' values that the search needs."""
        zero = np.zeros(len(rows.value), np.uint64)
        mass = np.ones(len(zero), np.int64) if rows.mass is None else rows.mass
        return histogram(state, Ranked(rows.group, from_float(rows.value), zero, mass))

    def settle(self, state: Search, partial: RankHistogram | None) -> Search:
        """Returns the state of the search after a pass."""
        return advance(state, [partial] if partial is not None else [])


class Median(_Cut):
    """Computes the median of each document's group: the mean of the two middle values, as `numpy.median` does."""

    @property
    def targets(self) -> tuple[Target, ...]:
        return Target(share=Fraction(1, 2)), Target(share=Fraction(1, 2), beyond=True)

    def values(self, rows: Measured, state: Search) -> Float64Array:
        """Returns the median of every row's group; NaN for a group that was never observed."""
        cuts = state.found
        assert cuts is not None, "medians are found first"
        medians = np.full(len(rows.value), np.nan)
        row, known = _row_of(cuts.groups, rows.group)
        low, high = to_float(cuts.key[row[known]].T)
        medians[known] = low / 2 + high / 2
        return medians


@dataclass(frozen=True)
class Quantile(_Cut):
    """Computes each document's quantile bucket from 0 up: the number of borders at or below its value.

    Border k of n is the first value, from the lowest, at which the mass of the group reaches k/n of the whole (the
    inverted distribution function); equal values share a bucket. This is the bucket of Nemotron-CC's ensemble (Su et
    al. 2024, arXiv 2412.02595), whose mass is bytes.
    """

    buckets: int

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(share=Fraction(k, self.buckets)) for k in range(1, self.buckets))

    def values(self, rows: Measured, state: Search) -> Float64Array:
        """Returns the bucket of every row; NaN for a group that was never observed."""
        cuts = state.found
        assert cuts is not None, "borders are found first"
        buckets = np.full(len(rows.value), np.nan)
        row, known = _row_of(cuts.groups, rows.group)
        keys = from_float(rows.value[known])
        buckets[known] = sum((keys >= border[row[known]]).astype(np.float64) for border in cuts.key.T)
        return buckets


@stored
@dataclass(frozen=True, eq=False)
class GroupSums:
    """Holds the number of documents and an exact sum of values for each group.

    Sums are in units of 2^-1074; `groups` [groups] ascends.
    """

    groups: UInt64Array
    documents: Int64Array
    sums: tuple[int, ...]

    @classmethod
    def of(cls, group: UInt64Array, value: Float64Array) -> GroupSums:
        """Returns the sums of the values of some rows by group."""
        order = np.argsort(group, kind="stable")
        groups, starts, documents = np.unique(group[order], return_index=True, return_counts=True)
        parts = np.split(value[order], starts[1:]) if len(groups) else []
        return cls(groups, documents.astype(np.int64), tuple(map(exact_sum, parts)))

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Yields the group, number of documents and sum of each group."""
        return zip(self.groups.tolist(), self.documents.tolist(), self.sums, strict=True)

    @classmethod
    def merged(cls, parts: Iterable[GroupSums]) -> GroupSums:
        """Returns the sums over all `parts` by group."""
        sums: dict[int, list[int]] = {}
        for part in parts:
            for group, documents, value in zip(part.groups.tolist(), part.documents.tolist(), part.sums, strict=True):
                total = sums.setdefault(group, [0, 0])
                total[0] += documents
                total[1] += value
        groups = sorted(sums)
        return cls(
            np.array(groups, np.uint64),
            np.array([sums[group][0] for group in groups], np.int64),
            tuple(sums[group][1] for group in groups),
        )


@stored
@dataclass(frozen=True, eq=False)
class Spread:
    """Holds the mean and standard deviation of each group; arrays are [groups], and `groups` ascends."""

    groups: UInt64Array = field(default_factory=lambda: np.empty(0, np.uint64))
    mean: Float64Array = field(default_factory=lambda: np.empty(0, np.float64))
    deviation: Float64Array = field(default_factory=lambda: np.empty(0, np.float64))
    passes: int = 0

    @property
    def done(self) -> bool:
        """Tells whether the standard deviations are known."""
        return self.passes == 2


class ZScore:
    """Computes (value - mean) / standard deviation over the documents of a group, by exact sums in two passes."""

    def begin(self, entry_limit: int) -> Spread:  # noqa: ARG002
        """Returns the state before the first pass."""
        return Spread()

    def observe(self, rows: Measured, state: Spread) -> GroupSums:
        """Returns the sums of values by group or, in the second pass, of squared differences from the mean."""
        if state.passes == 0:
            return GroupSums.of(rows.group, rows.value)
        row, _ = _row_of(state.groups, rows.group)
        with np.errstate(over="ignore"):
            squares = np.nan_to_num((rows.value - state.mean[row]) ** 2)
        return GroupSums.of(rows.group, squares)

    def settle(self, state: Spread, partial: GroupSums | None) -> Spread:
        """Returns the means after the first pass, and the standard deviations after the second."""
        sums = partial if partial is not None else GroupSums.merged([])
        means = [as_fraction(total) / count for _, count, total in sums.rows()]
        if state.passes == 0:
            return Spread(sums.groups, np.array([float(mean) for mean in means], np.float64), passes=1)
        too_large = [as_float(total) >= sys.float_info.max for _, _, total in sums.rows()]
        deviations = [math.nan if large else math.sqrt(mean) for large, mean in zip(too_large, means, strict=True)]
        return replace(state, deviation=np.array(deviations, np.float64), passes=2)

    def values(self, rows: Measured, state: Spread) -> Float64Array:
        """Returns the z-score of every row; NaN in a group without spread or whose squares exceed float64."""
        row, known = _row_of(state.groups, rows.group)
        scores = np.full(len(row), np.nan)
        row = row[known]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            scores[known] = (rows.value[known] - state.mean[row]) / state.deviation[row]
        scores[~np.isfinite(scores)] = np.nan
        return scores


Statistic = Rank | Quantile | Median | ZScore


def _row_of(groups: UInt64Array, group: UInt64Array) -> tuple[Int64Array, BoolArray]:
    """The place of each row's group among those observed, and whether it is one of them."""
    if not len(groups):
        return np.zeros(len(group), np.int64), np.zeros(len(group), np.bool_)
    row = np.minimum(np.searchsorted(groups, group), len(groups) - 1).astype(np.int64)
    return row, np.asarray(groups[row] == group, np.bool_)


def _last_not_above(ordered: UInt64Array, start: Int64Array, end: Int64Array, keys: UInt64Array) -> Int64Array:
    """The last place in [start, end) whose key is not above each of `keys`; start - 1 where there is none."""
    low, high = start - 1, end - 1
    while (apart := low < high).any():
        middle = (low + high + 1) // 2
        above = ordered[np.maximum(middle, 0)] > keys
        low = np.where(apart & ~above, middle, low)
        high = np.where(apart & above, middle - 1, high)
    return low
