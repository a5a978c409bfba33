"""Whole copies of documents by keyed systematic sampling, to an exact budget.

A document of relative weight w has floor(min(c * w, cap) + u) copies, where u in (0, 1) is its own keyed
draw, so that their expectation is min(c * w, cap). As c grows, the k-th copy appears at c = (k - u) / w. So
the scale that meets a budget of tokens is a cut of these steps, ranked by c, each with the document's tokens
as its mass: it is found exactly, whatever the order of the shards, by the search of `statistics.cuts`.
"""

from __future__ import annotations

import numpy as np

from siftlm.errors import UserError
from siftlm.statistics.cuts import Cuts, Ranked, Target
from siftlm.statistics.hashing import uniform
from siftlm.statistics.ordered import Float64Array, Int64Array, UInt64Array, from_float, to_float


def targets(budget_tokens: int) -> tuple[Target, ...]:
    """Where the steps are cut."""
    return (Target(amount=budget_tokens),)


def steps(weight: Float64Array, draw: UInt64Array, tokens: Int64Array, cap: int) -> Ranked:
    """The steps of all documents of positive weight, cap for each: arrays [positive * cap]."""
    positive = weight > 0
    scale = np.concatenate([_step(weight[positive], draw[positive], k) for k in range(1, cap + 1)])
    tie, mass = np.tile(draw[positive], cap), np.tile(tokens[positive], cap)
    return Ranked(np.zeros(len(scale), np.uint64), from_float(scale), tie, mass)


def _step(weight: Float64Array, draw: UInt64Array, k: int) -> Float64Array:
    """The scale at which the k-th copy of every document appears."""
    with np.errstate(over="ignore"):
        return np.asarray((k - uniform(draw)) / weight, np.float64)


def drawn(expected: Float64Array, draw: UInt64Array) -> Int64Array:
    """floor(expected + u): copies for given expectations."""
    return np.floor(expected + uniform(draw)).astype(np.int64)


def within(cuts: Cuts, weight: Float64Array, draw: UInt64Array, cap: int) -> Int64Array:
    """The copies of every document whose steps lie before the cut: int64[documents], at most `cap`."""
    copies = np.zeros(len(weight), np.int64)
    positive = np.flatnonzero(weight > 0)
    ranked = steps(weight, draw, np.zeros(len(weight), np.int64), cap)
    if len(positive):
        copies[positive] = cuts.before(0, ranked).reshape(cap, len(positive)).sum(axis=0)
    return copies


def scale_of(cuts: Cuts) -> float:
    """The scale c at the cut; 0 where there is no document."""
    return float(to_float(cuts.key[:, 0])[0]) if len(cuts.groups) else 0.0


def check_budget(cuts: Cuts, budget_tokens: int, cap: float, place: str) -> None:
    """Raises UserError where all documents at their cap hold fewer tokens than the budget."""
    most = int(cuts.mass.sum())
    if most < budget_tokens:
        raise infeasible(most, budget_tokens, cap, place)


def infeasible(most: int, budget_tokens: int, cap: float, place: str) -> UserError:
    """The error for a budget above `most` tokens."""
    return UserError(
        f"{place}.budget_tokens: must be at most the {most} tokens that {cap:g} copies of every kept "
        f"document of positive weight hold, got {budget_tokens}; lower it, raise cap, or keep more documents"
    )
