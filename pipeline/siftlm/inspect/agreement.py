"""Compares how columns rank the sampled documents: rank correlations, and the documents on which two differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.ranks import average_ranks, spearman

COMPARED = 8  # columns at most
SHOWN_PAIRS = 4  # pairs whose documents are shown
SHOWN = 5  # documents at either end of a pair
LEAST = 30  # documents whose ranks say something of a correlation


@dataclass(frozen=True)
class RankedAlike:
    """Holds how two columns rank the documents that have a value in both.

    Attributes:
        first: Name of a column.
        second: Name of another.
        correlation: Spearman's; None where a column does not vary, or too few documents have both.
        documents: Number of documents with both.
    """

    first: str
    second: str
    correlation: float | None
    documents: int


@dataclass(frozen=True)
class Apart:
    """Names a document that two columns rank differently.

    Attributes:
        index: Of the document in the sample.
        first: Its place by the first column among the documents with both, from 0 (lowest) to 1.
        second: Its place by the second column.
    """

    index: int
    first: float
    second: float


def rankings(columns: Sequence[str], numbers: Mapping[str, Float64Array]) -> list[RankedAlike]:
    """Returns how every two of some columns rank the documents; `numbers` are float64[documents] by column."""
    made = []
    for place, first in enumerate(columns):
        for second in columns[place + 1 :]:
            rows = _both(numbers[first], numbers[second])
            known = len(rows) >= LEAST
            correlation = spearman(numbers[first][rows], numbers[second][rows]) if known else None
            made.append(RankedAlike(first, second, correlation, len(rows)))
    return made


def apart(ranking: RankedAlike, numbers: Mapping[str, Float64Array], order: Int64Array) -> list[Apart]:
    """Returns the documents on which two columns differ most, first those that the first ranks higher.

    Where the columns rank in opposite directions, the second is turned round before it is compared. Documents that
    differ alike come in the order of `order`, int64[documents].
    """
    if ranking.correlation is None:
        return []
    rows = _both(numbers[ranking.first], numbers[ranking.second])
    first, second = ((average_ranks(numbers[name][rows]) - 0.5) / len(rows) for name in (ranking.first, ranking.second))
    differences = first - (second if ranking.correlation >= 0 else 1 - second)
    by_difference = np.lexsort((order[rows], -differences)).tolist()
    higher = [place for place in by_difference[:SHOWN] if differences[place] > 0]
    lower = [place for place in by_difference[::-1][:SHOWN] if differences[place] < 0]
    return [Apart(int(rows[place]), float(first[place]), float(second[place])) for place in (*higher, *lower)]


def _both(first: Float64Array, second: Float64Array) -> Int64Array:
    """The documents with finite values in both columns."""
    return np.flatnonzero(np.isfinite(first) & np.isfinite(second))
