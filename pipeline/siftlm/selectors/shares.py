"""Counts what a mixture makes of each value's documents, and compares the shares with those asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from siftlm.selectors.mixture_budget import by_share
from siftlm.statistics.exact import as_float, exact_sum
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array

ShareFacts = Mapping[str, Sequence[Any]]
"""Counts of a shard as JSON, lists with an entry a share: documents, tokens, realised; `others` has one entry."""


class ShareResult(NamedTuple):
    """Holds what a mixture made of one value: its documents and tokens, the tokens realised, and both shares."""

    value: str
    documents: int
    tokens: int  # of these documents, once each
    asked: float
    realised: float | None  # None where nothing was selected
    realised_tokens: float  # by weight, or as written in copies
    epochs: float | None  # how often its tokens count; None where it has none


def share_facts(
    shares: int, group: Int64Array, weight: Float64Array, repeats: Float64Array, tokens: Int64Array, refused: BoolArray
) -> dict[str, list[Any]]:
    """Returns the counts of some documents for the marker of a shard; arrays are [documents].

    Args:
        shares: How many shares the mixture has.
        group: The share of each document, -1 for none.
        weight: Expected copies; 0 for documents that are not in the mixture.
        repeats: How often each document counts: its weight, or its written copies.
        tokens: Token counts.
        refused: Documents that the weights dropped.
    """
    there = np.where(weight > 0, group, -1)
    rows = by_share(there, shares)
    return {
        "documents": [len(of_share) for of_share in rows],
        "tokens": [int(tokens[of_share].sum()) for of_share in rows],
        "realised": [hex(exact_sum(repeats[of_share] * tokens[of_share])) for of_share in rows],
        "others": [int((refused & (group < 0)).sum())],
    }


def share_results(fractions: Mapping[str, float], facts: Sequence[ShareFacts]) -> list[ShareResult]:
    """Returns the result for each value of a mixture, from the counts of all shards, in any order."""
    documents, tokens = (
        _sums([of_shard[name] for of_shard in facts], len(fractions)) for name in ("documents", "tokens")
    )
    exact = _sums([[int(part, 16) for part in of_shard["realised"]] for of_shard in facts], len(fractions))
    total = sum(exact)
    return [
        ShareResult(
            value,
            documents[n],
            tokens[n],
            share,
            exact[n] / total if total else None,
            as_float(exact[n]),
            as_float(exact[n]) / tokens[n] if tokens[n] else None,
        )
        for n, (value, share) in enumerate(fractions.items())
    ]


def _sums(parts: Sequence[Sequence[int]], length: int) -> list[int]:
    return [sum(part[n] for part in parts) for n in range(length)]
