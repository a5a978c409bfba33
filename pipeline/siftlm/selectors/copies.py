"""Draws whole copies of documents by keyed systematic sampling, to an exact budget.

A document of relative weight w has floor(min(c * w, cap) + u) copies, where u in (0, 1) is its own keyed
draw, so that their expectation is min(c * w, cap). As c grows, the k-th copy appears at c = (k - u) / w. So
the scale that meets a budget of tokens is a cut of these steps, ranked by c, each with the document's tokens
as its mass: it is found exactly, whatever the order of the shards, by the search of `statistics.cuts`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from siftlm.selectors.budget import Weighed, check_budget
from siftlm.statistics.cuts import Cuts, Ranked, Search, Target, advance, histogram
from siftlm.statistics.hashing import uniform
from siftlm.statistics.ordered import Float64Array, Int64Array, UInt64Array, from_float, to_float
from siftlm.statistics.radix import RankHistogram


@dataclass(frozen=True)
class CopiesBudget:
    """Finds the scale at which all copies together hold some tokens, to one document."""

    tokens: int
    cap: int

    def begin(self, entry_limit: int) -> Search:
        """Returns nothing known of the scale."""
        return Search((Target(amount=self.tokens),), entry_limit=entry_limit)

    def observe(self, rows: Weighed, state: Search) -> RankHistogram:
        """Returns the steps at which copies appear."""
        return histogram(state, self._steps(rows.weight, rows.draw, rows.tokens))

    def settle(self, state: Search, partial: RankHistogram | None) -> Search:
        """Returns the search after a pass; a UserError where the documents hold too few tokens."""
        search = advance(state, [partial] if partial is not None else [])
        if search.found is not None:
            check_budget(self.tokens, int(search.found.mass.sum()), self.cap)
        return search

    def scale(self, state: Search) -> float:
        """Returns the scale c at the cut; 0 where there is no document."""
        cuts = _cuts(state)
        return float(to_float(cuts.key[:, 0])[0]) if len(cuts.groups) else 0.0

    def copies(self, rows: Weighed, state: Search, expected: Float64Array) -> Int64Array:  # noqa: ARG002
        """Returns the copies of every document whose steps lie before the cut: int64[documents], at most `cap`."""
        copies = np.zeros(len(rows.weight), np.int64)
        positive = np.flatnonzero(rows.weight > 0)
        if len(positive):
            before = _cuts(state).before(0, self._steps(rows.weight, rows.draw, np.zeros_like(copies)))
            copies[positive] = before.reshape(self.cap, len(positive)).sum(axis=0)
        return copies

    def _steps(self, weight: Float64Array, draw: UInt64Array, tokens: Int64Array) -> Ranked:
        """The steps of all documents of positive weight, cap for each: arrays [positive * cap]."""
        positive = weight > 0
        scale = np.concatenate([_step(weight[positive], draw[positive], k) for k in range(1, self.cap + 1)])
        tie, mass = np.tile(draw[positive], self.cap), np.tile(tokens[positive], self.cap)
        return Ranked(np.zeros(len(scale), np.uint64), from_float(scale), tie, mass)


def drawn(expected: Float64Array, draw: UInt64Array) -> Int64Array:
    """Returns floor(expected + u): copies for given expectations."""
    return np.floor(expected + uniform(draw)).astype(np.int64)


def _step(weight: Float64Array, draw: UInt64Array, k: int) -> Float64Array:
    """The scale at which the k-th copy of every document appears."""
    with np.errstate(over="ignore"):
        return np.asarray((k - uniform(draw)) / weight, np.float64)


def _cuts(state: Search) -> Cuts:
    assert state.found is not None, "the scale is still open"
    return state.found
