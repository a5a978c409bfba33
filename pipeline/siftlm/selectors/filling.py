"""Finds the scale at which capped weights meet a budget: water-filling with exact sums, in a few passes.

Find c with sum of min(c * w, cap) * tokens = budget. With the capped documents known, c is one division; so
start with none capped, take the documents that the c found would cap, solve again. c only grows and so does
the capped set, until it stays: then c is the solution. Every sum is exact, so no order of shards can change a
bit of c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import numpy as np

from siftlm.selectors.budget import Weighed, check_budget
from siftlm.statistics.exact import as_fraction, exact_sum
from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.stored import stored


@stored
@dataclass(frozen=True)
class Sums:
    """Adds up, in one pass at a scale, documents and tokens that are capped, and those that are not.

    `weighted` is the sum of w * tokens over the uncapped, each product rounded once, in units of 2^-1074.
    """

    capped_documents: int = 0
    capped_tokens: int = 0
    free_tokens: int = 0
    weighted: int = 0

    @classmethod
    def merged(cls, parts: Iterable[Sums]) -> Sums:
        """Returns the sums of all shards in `parts`."""
        every = list(parts)
        return cls(
            sum(part.capped_documents for part in every),
            sum(part.capped_tokens for part in every),
            sum(part.free_tokens for part in every),
            sum(part.weighted for part in every),
        )


@stored
@dataclass(frozen=True)
class Filling:
    """Tells how far the scale is known: `scale` was solved with `capped_documents` at their cap."""

    scale: float = 0.0
    capped_documents: int = -1
    done: bool = False


@dataclass(frozen=True)
class FillingBudget:
    """Finds the scale at which the sum of weight * tokens is some tokens, with weights of at most `cap`."""

    tokens: int
    cap: float

    def begin(self, entry_limit: int) -> Filling:  # noqa: ARG002
        """Returns no document capped."""
        return Filling()

    def observe(self, rows: Weighed, state: Filling) -> Sums:
        """Returns what is capped at the scale solved last, and what is not."""
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
        """Returns the filling after a pass; a UserError where the documents hold too few tokens."""
        total, cap = partial or Sums(), Fraction(self.cap)
        check_budget(self.tokens, floor(cap * (total.capped_tokens + total.free_tokens)), self.cap)
        if total.capped_documents == state.capped_documents or not total.weighted:
            return Filling(state.scale, total.capped_documents, done=True)
        rest = self.tokens - cap * total.capped_tokens
        solved = float(rest / as_fraction(total.weighted))
        return Filling(max(solved, state.scale), total.capped_documents)

    def scale(self, state: Filling) -> float:
        """Returns the number that all relative weights are multiplied by."""
        return state.scale

    def copies(self, rows: Weighed, state: Filling, expected: Float64Array) -> Int64Array:  # noqa: ARG002
        """Returns one copy of every document that has a weight."""
        return (expected > 0).astype(np.int64)
