"""Finds the factor by which all weights are scaled so that the documents meet a budget of tokens.

It is exact, and does not depend on the order of the shards.

**Copies.** A document of relative weight w has floor(min(c * w, cap) + u) copies, where u in (0, 1) is its own keyed
draw, so that their expectation is min(c * w, cap). As c grows, the k-th copy appears at c = (k - u) / w. So the scale
that meets a budget is a cut of these steps, ranked by c, each with the document's tokens as its mass: the search of
`statistics.cuts` finds it.

**Filling.** Find c with sum of min(c * w, cap) * tokens = budget. With the capped documents known, c is one division;
so start with none capped, take the documents that the c found would cap, solve again. c only grows and so does the
capped set, until it stays: then c is the solution. Every sum is exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from fractions import Fraction
from math import floor
from typing import NamedTuple

import numpy as np

from siftlm.errors import UserError
from siftlm.statistics.cuts import Ranked, Search, Target, advance, histogram
from siftlm.statistics.exact import as_fraction, exact_sum
from siftlm.statistics.hashing import uniform
from siftlm.statistics.ordered import Float64Array, Int64Array, UInt64Array, from_float, to_float
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored


class Weighed(NamedTuple):
    """Holds the relative weight, tokens and random draw of each document that the rules keep: arrays [documents]."""

    weight: Float64Array
    tokens: Int64Array
    draw: UInt64Array
    group: Int64Array | None = None  # which share of a mixture is theirs, where there is one

    def where(self, index: Int64Array) -> Weighed:
        """Returns the documents at `index`, int64[n]."""
        return Weighed(self.weight[index], self.tokens[index], self.draw[index])


def _check_budget(budget_tokens: int, most: int, cap: float) -> None:
    """Raises UserError where all documents at their cap hold fewer tokens, `most`, than the budget."""
    if most < budget_tokens:
        raise UserError(
            f"budget_tokens: must be at most the {most} tokens that {cap:g} copies of every kept "
            f"document of positive weight hold, got {budget_tokens}; lower it, raise cap, or keep more documents"
        )


def capped(scale: float, weight: Float64Array, cap: float) -> Float64Array:
    """Returns each weight times the scale, but at most the cap: min(scale * weight, cap)."""
    with np.errstate(over="ignore"):
        return np.minimum(scale * weight, cap)


@dataclass(frozen=True)
class CopiesBudget:
    """Finds the scale of weights at which all drawn copies hold the budget of tokens, to within one document."""

    tokens: int
    cap: int

    def begin(self, entry_limit: int) -> Search:
        return Search((Target(amount=self.tokens),), entry_limit=entry_limit)

    def observe(self, rows: Weighed, state: Search) -> RankHistogram:
        return histogram(state, self._steps(rows.weight, rows.draw, rows.tokens))

    def settle(self, state: Search, partial: RankHistogram | None) -> Search:
        """Returns the search after a pass; raises UserError where `cap` copies of all documents hold too few tokens."""
        search = advance(state, [partial] if partial is not None else [])
        if search.found is not None:
            _check_budget(self.tokens, int(search.found.mass.sum()), self.cap)
        return search

    def scale(self, state: Search) -> float:
        """Returns the scale c that meets the budget; 0 where there is no document."""
        assert state.found is not None, "the scale is still open"
        return float(to_float(state.found.key[:, 0])[0]) if len(state.found.groups) else 0.0

    def expected(self, rows: Weighed, state: Search) -> Float64Array:
        """Returns the expected number of copies of every document, at most `cap`."""
        return capped(self.scale(state), rows.weight, self.cap)

    def copies(self, rows: Weighed, state: Search, expected: Float64Array) -> Int64Array:  # noqa: ARG002
        """Returns how many copies of every document are written: int64[documents], each at most `cap`.

        A copy is written where the scale at which it appears lies before the cut.
        """
        assert state.found is not None, "the scale is still open"
        copies = np.zeros(len(rows.weight), np.int64)
        positive = np.flatnonzero(rows.weight > 0)
        if len(positive):
            before = state.found.before(0, self._steps(rows.weight, rows.draw, np.zeros_like(copies)))
            copies[positive] = before.reshape(self.cap, len(positive)).sum(axis=0)
        return copies

    def _steps(self, weight: Float64Array, draw: UInt64Array, tokens: Int64Array) -> Ranked:
        """The scales at which the copies of all documents of positive weight appear: arrays [cap * positive]."""
        positive = weight > 0
        weight, draw, tokens = weight[positive], draw[positive], tokens[positive]
        with np.errstate(over="ignore"):
            scale = np.concatenate([(k - uniform(draw)) / weight for k in range(1, self.cap + 1)])
        tie, mass = np.tile(draw, self.cap), np.tile(tokens, self.cap)
        return Ranked(np.zeros(len(scale), np.uint64), from_float(scale), tie, mass)


@stored
@dataclass(frozen=True)
class Sums:
    """Holds sums of one pass over documents, separately for weights that reach the cap and weights below it.

    `weighted` is the sum of w * tokens over the uncapped, each product rounded once, in units of 2^-1074.
    """

    capped_documents: int = 0
    capped_tokens: int = 0
    free_tokens: int = 0
    weighted: int = 0

    @classmethod
    def merged(cls, parts: Iterable[Sums]) -> Sums:
        return cls(*map(sum, zip(*map(astuple, parts), strict=True)))


@stored
@dataclass(frozen=True)
class Filling:
    """Holds the scale found so far, which was solved with `capped_documents` documents at their cap."""

    scale: float = 0.0
    capped_documents: int = -1
    done: bool = False


@dataclass(frozen=True)
class FillingBudget:
    """Finds the scale at which weights times tokens add up to the budget, with weights of at most `cap`."""

    tokens: int
    cap: float

    def begin(self, entry_limit: int) -> Filling:  # noqa: ARG002
        return Filling()

    def observe(self, rows: Weighed, state: Filling) -> Sums:
        """Returns the sums over documents that the last scale brings to the cap, and over the others."""
        with np.errstate(over="ignore"):
            capped = state.scale * rows.weight >= self.cap
        free = ~capped & (rows.weight > 0)
        return Sums(
            int(capped.sum()),
            int(rows.tokens[capped].sum()),
            int(rows.tokens[free].sum()),
            exact_sum(rows.weight[free] * rows.tokens[free]),
        )

    def settle(self, state: Filling, partial: Sums | None) -> Filling:
        """Returns the scale after a pass; raises UserError where all documents at their cap hold too few tokens."""
        total, cap = partial or Sums(), Fraction(self.cap)
        _check_budget(self.tokens, floor(cap * (total.capped_tokens + total.free_tokens)), self.cap)
        if total.capped_documents == state.capped_documents or not total.weighted:
            return Filling(state.scale, total.capped_documents, done=True)
        rest = self.tokens - cap * total.capped_tokens
        solved = float(rest / as_fraction(total.weighted))
        return Filling(max(solved, state.scale), total.capped_documents)

    def expected(self, rows: Weighed, state: Filling) -> Float64Array:
        """Returns the expected number of copies of every document, at most `cap`."""
        return capped(state.scale, rows.weight, self.cap)

    def copies(self, rows: Weighed, state: Filling, expected: Float64Array) -> Int64Array:  # noqa: ARG002
        """Returns the number of copies of each document: 1 where its weight is positive, else 0."""
        return (expected > 0).astype(np.int64)
