"""Finds the exact rank at which each group of documents is cut, in a few passes over the corpus.

Quantiles, shares and budgets of a group are such cuts. A document has a group, a rank (key, tie) and a mass. A target
of a group is a share of its mass or an amount; its cut lies at the first rank at which the cumulative mass, in order of
rank, reaches the target. The search narrows every target to one rank: `histogram` counts a shard inside the ranges that
are still open, `advance` takes the merged counts and opens the next, narrower ranges. A corpus with fewer distinct
ranks than the entry limit needs one pass; 1e9 distinct ranks need two or three.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from siftlm.statistics.ordered import LARGEST, BoolArray, Int64Array, UInt64Array
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored
from siftlm.statistics.wide import Wide, common_prefix, equal, leading, less, shift_left, shift_right, taken

ENTRY_LIMIT = 1 << 18
"""Entries of a histogram, 56 bytes each: 15 MB, and one pass for corpora of up to 262,144 distinct ranks."""
_ENTRIES_PER_CELL = 16
"""So many entries an open range, where there are many ranges, so that every pass adds four bits to each."""
LARGEST_MASS = 1 << 40  # of a document: sums of millions of these are in int64
POOL = np.uint64(2**64 - 16)
"""`group | POOL` is the group that takes the members of `group` when it is too small to be ranked alone."""


class Ranked(NamedTuple):
    """Holds the documents to rank: arrays [documents] of their group, key, tie and mass.

    The lowest 4 bits of a group say which pool it may fall into.
    """

    group: UInt64Array
    key: UInt64Array
    tie: UInt64Array
    mass: Int64Array


@stored
@dataclass(frozen=True)
class Target:
    """Defines where to cut a group: after a `share` of its mass, or after an `amount` of it.

    With `beyond`, the mass must be above the share, and not only reach it. The document that the target falls into lies
    before the cut, or, with `midpoint`, on the side on which more than half of it lies: adjacent bands then share no
    document and leave none out.
    """

    share: Fraction | None = None
    amount: int | None = None
    midpoint: bool = False
    beyond: bool = False

    def of(self, mass: int) -> int:
        """Returns the target in units of mass, rounded up, for a group with a total of `mass`.

        A share of 1 or more, and an amount that the group does not have, lie above `mass`.
        """
        if self.amount is not None:
            return self.amount
        assert self.share is not None, "a target is a share or an amount"
        if self.beyond:
            return self.share.numerator * mass // self.share.denominator + 1
        return mass + 1 if self.share >= 1 else max(0, -(-self.share.numerator * mass // self.share.denominator))

    def includes(self, mass: int, before: int, at: int) -> bool:
        """Tells whether the documents at the rank where the target is reached lie before the cut.

        They have mass `at`; the ranks before theirs have mass `before`.
        """
        return not self.midpoint or self.share is None or 2 * before + at < 2 * self.share * mass


@stored
@dataclass(frozen=True, eq=False)
class Cuts:
    """Holds the rank at which each group is cut, for every target.

    Arrays are [groups]; key, tie and include are [groups, targets]. `include` says whether the rank of the cut itself
    lies before it. `documents` and `mass` are the groups' totals.
    """

    groups: UInt64Array
    documents: Int64Array
    mass: Int64Array
    key: UInt64Array
    tie: UInt64Array
    include: BoolArray

    def before(self, target: int, ranked: Ranked) -> BoolArray:
        """Returns a mask of the documents that lie before their group's cut for the target with this index."""
        row = self.rows(ranked.group)
        cut = self.key[row, target], self.tie[row, target]
        rank = ranked.key, ranked.tie
        return np.asarray(less(rank, cut) | (equal(rank, cut) & self.include[row, target]), np.bool_)

    def rows(self, group: UInt64Array) -> Int64Array:
        """Returns for each document the index in `groups` of its group, or of the pool that took its group."""
        if not len(group):
            return np.empty(0, np.int64)
        row = _position(self.groups, group)
        missing = self.groups[row] != group
        pool = group[missing] | POOL
        row[missing] = _position(self.groups, pool)
        assert (self.groups[row[missing]] == pool).all(), "a group was never counted"
        return row


@stored
@dataclass(frozen=True, eq=False)
class _Open:
    """Holds ranges still open, sorted and disjoint: arrays [cells].

    All ranks of a cell share the `depth` leading bits of `start`, whose other bits are 0; `before` is the
    mass of the group below the cell.
    """

    row: Int64Array
    start: Wide
    depth: Int64Array
    before: Int64Array


@stored
@dataclass(frozen=True, eq=False)
class _Pending:
    """Holds targets not yet met: arrays [pending]; `amount` counts from the start of the group."""

    row: Int64Array
    target: Int64Array
    cell: Int64Array
    amount: Int64Array


@stored
@dataclass(frozen=True, eq=False)
class Search:
    """Holds the state of the search for the cuts of all `targets`.

    Groups with fewer than `min_group` documents are pooled.
    """

    targets: tuple[Target, ...]
    min_group: int = 1
    entry_limit: int = ENTRY_LIMIT
    passes: int = 0
    cuts: Cuts | None = None
    cells: _Open | None = None
    pending: _Pending | None = None

    @property
    def found(self) -> Cuts | None:
        """Returns the cuts once all of them are exact, None before."""
        return self.cuts if self.pending is not None and not len(self.pending.row) else None

    @property
    def done(self) -> bool:
        """Tells whether all cuts are exact."""
        return self.found is not None

    @property
    def limit(self) -> int:
        """Returns how many entries a histogram of the next pass may have, the same for every shard."""
        return max(self.entry_limit, _ENTRIES_PER_CELL * len(self.cells.row) if self.cells else 0)


def histogram(search: Search, ranked: Ranked) -> RankHistogram:
    """Returns the histogram of these documents' ranks that the next pass of the search needs."""
    if search.cuts is None or search.cells is None:
        return RankHistogram.of(search.limit, ranked.group, (ranked.key, ranked.tie), ranked.mass)
    cell, inside = _cell_of(search.cells, search.cuts.rows(ranked.group), (ranked.key, ranked.tie))
    below = shift_left((ranked.key[inside], ranked.tie[inside]), search.cells.depth[cell])
    return RankHistogram.of(search.limit, cell.astype(np.uint64), below, ranked.mass[inside])


def advance(search: Search, parts: Iterable[RankHistogram]) -> Search:
    """Returns the state of the search after a pass, given the histograms of all shards in any order."""
    merged = RankHistogram.merged([RankHistogram.empty(search.limit), *parts])
    if search.cuts is None:
        merged = _pooled(merged, search.min_group)
        search = _with_totals(search, merged)
    return _narrowed(search, merged)


def _position(ordered: UInt64Array, values: UInt64Array) -> Int64Array:
    """The index of the first element not below each value, the last index where there is none."""
    return np.minimum(np.searchsorted(ordered, values), len(ordered) - 1).astype(np.int64)


def _pooled(merged: RankHistogram, min_group: int) -> RankHistogram:
    """The counts with the groups of fewer than `min_group` documents moved to their pools."""
    groups, row = np.unique(merged.cell, return_inverse=True)
    documents = np.zeros(len(groups), np.int64)
    np.add.at(documents, row, merged.documents)
    small = documents[row] < min_group
    return merged.relabelled(np.where(small, merged.cell | POOL, merged.cell)) if small.any() else merged


def _with_totals(search: Search, merged: RankHistogram) -> Search:
    """The search with the totals of its groups, its targets in units of mass, and one open range a group."""
    groups, row = np.unique(merged.cell, return_inverse=True)
    documents, mass = np.zeros(len(groups), np.int64), np.zeros(len(groups), np.int64)
    np.add.at(documents, row, merged.documents)
    np.add.at(mass, row, merged.mass)
    amounts = np.array([[t.of(m) for t in search.targets] for m in mass.tolist()], np.int64)
    amounts = amounts.reshape(len(groups), len(search.targets))
    beyond = amounts > mass[:, None]
    edge = np.where(beyond, LARGEST, np.uint64(0))
    at_row, at_target = np.nonzero((amounts > 0) & ~beyond)
    zero = np.zeros(len(groups), np.uint64)
    nothing = np.zeros(len(groups), np.int64)
    return replace(
        search,
        cuts=Cuts(groups, documents, mass, edge, edge.copy(), beyond),
        cells=_Open(np.arange(len(groups)), (zero, zero), nothing, nothing),
        pending=_Pending(at_row, at_target, at_row, amounts[at_row, at_target]),
    )


def _narrowed(search: Search, merged: RankHistogram) -> Search:
    """The search with every pending target moved into its entry, or met where that is one rank."""
    cuts, cells, pending = search.cuts, search.cells, search.pending
    if cuts is None or cells is None or pending is None:
        raise AssertionError("the totals come first")
    cell = merged.cell.astype(np.int64)
    if search.passes == 0:  # in the first pass a cell is a group
        cell = np.searchsorted(cuts.groups, merged.cell).astype(np.int64)
    total = np.cumsum(merged.mass)
    start = (total - merged.mass)[np.searchsorted(cell, np.arange(len(cells.row)))]
    before = total - merged.mass - start[cell] + cells.before[cell]
    entry = np.searchsorted(total, start[pending.cell] + pending.amount - cells.before[pending.cell])
    least, most = (_restored(cells, cell, rank) for rank in (merged.first, merged.last))
    single = equal(least, most)[entry]
    still, which = np.unique(entry[~single], return_inverse=True)
    low, high = taken(least, still), taken(most, still)
    depth = common_prefix(low, high)
    met = _Pending(pending.row[single], pending.target[single], entry[single], pending.amount[single])
    return replace(
        search,
        passes=search.passes + 1,
        cuts=_with_met(search.targets, cuts, met, least, before, merged.mass),
        cells=_Open(cells.row[cell[still]], leading(low, depth), depth, before[still]),
        pending=_Pending(pending.row[~single], pending.target[~single], which, pending.amount[~single]),
    )


def _restored(cells: _Open, cell: Int64Array, below: Wide) -> Wide:
    """The full rank of what `histogram` shifted by its cell's depth."""
    high, low = shift_right(below, cells.depth[cell])
    return high | cells.start[0][cell], low | cells.start[1][cell]


def _with_met(
    targets: tuple[Target, ...], cuts: Cuts, met: _Pending, rank: Wide, before: Int64Array, mass: Int64Array
) -> Cuts:
    """The cuts with those of `met` at the rank of their entries, whose indices are in `met.cell`."""
    key, tie, include = cuts.key.copy(), cuts.tie.copy(), cuts.include.copy()
    where = met.row, met.target
    key[where], tie[where] = rank[0][met.cell], rank[1][met.cell]
    totals = cuts.mass[met.row].tolist()
    numbers = zip(met.target.tolist(), totals, before[met.cell].tolist(), mass[met.cell].tolist(), strict=True)
    include[where] = [targets[t].includes(total, low, at) for t, total, low, at in numbers]
    return replace(cuts, key=key, tie=tie, include=include)


def _cell_of(cells: _Open, row: Int64Array, rank: Wide) -> tuple[Int64Array, BoolArray]:
    """The open range of the documents that lie in one (int64[inside]), and which do (bool[documents])."""
    inside = np.isin(row, cells.row)
    row, rank = row[inside], taken(rank, inside)
    cell = _last_not_above(cells, row, rank)
    end = np.maximum(cell, 0)
    shared = common_prefix(taken(cells.start, end), rank)
    within = (cell >= 0) & (cells.row[end] == row) & (shared >= cells.depth[end])
    inside[inside] = within
    return cell[within], inside


def _last_not_above(cells: _Open, row: Int64Array, rank: Wide) -> Int64Array:
    """The last cell of the row that starts at or before the rank, or a cell of another row."""
    low = np.searchsorted(cells.row, row, side="left") - 1
    high = np.searchsorted(cells.row, row, side="right") - 1
    while (open_ := low < high).any():
        middle = (low + high + 1) // 2
        above = less(rank, taken(cells.start, middle))
        low = np.where(open_ & ~above, middle, low)
        high = np.where(open_ & above, middle - 1, high)
    return low.astype(np.int64)
