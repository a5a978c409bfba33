"""Defines the rule `diverse`, which keeps few documents of each cluster, and of these the ones farthest apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from siftlm.errors import UserError
from siftlm.selectors.ranked import Ranking
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Cut, Drops, RuleSettings, Value
from siftlm.selectors.rules.top import LARGEST_BUDGET, Top
from siftlm.settings import End
from siftlm.statistics.ordered import BoolArray, Float64Array, UInt64Array
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored

MOST = 1 << 27  # coordinates of all candidates, which one process holds: 1 GiB
NOTHING = np.zeros(0, np.uint64)
BUDGET = ("budget", "short", "groups_short")
"""What a manifest says of a rule with a budget."""


@stored
@dataclass(frozen=True)
class Candidates:
    """Holds the documents among which the farthest apart are looked for, in no order."""

    draws: UInt64Array  # [documents], a document's random number, by which it is known
    keys: UInt64Array  # [documents], that ascend from the best value of the column to the worst
    points: Float64Array  # [documents, coordinates]

    @classmethod
    def merged(cls, parts: Iterable[Candidates]) -> Candidates:
        """Returns all candidates of several parts."""
        every = list(parts)
        columns = zip(*((part.draws, part.keys, part.points) for part in every), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


@stored
@dataclass(frozen=True)
class Diversity:
    """Holds the cuts of the clusters, then the documents that were chosen among what these leave."""

    best: Ranking
    chosen: UInt64Array | None = None  # draws, ascending
    wanted: bool = True  # whether some are chosen at all

    @property
    def done(self) -> bool:
        """Tells whether the cuts, and the choice where there is one, are known."""
        return self.best.done and (self.chosen is not None or not self.wanted)


class Diverse(RuleSettings):
    """Keeps the best documents of each cluster, and of these a number that lie far apart.

    The best are the `per_group` with the highest `column`, or the lowest where that is its good end. `budget_documents`
    of them are taken farthest first (Gonzalez 1985): the best one, then always the one whose distance to the nearest
    one taken is largest, by the Euclidean distance of `coordinates`; of equal ones the better by `column`, then by a
    keyed hash of doc_id. No document is then more than twice as far from the nearest one taken as the best choice could
    have it. Without coordinates the clusters take turns: the best of each, then the second best. Reason: not_diverse.
    """

    paper: ClassVar[str] = "Gonzalez 1985 (farthest first); CrowdSelect 2025, arXiv 2503.01836"
    unchecked: ClassVar[str] = "which of 10 and 30 clusters the authors of CrowdSelect used: their code has both"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "diverse", "column": "perplexity", "within": "domain", "per_group": 20,
    }  # fmt: skip

    kind: Literal["diverse"] = "diverse"
    column: str = Field(description="The column by which documents of a cluster are ordered.")
    direction: End | None = Field(
        None, description="Which values come first; by default the good ones where siftlm knows them, else the highest."
    )
    within: str | None = Field(None, description="The column that names the cluster of a document.")
    per_group: int | None = Field(None, ge=1, le=LARGEST_BUDGET, description="Documents kept of each cluster at most.")
    coordinates: list[str] = Field(
        default_factory=list, description="Columns of numbers that place a document among the others."
    )
    budget_documents: int | None = Field(
        None, ge=1, le=1_000_000, description="Documents kept in all, those that lie farthest apart."
    )

    @model_validator(mode="after")
    def _says_what_is_diverse(self) -> Self:
        if self.per_group is None and self.budget_documents is None:
            raise ValueError("diverse needs per_group, budget_documents or both")
        if self.within is None and (self.per_group is not None or not self.coordinates):
            raise ValueError("diverse needs within, the column of clusters, unless it has coordinates and no per_group")
        if self.coordinates and self.budget_documents is None:
            raise ValueError("coordinates need budget_documents, how many are kept of all")
        return self

    @property
    def grouped_by(self) -> tuple[str, str] | None:
        return ("within", self.within) if self.within is not None else None

    @property
    def passes(self) -> int:
        return 1 + (self.budget_documents is not None)

    @property
    def best(self) -> Top:
        """Returns the rule that keeps the best of every cluster."""
        most = self.per_group or LARGEST_BUDGET
        within = {"within": self.within} if self.within is not None else {}
        given = {"column": self.column, "direction": self.direction, "budget_documents": most, **within}
        return Top.model_validate(given)

    def columns(self) -> set[str]:
        return super().columns() | self.best.columns() | set(self.coordinates)

    def following(self, good_ends: Mapping[str, End]) -> Self:
        """Returns the rule with the good end of its column as direction, unless one was given."""
        return self.model_copy(update={"direction": self.direction or good_ends.get(self.column, "highest")})

    def words(self) -> str:
        best = f"among the {self.per_group or 0:,} {self.best.end} {self.column} of its {self.within}"
        parts = [best] if self.per_group else []
        if self.budget_documents is not None:
            among = f"by {', '.join(self.coordinates)}" if self.coordinates else f"turn by turn of each {self.within}"
            parts.append(f"among {self.budget_documents:,} that are far apart, {among}")
        return ", and ".join(parts)

    def default_reasons(self) -> tuple[str, ...]:
        return ("not_diverse",)

    def rehearse_columns(self, rows: Rows) -> None:
        self.best.rehearse_columns(rows)
        self._candidates(rows, None)

    def begin(self, entry_limit: int) -> Diversity:
        return Diversity(self.best.begin(entry_limit), wanted=self.budget_documents is not None)

    def observe(self, rows: Rows, state: Diversity) -> RankHistogram | Candidates:
        if not state.best.done:
            return self.best.observe(rows, state.best)
        return self._candidates(rows, state.best)

    def settle(self, state: Diversity, partial: Any) -> Diversity:
        if not state.best.done:
            return replace(state, best=self.best.settle(state.best, partial))
        if partial is None:
            return replace(state, chosen=NOTHING)
        assert self.budget_documents is not None, "documents are chosen within a budget"
        if partial.points.size > MOST:
            raise UserError(
                f"budget_documents: must have {MOST:,} coordinates of candidates at most, got {len(partial.draws):,} "
                f"documents; lower per_group, or drop documents by a rule before"
            )
        choose = farthest_first if self.coordinates else turns
        return replace(state, chosen=np.sort(choose(partial, self.budget_documents)))

    def drops(self, rows: Rows, state: Diversity) -> Drops:
        """Returns the reason and a mask of the rows beyond the best of their cluster, or not among the chosen."""
        gone = self._beyond(rows, state.best)
        if state.chosen is not None:
            gone |= ~np.isin(rows.draw(), state.chosen)
        return [("not_diverse", gone)]

    def outcome(self, state: Diversity, schema: pa.Schema) -> dict[str, Any]:
        """Returns for the manifest the clusters, and how many documents were chosen."""
        told = self.best.outcome(state.best, schema)
        unsaid = {"kind"} if self.per_group else {"kind", *BUDGET}  # without per_group the best are all
        made = {"kind": self.kind, **{key: value for key, value in told.items() if key not in unsaid}}
        return made if state.chosen is None else {**made, "chosen": len(state.chosen)}

    def cuts(self, state: Diversity, kind: pa.DataType, names: Iterable[str | None] = ()) -> list[Cut]:
        return self.best.cuts(state.best, kind, names) if self.per_group else []

    def cut_of(self, rows: Rows, state: Diversity, kind: pa.DataType) -> tuple[Value, ...]:
        return self.best.cut_of(rows, state.best, kind) if self.per_group else ()

    def cut_words(self, values: Any) -> str:
        return self.best.cut_words(values)

    def _beyond(self, rows: Rows, best: Ranking) -> BoolArray:
        ((_, mask),) = self.best.drops(rows, best)
        return np.asarray(mask, np.bool_)

    def _candidates(self, rows: Rows, best: Ranking | None) -> Candidates:
        """The rows that the clusters' cuts leave, with their coordinates, or their cluster where they have none."""
        kept = rows if best is None else rows.where(~self._beyond(rows, best))
        ranked = self.best.ranked(kept, 0, ())
        points = [self._coordinate(kept, name) for name in self.coordinates] or [ranked.group.view(np.float64)]
        return Candidates(kept.draw(), ranked.key, np.stack(points, axis=1))

    def _coordinate(self, rows: Rows, name: str) -> Float64Array:
        values = rows.real(name)
        if (lost := rows.missing(name) | ~np.isfinite(values)).any():
            raise UserError(
                f"coordinates: must hold a finite number for every document, got {int(lost.sum())} without {name}"
            )
        return values


def farthest_first(candidates: Candidates, budget: int) -> UInt64Array:
    """Returns the draws of the documents that a farthest-first traversal takes, in its order, at most `budget`."""
    order = np.lexsort([candidates.draws, candidates.keys])
    points, draws = candidates.points[order], candidates.draws[order]
    nearest, taken = np.full(len(points), np.inf), np.zeros(min(budget, len(points)), np.intp)
    for number in range(len(taken)):
        at = int(np.argmax(nearest))  # the first of equal ones, which is the best
        taken[number] = at
        nearest = np.minimum(nearest, ((points - points[at]) ** 2).sum(axis=1))
        nearest[at] = -1.0
    return np.asarray(draws[taken], np.uint64)


def turns(candidates: Candidates, budget: int) -> UInt64Array:
    """Returns the draws of the best document of each cluster, then of the second best, at most `budget`."""
    groups = candidates.points[:, 0].view(np.uint64)
    order = np.lexsort([candidates.draws, candidates.keys, groups])
    starts = np.flatnonzero(np.append(True, np.diff(groups[order]) != 0)) if len(order) else np.zeros(0, np.intp)
    turn = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    draws, keys = candidates.draws[order], candidates.keys[order]
    return np.asarray(draws[np.lexsort([draws, keys, turn])][:budget], np.uint64)
