"""Defines what budgets of tokens see of documents, and the error of one that cannot be met."""

from __future__ import annotations

from typing import NamedTuple

from siftlm.errors import UserError
from siftlm.statistics.ordered import Float64Array, Int64Array, UInt64Array


class Weighed(NamedTuple):
    """Holds relative weights, tokens and draws of the documents that the rules keep: arrays [documents]."""

    weight: Float64Array
    tokens: Int64Array
    draw: UInt64Array


def check_budget(budget_tokens: int, most: int, cap: float) -> None:
    """Raises UserError where all documents at their cap hold fewer tokens, `most`, than the budget."""
    if most < budget_tokens:
        raise UserError(
            f"budget_tokens: must be at most the {most} tokens that {cap:g} copies of every kept "
            f"document of positive weight hold, got {budget_tokens}; lower it, raise cap, or keep more documents"
        )
