"""Checks ragged arrays, and numbers the elements within each of their runs.

Ragged text is `values`, uint8 bytes, and `offsets`, int64 (documents + 1): document i is
`values[offsets[i]:offsets[i + 1]]`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def within(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Returns the numbers 0, 1, ... count - 1 for every count, one run after the other."""
    ends = np.cumsum(counts)
    places: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return places


def checked(values: NDArray[Any], offsets: NDArray[Any]) -> tuple[Values, Offsets]:
    """Returns ragged text as read-only arrays, or raises a ValueError where its offsets are wrong.

    Offsets must rise and stay within the bytes.
    """
    if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > len(values) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"offsets: must rise from 0 or more to at most the {len(values)} bytes of values")
    return read_only(values, np.uint8), read_only(offsets, np.int64)


def read_only(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """Returns a contiguous read-only view of an array, the kind that kernels are compiled for."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view


def at_least_1(name: str, value: int) -> int:
    """Returns the value, or raises a ValueError with its name where it is below 1."""
    if value < 1:
        raise ValueError(f"{name}: must be at least 1, got {value}")
    return value
