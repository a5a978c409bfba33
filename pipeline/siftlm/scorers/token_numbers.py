"""Computes numbers of a document from the values of its tokens: means, deviations, percentiles and the worst window.

A number is computed from the values of one document alone, in float64, so it depends on no other document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siftlm.errors import nearest
from siftlm.scorers.token_masks import TokenMask

RANKS = {
    "max_log_p": "highest log-probability of the prediction (nats)",
    "quantile": "share of the vocabulary that is at most as probable as the token, it included",
    "top_p": "probability of all tokens that are at least as probable as the token, it included",
}
TOKEN_VALUES = {"nll": "nats", "entropy": "entropy of the prediction (nats)", "el2n": "EL2N norm", **RANKS}
"""The values that a token can have, by name, and what they are.

With the logarithm of the token's own probability, which is minus its nats, entropy and `RANKS` are the five features of
PAWN (Miralles-Gonzalez et al. 2025, arXiv 2501.03940); their means are what PAWN gives where all its gates are equal.
"""
WORST_WINDOW = "worst_window"
DEFAULT_WINDOW = 10  # tokens; the window of Jain et al. 2023


@dataclass(frozen=True)
class OfDocument:
    """Holds the values of the scored tokens of one document in their order, at least one."""

    values: NDArray[np.float64]

    @cached_property
    def ordered(self) -> NDArray[np.float64]:
        """Returns the values in ascending order."""
        return np.sort(self.values)


def mean(tokens: OfDocument, _window: int) -> float:
    """Returns the mean of the values."""
    return float(tokens.values.mean())


def deviation(tokens: OfDocument, _window: int) -> float:
    """Returns the standard deviation of the values, with the divisor n: exactly 0 for equal ones."""
    equal = (tokens.values == tokens.values[0]).all()
    return 0.0 if equal else float(tokens.values.std())


def percentile(percent: int, tokens: OfDocument, _window: int) -> float:
    """Returns the exact percentile of the values, by `numpy.percentile`'s default definition.

    Of n values in ascending order, numbered from 0, it is the one at place (n - 1) * percent / 100, and between two
    places what lies on the line between their values.
    """
    place = (len(tokens.values) - 1) * (percent / 100)
    below = int(place)
    part = place - below
    low, high = tokens.ordered[below].item(), tokens.ordered[min(below + 1, len(tokens.values) - 1)].item()
    step = high - low
    return float(low + step * part if part < 0.5 else high - step * (1 - part))


def worst_window(tokens: OfDocument, window: int) -> float:
    """Returns the highest mean of `window` consecutive values (Jain et al. 2023, arXiv 2309.00614).

    Windows begin at every token. A shorter document is one window.
    """
    size = min(window, len(tokens.values))
    sums = np.concatenate([[0.0], np.cumsum(tokens.values)])
    return float((sums[size:] - sums[:-size]).max()) / size


@dataclass(frozen=True)
class DocumentNumber:
    """Describes one number of a document: which value of its tokens it is of, and how it is computed."""

    name: str
    value: str  # of TOKEN_VALUES
    meaning: str
    compute: Callable[[OfDocument, int], float]  # of the values and the tokens of a window
    low_is_good: bool = False
    version: int = 1  # raised when the same values give another number


def _numbers() -> Iterator[DocumentNumber]:
    for value, unit in TOKEN_VALUES.items():
        low = value == "nll"
        yield DocumentNumber(f"{value}_mean", value, f"mean of the tokens' {unit}", mean, low)
        meaning = f"standard deviation of the tokens' {unit}"
        yield DocumentNumber(f"{value}_std", value, meaning, deviation, version=2)
        for percent in range(101):
            meaning = f"percentile {percent} of the tokens' {unit}, as numpy.percentile defines it"
            yield DocumentNumber(f"{value}_p{percent}", value, meaning, partial(percentile, percent), low)
    meaning = "highest mean of the nats of `worst_window_tokens` consecutive tokens"
    yield DocumentNumber(WORST_WINDOW, "nll", meaning, worst_window, True)


NUMBERS = {number.name: number for number in _numbers()}
"""Every number that a document can have, by its name."""


def find_number(name: str, values: Sequence[str]) -> DocumentNumber:
    """Returns the number with this name; raises ValueError unless it is one of these values of tokens."""
    number = NUMBERS.get(name)
    if number is None:
        near = nearest(name, (known.name for known in NUMBERS.values() if known.value in values))
        hint = f"did you mean {near!r}?" if near else f"such as {values[0]}_mean, {values[0]}_p90 or {WORST_WINDOW}"
        raise ValueError(f"must be numbers of a document, got {name!r}; {hint}")
    if number.value not in values:
        raise ValueError(f"must be numbers of {' or '.join(values)}, all that this model gives, got {name!r}")
    return number


@dataclass(frozen=True)
class DocumentNumbers:
    """Computes columns of documents from the values of their tokens: numbers, and masks of tokens.

    A number is null where a document has no token, or a token whose value is not finite.
    """

    numbers: tuple[DocumentNumber, ...] = ()
    window: int = DEFAULT_WINDOW
    masks: tuple[TokenMask, ...] = ()

    @property
    def values(self) -> frozenset[str]:
        """Returns the names of the values of tokens that the columns are of."""
        return frozenset({*(number.value for number in self.numbers), *(mask.reads for mask in self.masks)})

    def fields(self) -> list[pa.Field]:
        """Returns the columns, in the order of the numbers, then of the masks."""
        numbers = [pa.field(number.name, pa.float64()) for number in self.numbers]
        return [*numbers, *(field for mask in self.masks for field in mask.fields())]

    def columns(
        self,
        values: Mapping[str, NDArray[Any]],
        starts: NDArray[np.int64],
        stops: NDArray[np.int64],
        null: NDArray[np.bool_],
    ) -> list[pa.Array]:
        """Returns a float64 column for each number, and two columns for each mask.

        Args:
            values: By name, floats `[T]` over the tokens of all documents.
            starts: Where the scored tokens of each document begin in it. Shape [documents].
            stops: Where they end. Shape [documents].
            null: Which documents have no numbers. Shape [documents].
        """
        masks = [column for mask in self.masks for column in mask.columns(values, starts, stops, null)]
        if not self.numbers:
            return masks
        spans = zip(starts.tolist(), np.where(null, starts, stops).tolist(), strict=True)
        rows = [self._row(values, start, stop) for start, stop in spans]
        numbers = [pa.array([row[number] for row in rows], pa.float64()) for number in range(len(self.numbers))]
        return [*numbers, *masks]

    def _row(self, values: Mapping[str, NDArray[Any]], start: int, stop: int) -> list[float | None]:
        """The numbers of one document."""
        if start == stop:
            return [None] * len(self.numbers)
        names = {number.value for number in self.numbers}
        tokens = {name: OfDocument(values[name][start:stop].astype(np.float64)) for name in names}
        finite = {name for name, of in tokens.items() if isfinite(of.values.sum())}
        return [
            number.compute(tokens[number.value], self.window) if number.value in finite else None
            for number in self.numbers
        ]
