"""Computes the exponential function with the same bits on every machine."""

from __future__ import annotations

import numpy as np

from siftlm.statistics.ordered import Float64Array

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""ln 2 in two parts, the first with 32 trailing zero bits (Cody and Waite's reduction; fdlibm's e_exp.c)."""


def exp_negative(values: Float64Array) -> Float64Array:
    """Returns exp(-values) for values >= 0 to about 2 ulp, with the same bits on every machine.

    numpy's own exp differs between CPU families in the last bit, which could move a cut between two workers;
    this uses IEEE additions and multiplications only: exp(-x) = 2^-k * exp(k ln 2 - x), a Taylor series of
    degree 13.
    """
    bounded = np.minimum(values, 800.0)  # exp(-746) is below the smallest float64
    halvings = np.rint(bounded / _LN2_HIGH)
    rest = (halvings * _LN2_HIGH - bounded) + halvings * _LN2_LOW
    series = np.ones_like(rest)
    for degree in range(13, 0, -1):
        series = 1.0 + rest * series / degree
    return np.asarray(np.ldexp(series, -halvings.astype(np.int64)), np.float64)
