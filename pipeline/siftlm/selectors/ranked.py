"""Defines the base class of rules that rank documents over the whole corpus and cut at exact ranks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Cut, RuleSettings, Value
from siftlm.statistics.cuts import POOL, Cuts, Ranked, Search, Target, advance, histogram
from siftlm.statistics.hashing import hash_names
from siftlm.statistics.ordered import LARGEST, UInt64Array, from_number, to_number
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored


@stored
@dataclass(frozen=True)
class Ranking:
    """Holds the cuts that finished searches found, in order, and the search that still runs."""

    cuts: tuple[Cuts, ...] = ()
    search: Search | None = None

    @property
    def done(self) -> bool:
        """Tells whether all searches have finished."""
        return self.search is None


Within = Annotated[
    str, Field(description="global, or the column (domain, language, source) whose values are ranked apart.")
]
MinGroup = Annotated[
    int, Field(ge=1, description="Groups with fewer documents, and documents without one, are ranked as one.")
]


class RankedRule(RuleSettings):
    """Configures a rule that ranks documents over the whole corpus, in `passes` searches, one after another.

    Each is for the cuts of `targets(number)` in what `ranked(rows, number, cuts)` gives, with the cuts of the searches
    before it.
    """

    column: str = Field(description="The column ranked.")

    @property
    def passes(self) -> int:
        return 1

    @property
    def within_column(self) -> str | None:
        """Returns the column for whose values documents are ranked apart; None where all are ranked together."""
        within: str = getattr(self, "within", "global")
        return None if within == "global" else within

    @property
    def fewest(self) -> int:
        """Returns how many documents a group must have to be ranked by itself; smaller groups are ranked as one."""
        fewest: int = getattr(self, "min_group", 1)
        return fewest

    @property
    def descending(self) -> bool:
        """Tells whether the largest values are ranked first."""
        return False

    @property
    def unit(self) -> str:
        """Returns the unit of the share or budget: `documents` or `tokens`."""
        return "documents"

    def group(self, rows: Rows) -> UInt64Array:
        """Returns the group of each document, uint64[rows]: one for all, or one for each value of a column."""
        return np.zeros(len(rows), np.uint64) if self.within_column is None else rows.group(self.within_column)

    def within_words(self) -> str:
        """Returns the words that name the groups in which the rule ranks, for the end of a sentence."""
        return f" within each {self.within_column}" if self.within_column is not None else ""

    def targets(self, number: int) -> tuple[Target, ...]:
        """Returns the shares or amounts at which the search with that number cuts."""
        raise NotImplementedError(f"{self.kind} has no search {number}")

    def ranked(self, rows: Rows, number: int, cuts: tuple[Cuts, ...]) -> Ranked:  # noqa: ARG002
        """Returns groups, ranks and masses of the rows for a search: ranked by the column, ties by draw."""
        key = from_number(rows.number(self.column))
        return Ranked(self.group(rows), ~key if self.descending else key, rows.draw(), rows.mass(self.unit))

    @property
    def grouped_by(self) -> tuple[str, str] | None:
        return ("within", self.within_column) if self.within_column is not None else None

    def columns(self) -> set[str]:
        return super().columns() | ({self.within_column} if self.within_column is not None else set())

    def rehearse_columns(self, rows: Rows) -> None:
        if self.passes:
            self.ranked(rows, 0, ())
        else:
            self.drops(rows, Ranking())

    def begin(self, entry_limit: int) -> Ranking:
        return self._opened((), entry_limit)

    def _opened(self, cuts: tuple[Cuts, ...], entry_limit: int) -> Ranking:
        if len(cuts) == self.passes:
            return Ranking(cuts)
        return Ranking(cuts, Search(self.targets(len(cuts)), self.fewest, entry_limit))

    def observe(self, rows: Rows, state: Ranking) -> RankHistogram:
        assert state.search is not None, "a ranking that is not done has a search open"
        return histogram(state.search, self.ranked(rows, len(state.cuts), state.cuts))

    def settle(self, state: Ranking, partial: RankHistogram | None) -> Ranking:
        assert state.search is not None, "a ranking that is not done has a search open"
        search = advance(state.search, [partial] if partial is not None else [])
        if search.found is None:
            return Ranking(state.cuts, search)
        return self._opened((*state.cuts, search.found), search.entry_limit)

    def outcome(self, state: Ranking, schema: pa.Schema) -> dict[str, Any]:
        """Returns for the manifest what was ranked, in how many groups, and the cuts where there is one group."""
        if not state.cuts:
            return {}
        cuts = state.cuts[0]
        totals: dict[str, Any] = {"kind": self.kind, "groups": len(cuts.groups)}
        totals |= {"documents": int(cuts.documents.sum()), "mass": int(cuts.mass.sum())} | self.budget_outcome(cuts)
        totals |= self._pooled(cuts)
        if len(cuts.groups) != 1 or self.ranked_column is None:
            return totals
        values = self._values(cuts.key[0], schema.field(self.ranked_column).type)
        return totals | {"column": self.ranked_column, "cuts": list(values)}

    def _pooled(self, cuts: Cuts) -> dict[str, Any]:
        """How many documents were ranked together since their groups are small, or since they have none."""
        pooled = int(cuts.documents[cuts.groups >= POOL].sum())
        return {"within": self.within_column, "min_group": self.fewest, "pooled": pooled} if pooled else {}

    def budget_outcome(self, cuts: Cuts) -> dict[str, Any]:  # noqa: ARG002
        """Returns for the manifest which end was kept, the budget, and what it lacks; empty for rules without one."""
        return {}

    def cuts(self, state: Ranking, kind: pa.DataType, names: Iterable[str | None] = ()) -> list[Cut]:
        if not state.cuts:
            return []
        cuts, given = state.cuts[0], [name for name in names if name is not None]
        known = dict(zip((hash_names(pa.array(given, pa.string())) & POOL).tolist(), given, strict=True))
        return [
            Cut(self.group_name(group, known), self._values(cuts.key[row], kind), int(cuts.documents[row]))
            for row in np.argsort(-cuts.documents, kind="stable").tolist()
            for group in [int(cuts.groups[row])]
        ]

    def cut_of(self, rows: Rows, state: Ranking, kind: pa.DataType) -> tuple[Value, ...]:
        if not state.cuts:
            return ()
        cuts, group = state.cuts[0], self.ranked(rows, 0, ()).group
        known = np.isin(group, cuts.groups) | np.isin(group | POOL, cuts.groups)
        return self._values(cuts.key[int(cuts.rows(group)[0])], kind) if known.all() else ()

    def group_name(self, group: int, known: dict[int, str]) -> str | None:
        """Returns the name of a group by its hash; None where all documents are ranked together."""
        if self.within_column is None:
            return None
        base = group & int(POOL)
        return "small groups together" if base == int(POOL) else known.get(base, "?")

    def _values(self, keys: UInt64Array, kind: pa.DataType) -> tuple[Value, ...]:
        """The numbers of a column of that type; None for the sentinels of an open end."""
        keys = ~keys if self.descending else keys
        dtype = np.dtype(np.float64 if pa.types.is_floating(kind) else np.int64)
        ends = ((keys == 0) | (keys == LARGEST)).tolist()
        return tuple(None if end else v for end, v in zip(ends, to_number(keys, dtype).tolist(), strict=True))


def exact(rate: float) -> Fraction:
    """Returns a rate as the exact fraction of its decimal digits: 0.3 is 3/10."""
    return Fraction(repr(rate))
