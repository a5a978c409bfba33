"""Computes the natural logarithm in compiled functions, with the same bits on every machine."""

from __future__ import annotations

import math
from typing import Any

from siftlm_kernels.compiling import compiled

LN2 = 0.6931471805599453
TERMS = 13  # of the logarithm's series, whose argument's square is below 0.03


@compiled
def ln(value: Any) -> Any:
    """Returns the natural logarithm of a positive number, computed by IEEE operations alone."""
    fraction, exponent = math.frexp(value)
    if fraction < 0.7071067811865476:
        fraction, exponent = 2.0 * fraction, exponent - 1
    t = (fraction - 1.0) / (fraction + 1.0)
    series = 0.0
    for k in range(TERMS - 1, -1, -1):
        series = series * (t * t) + 1.0 / (2 * k + 1)
    return exponent * LN2 + 2.0 * t * series
