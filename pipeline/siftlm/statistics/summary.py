"""Sums up a column exactly: count, sum, least and greatest, mergeable; no order of additions changes them.

A sum is a Python integer in units of 2^-1074, the smallest positive float64: every finite float64 is a whole
multiple, and integers add exactly and merge with `+`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from siftlm.statistics.ordered import Float64Array, Int64Array
from siftlm.statistics.stored import stored

UNIT_EXPONENT = 1074
_LOW_BITS = 27
_BLOCK = 1 << 25  # halves of 27 bits: 2^25 of them stay below 2^53, so a block's float64 sums are exact


@stored
@dataclass(frozen=True)
class Summary:
    """Holds what is known of a column: `count` values and their extremes, and `missing` null or NaN ones.

    Infinite values are counted in `count` and in `infinite`; they have a place in the extremes but not in
    `finite_sum`, which is exact, in units of 2^-1074.
    """

    count: int = 0
    missing: int = 0
    infinite: int = 0
    finite_sum: int = 0
    least: float = math.inf
    greatest: float = -math.inf

    @classmethod
    def of(cls, values: Float64Array | Int64Array, missing: int = 0) -> Summary:
        """Returns the summary of `values`, free of NaN, beside `missing` absent ones."""
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
        """The sum of the finite values, rounded once."""
        return as_float(self.finite_sum)

    @property
    def mean(self) -> float | None:
        """The mean of the finite values, rounded once; None where there are none."""
        finite = self.count - self.infinite
        return float(as_fraction(self.finite_sum) / finite) if finite else None


def exact_sum(values: Float64Array) -> int:
    """Returns the sum of finite `values` float64[n] in units of 2^-1074.

    Raises:
        ValueError: a value is infinite or NaN.
    """
    if not np.isfinite(values).all():
        raise ValueError("only finite values have an exact sum")
    return sum(_block_sum(values[start : start + _BLOCK]) for start in range(0, len(values), _BLOCK))


def _block_sum(values: Float64Array) -> int:
    fraction, exponent = np.frexp(values)
    mantissa = (fraction * 2.0**53).astype(np.int64)  # |mantissa| < 2^53, value = mantissa * 2^(exponent - 53)
    least = int(exponent.min(initial=0))
    high = np.bincount(exponent - least, weights=(mantissa >> _LOW_BITS).astype(np.float64))
    low = np.bincount(exponent - least, weights=(mantissa & ((1 << _LOW_BITS) - 1)).astype(np.float64))
    total = 0
    for e, (h, part) in enumerate(zip(high.tolist(), low.tolist(), strict=True), least):
        scaled = (int(h) << _LOW_BITS) + int(part)
        shift = e - 53 + UNIT_EXPONENT  # negative for subnormals, whose trailing mantissa bits are zero
        total += scaled << shift if shift >= 0 else scaled >> -shift
    return total


def as_fraction(total: int) -> Fraction:
    """Returns an exact sum as a rational number."""
    return Fraction(total, 1 << UNIT_EXPONENT)


def as_float(total: int) -> float:
    """Returns an exact sum rounded once to float64, infinite beyond the largest."""
    try:
        return total / (1 << UNIT_EXPONENT)
    except OverflowError:
        return math.inf if total > 0 else -math.inf
