"""Computes the count, sum, least and greatest value of a column exactly.

Summaries can be merged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from siftlm.statistics.exact import as_float, as_fraction, exact_sum
from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.stored import stored


@stored
@dataclass(frozen=True)
class Summary:
    """Holds the count, sum and extremes of a column's values, and how many are missing.

    Null and NaN are missing. Infinite values are counted in `count` and in `infinite`; they have a place in the
    extremes but not in `finite_sum`, which is exact, in units of 2^-1074 (`statistics.exact`).
    """

    count: int = 0
    missing: int = 0
    infinite: int = 0
    finite_sum: int = 0
    least: float = math.inf
    greatest: float = -math.inf

    @classmethod
    def of(cls, values: Float64Array | Int64Array, missing: int = 0) -> Summary:
        """Returns the summary of `values`, which hold no NaN, and of `missing` absent ones."""
        numbers = values.astype(np.float64, copy=False)
        finite = np.isfinite(numbers)
        return cls(
            count=len(numbers),
            missing=missing,
            infinite=int((~finite).sum()),
            finite_sum=exact_sum(numbers[finite]),
            least=float(numbers.min(initial=math.inf)),
            greatest=float(numbers.max(initial=-math.inf)),
        )

    @classmethod
    def merged(cls, parts: Iterable[Summary]) -> Summary:
        """Returns the summary of all values in `parts`, whatever their order."""
        every = list(parts)
        summed = ("count", "missing", "infinite", "finite_sum")
        return cls(
            **{name: sum(getattr(part, name) for part in every) for name in summed},
            least=min((part.least for part in every), default=math.inf),
            greatest=max((part.greatest for part in every), default=-math.inf),
        )

    @property
    def sum(self) -> float:
        """Returns the sum of the finite values, rounded once."""
        return as_float(self.finite_sum)

    @property
    def mean(self) -> float | None:
        """Returns the mean of the finite values, rounded once; None where there are none."""
        finite = self.count - self.infinite
        return float(as_fraction(self.finite_sum) / finite) if finite else None
