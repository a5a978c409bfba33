"""Computes with arrays of 128-bit unsigned integers, held as two uint64 arrays (high, low)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from siftlm.statistics.ordered import BoolArray, Int64Array, UInt64Array

Wide = tuple[UInt64Array, UInt64Array]
WIDTH = 128


def taken(wide: Wide, where: Any) -> Wide:
    """Returns the elements that `where`, an index, a mask or a slice, selects."""
    return wide[0][where], wide[1][where]


def joined(parts: Iterable[Wide]) -> Wide:
    """Returns several arrays concatenated into one."""
    high, low = zip(*parts, strict=True)
    return np.concatenate(high), np.concatenate(low)


def _shifted(values: UInt64Array, left: Int64Array) -> UInt64Array:
    """`values << left`, to the right where `left` is negative; 0 from 64 bits on, unlike numpy."""
    amount = np.minimum(np.abs(left), 63).astype(np.uint64)
    moved = np.where(left >= 0, values << amount, values >> amount)
    return np.where(np.abs(left) < 64, moved, np.uint64(0))


def shift_left(wide: Wide, bits: Int64Array) -> Wide:
    """Returns `wide << bits` modulo 2^128, with `bits` int64 in 0..128."""
    high, low = wide
    return _shifted(high, bits) | _shifted(low, bits - 64), _shifted(low, bits)


def shift_right(wide: Wide, bits: Int64Array) -> Wide:
    """Returns `wide >> bits`, with `bits` int64 in 0..128."""
    high, low = wide
    return _shifted(high, -bits), _shifted(low, -bits) | _shifted(high, 64 - bits)


def leading(wide: Wide, bits: Int64Array) -> Wide:
    """Returns the integers with only their `bits` leading bits, all others set to 0.

    `bits` is int64 in 0..128.
    """
    return shift_left(shift_right(wide, WIDTH - bits), WIDTH - bits)


def common_prefix(first: Wide, second: Wide) -> Int64Array:
    """Returns how many leading bits each pair of integers has in common, int64 in 0..128."""
    high, low = first[0] ^ second[0], first[1] ^ second[1]
    return np.where(high > 0, 64 - bit_length(high), WIDTH - bit_length(low))


def bit_length(values: UInt64Array) -> Int64Array:
    """Returns the number of bits of every value, 0 for 0.

    It works on 32-bit halves, which float64 holds exactly.
    """
    upper = values >> np.uint64(32)
    half = np.where(upper > 0, upper, values & np.uint64(0xFFFFFFFF)).astype(np.float64)
    return np.frexp(half)[1].astype(np.int64) + np.where(upper > 0, 32, 0)


def less(first: Wide, second: Wide) -> BoolArray:
    """Tells for each pair of integers whether the first is less than the second."""
    return np.asarray((first[0] < second[0]) | ((first[0] == second[0]) & (first[1] < second[1])), np.bool_)


def equal(first: Wide, second: Wide) -> BoolArray:
    """Tells for each pair of integers whether the two are equal."""
    return np.asarray((first[0] == second[0]) & (first[1] == second[1]), np.bool_)
