"""Counts documents by rank exactly, with as many leading bits of the rank as a limit allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from siftlm.statistics.ordered import BoolArray, Int64Array, UInt64Array
from siftlm.statistics.stored import stored
from siftlm.statistics.wide import WIDTH, Wide, common_prefix, joined, taken


@stored
@dataclass(frozen=True, eq=False)
class RankHistogram:
    """Counts documents and mass by cell and by the leading `bits` of their 128-bit rank.

    A cell is a group, or a range of ranks in a group. Entries are sorted by cell and rank; histograms can be merged.
    `bits` is the largest number for which the entries are at most `limit` (or 0: one entry a cell). It depends on the
    set of what was counted alone, since a union never has fewer prefixes than its parts; so merging is associative and
    commutative to the bit. Counts and masses are integers: nothing rounds.

    Shapes: every array is [entries]. `first` and `last` are the least and the greatest rank seen in an entry,
    so an entry whose two are equal is one rank, exactly, at any number of bits.
    """

    limit: int
    bits: int
    cell: UInt64Array
    first: Wide
    last: Wide
    documents: Int64Array
    mass: Int64Array

    @classmethod
    def empty(cls, limit: int) -> RankHistogram:
        """Returns a histogram without entries, which changes nothing when it is merged."""
        none, zero = np.empty(0, np.uint64), np.empty(0, np.int64)
        return cls(limit, WIDTH, none, (none, none), (none, none), zero, zero)

    @classmethod
    def of(cls, limit: int, cell: UInt64Array, rank: Wide, mass: Int64Array) -> RankHistogram:
        """Returns the histogram of documents, one for each element of `cell`, `rank` and `mass` (>= 0)."""
        assert limit > 0, f"an entry limit is positive, got {limit}"
        assert not len(mass) or mass.min() >= 0, f"mass must not be negative, got {mass.min()}"
        return _combined(cls(limit, WIDTH, cell, rank, rank, np.ones(len(mass), np.int64), mass))

    @classmethod
    def merged(cls, parts: Iterable[RankHistogram]) -> RankHistogram:
        """Returns one histogram of all documents counted in `parts`.

        There is at least one of them, and all have the same limit.
        """
        every = list(parts)
        assert len({part.limit for part in every}) == 1, "histograms of different searches cannot merge"
        members = [part for part in every if len(part)] or every[:1]
        if len(members) == 1:
            return members[0]
        return _combined(
            cls(
                members[0].limit,
                min(part.bits for part in members),
                np.concatenate([part.cell for part in members]),
                joined(part.first for part in members),
                joined(part.last for part in members),
                np.concatenate([part.documents for part in members]),
                np.concatenate([part.mass for part in members]),
            )
        )

    def relabelled(self, cell: UInt64Array) -> RankHistogram:
        """Returns the histogram with its entries moved to other cells, `cell` uint64[entries]."""
        return _combined(replace(self, cell=cell))

    def __len__(self) -> int:
        return len(self.cell)


def _combined(entries: RankHistogram) -> RankHistogram:
    """`entries` in order, those of one cell and one prefix added up, at the most bits within the limit."""
    if not len(entries):
        return entries
    order = _order(entries.cell, entries.first)
    first, last = taken(entries.first, order), taken(entries.last, order)
    documents, mass = entries.documents[order], entries.mass[order]
    ordered = replace(entries, cell=entries.cell[order], first=first, last=last, documents=documents, mass=mass)
    if entries.bits == WIDTH:
        starts = np.flatnonzero(np.append(True, _differs(ordered)))
        if len(starts) <= entries.limit:  # every rank has its entry, and no prefix need be known
            return ordered if len(starts) == len(ordered) else _reduced(ordered, starts, WIDTH)
    shared = _shared_bits(ordered)
    bits = min(_affordable_bits(shared, entries.limit), entries.bits)
    return _reduced(ordered, np.flatnonzero(np.append(True, shared < bits)), bits)


def _order(cell: UInt64Array, rank: Wide) -> npt.NDArray[np.intp] | slice:
    """The permutation that sorts by (cell, rank); ties are alike, so their order is free."""
    alone = bool((cell == cell[0]).all())
    if alone and (rank[0][1:] > rank[0][:-1]).all():
        return slice(None)
    order = _rank_order(rank)
    if alone:
        return order
    codes = np.unique(cell, return_inverse=True)[1].astype(np.uint32)
    narrow = codes.astype(np.uint16) if codes.max() < 1 << 16 else codes  # numpy sorts 16 bits by radix
    return order[np.argsort(narrow[order], kind="stable")]


def _rank_order(rank: Wide) -> npt.NDArray[np.intp]:
    """The permutation that sorts by rank: by the high half, and by both only where high halves tie."""
    high, low = rank
    order = np.argsort(high)
    sorted_high = high[order]
    same = sorted_high[1:] == sorted_high[:-1]
    tied = np.append(same, False) | np.append(False, same)
    among = order[tied]
    order[tied] = among[np.lexsort((low[among], high[among]))]
    return order


def _differs(ordered: RankHistogram) -> BoolArray:
    """Whether each entry has another cell or another rank than the one before it, bool[entries - 1]."""
    cell, (high, low) = ordered.cell, ordered.first
    return np.asarray((cell[1:] != cell[:-1]) | (high[1:] != high[:-1]) | (low[1:] != low[:-1]), np.bool_)


def _shared_bits(ordered: RankHistogram) -> Int64Array:
    """Leading bits that each entry shares with the one before it, int64[entries - 1]; -1 in another cell."""
    before, after = slice(-1), slice(1, None)
    shared = common_prefix(taken(ordered.first, before), taken(ordered.first, after))
    return np.where(ordered.cell[after] == ordered.cell[before], shared, -1)


def _affordable_bits(shared: Int64Array, limit: int) -> int:
    """The most bits at which the number of distinct prefixes, 1 + |{shared < bits}|, is within `limit`."""
    below = np.cumsum(np.bincount(shared + 1, minlength=WIDTH + 2))  # below[b] = |{shared < b}|
    within = np.flatnonzero(1 + below[: WIDTH + 1] <= limit)
    return int(within[-1]) if len(within) else 0


def _reduced(ordered: RankHistogram, starts: npt.NDArray[np.intp], bits: int) -> RankHistogram:
    """The runs of `ordered` that begin at `starts`, each as one entry."""
    high, low = ordered.last
    last_high = np.maximum.reduceat(high, starts)
    lengths = np.diff(np.append(starts, len(high)))
    last_low = np.maximum.reduceat(np.where(high == np.repeat(last_high, lengths), low, np.uint64(0)), starts)
    return RankHistogram(
        ordered.limit,
        bits,
        ordered.cell[starts],
        taken(ordered.first, starts),
        (last_high, last_low),
        np.add.reduceat(ordered.documents, starts),
        np.add.reduceat(ordered.mass, starts),
    )
