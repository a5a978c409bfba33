"""Maps numbers to unsigned integers that sort in the same order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SIGN = np.uint64(1 << 63)
LARGEST = np.uint64(2**64 - 1)


def from_float(values: Float64Array) -> UInt64Array:
    """Returns `values` float64[n] as uint64[n] that sort in the same order.

    -0.0 equals 0.0, and infinities are the two ends.

    Raises:
        ValueError: a value is NaN, which has no place in an order.
    """
    if np.isnan(values).any():
        raise ValueError(f"NaN has no rank: {int(np.isnan(values).sum())} of {len(values)} values")
    bits = (values + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def to_float(keys: UInt64Array) -> Float64Array:
    """Returns the float64[n] from which `from_float` makes `keys` uint64[n]."""
    bits = np.where(keys & SIGN, keys & ~SIGN, ~keys)
    return bits.view(np.float64)


def from_number(values: Float64Array | Int64Array) -> UInt64Array:
    """Returns `values`, float64[n] or int64[n], as uint64[n] that sort in the same order."""
    if values.dtype == np.int64:
        return np.ascontiguousarray(values).view(np.uint64) ^ SIGN
    return from_float(values.astype(np.float64, copy=False))


def to_number(keys: UInt64Array, dtype: np.dtype[np.generic]) -> Float64Array | Int64Array:
    """Returns the numbers of `dtype` (int64 or float64) from which `from_number` makes `keys`."""
    return (keys ^ SIGN).view(np.int64) if dtype == np.int64 else to_float(keys)
