"""The scale at which capped weights meet a budget: water-filling with exact sums, in a few passes.

Find c with sum of min(c * w, cap) * tokens = budget. With the capped documents known, c is one division; so
start with none capped, take the documents that the c found would cap, solve again. c only grows and so does
the capped set, until it stays: then c is the solution. Every sum is exact, so no order of shards can change a
bit of c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from siftlm.selectors.copies import infeasible
from siftlm.statistics.exact import as_fraction, exact_sum
from siftlm.statistics.ordered import Float64Array, Int64Array


@dataclass(frozen=True)
class Sums:
    """What one pass adds up at a scale: documents and tokens that are capped, and those that are not.

    `weighted` is the sum of w * tokens over the uncapped, each product rounded once, in units of 2^-1074.
    """

    capped_documents: int = 0
    capped_tokens: int = 0
    free_tokens: int = 0
    weighted: int = 0

    @classmethod
    def merged(cls, parts: Iterable[Sums]) -> Sums:
        """The sums of all shards in `parts`."""
        every = list(parts)
        return cls(
            sum(part.capped_documents for part in every),
            sum(part.capped_tokens for part in every),
            sum(part.free_tokens for part in every),
            sum(part.weighted for part in every),
        )


@dataclass(frozen=True)
class Filling:
    """How far the scale is known: `scale` was solved with `capped_documents` at their cap."""

    scale: float = 0.0
    capped_documents: int = -1
    done: bool = False


def sums(filling: Filling, weight: Float64Array, tokens: Int64Array, cap: float) -> Sums:
    """What the coming pass needs to know of documents with relative `weight`."""
    with np.errstate(over="ignore"):
        capped = filling.scale * weight >= cap
    free = ~capped & (weight > 0)
    return Sums(
        int(capped.sum()),
        int(tokens[capped].sum()),
        int(tokens[free].sum()),
        exact_sum(weight[free] * tokens[free]),
    )


def advance(filling: Filling, total: Sums, budget_tokens: int, cap: float, place: str) -> Filling:
    """The filling after a pass over all shards.

    Raises:
        UserError: all documents at their cap hold fewer tokens than the budget.
    """
    most = Fraction(cap) * (total.capped_tokens + total.free_tokens)
    if most < budget_tokens:
        raise infeasible(int(most), budget_tokens, cap, place)
    if total.capped_documents == filling.capped_documents or not total.weighted:
        return Filling(filling.scale, total.capped_documents, done=True)
    rest = budget_tokens - Fraction(cap) * total.capped_tokens
    solved = float(rest / as_fraction(total.weighted))
    return Filling(max(solved, filling.scale), total.capped_documents)
