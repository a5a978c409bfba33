"""Sums floats without rounding, so that no order of additions can change them.

A sum is a Python integer in units of 2^-1074, the smallest positive float64: every finite float64 is a whole
multiple, and integers add exactly and merge with `+`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from siftlm.statistics.ordered import Float64Array

UNIT_EXPONENT = 1074
_LOW_BITS = 27
_BLOCK = 1 << 25  # halves of 27 bits: 2^25 of them stay below 2^53, so a block's float64 sums are exact


def exact_sum(values: Float64Array) -> int:
    """Returns the exact sum of the finite numbers `values` float64[n], in units of 2^-1074.

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
    """Returns an exact sum rounded once to float64, infinite where it is too large for that."""
    try:
        return total / (1 << UNIT_EXPONENT)
    except OverflowError:
        return math.inf if total > 0 else -math.inf
