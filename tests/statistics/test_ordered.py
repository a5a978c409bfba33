"""Numbers as ordered integers, exact sums, wide integers and units."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.statistics import ordered, units
from siftlm.statistics.exact import as_float, as_fraction, exact_sum
from siftlm.statistics.wide import bit_length, common_prefix, leading, shift_left, shift_right

FLOATS = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
WIDE = st.integers(0, 2**128 - 1)


@given(st.lists(FLOATS, min_size=2, max_size=30))
def test_the_map_of_floats_keeps_their_order_and_their_equality(values: list[float]) -> None:
    """a < b as floats exactly when a < b as integers, -0.0 and infinities included."""
    keys = ordered.from_float(np.array(values)).tolist()
    for a, key_a in zip(values, keys, strict=True):
        for b, key_b in zip(values, keys, strict=True):
            assert (a < b) == (key_a < key_b)
            assert (a == b) == (key_a == key_b)


@given(st.lists(FLOATS))
def test_the_map_of_floats_can_be_undone(values: list[float]) -> None:
    """to_float(from_float(x)) == x."""
    array = np.array(values, np.float64)
    np.testing.assert_array_equal(ordered.to_float(ordered.from_float(array)), array)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_the_map_of_integers_keeps_their_order_and_can_be_undone(values: list[int]) -> None:
    """Sorting the keys sorts the integers."""
    array = np.array(values, np.int64)
    keys = ordered.from_number(array)
    np.testing.assert_array_equal(ordered.to_number(np.sort(keys), array.dtype), np.sort(array))


def test_nan_is_refused() -> None:
    """NaN has no rank."""
    with pytest.raises(ValueError, match="1 of 2"):
        ordered.from_float(np.array([1.0, np.nan]))


@given(st.lists(FINITE, max_size=60))
def test_exact_sums_equal_rational_arithmetic(values: list[float]) -> None:
    """The sum as a fraction is the sum of the fractions, subnormals and huge values included."""
    assert as_fraction(exact_sum(np.array(values, np.float64))) == sum(map(Fraction, values), Fraction(0))


@given(st.lists(st.floats(-1e300, 1e300), max_size=60))
def test_exact_sums_round_once_like_fsum(values: list[float]) -> None:
    """The float is `math.fsum`, the correctly rounded sum."""
    assert as_float(exact_sum(np.array(values, np.float64))) == math.fsum(values)


def test_an_exact_sum_beyond_the_largest_float_is_infinite() -> None:
    """Rounding to float64 may overflow; the sum itself stays exact."""
    largest = np.full(3, np.finfo(np.float64).max)
    assert as_float(exact_sum(largest)) == math.inf
    assert as_float(exact_sum(-largest)) == -math.inf
    assert as_float(exact_sum(np.append(largest, -largest))) == 0.0


@given(st.lists(st.tuples(WIDE, WIDE, st.integers(0, 128)), min_size=1))
def test_wide_integers_agree_with_python_integers(cases: list[tuple[int, int, int]]) -> None:
    """Shifts, leading bits and common prefixes of 128-bit integers."""

    def split(values: list[int]) -> tuple[np.ndarray, np.ndarray]:
        halves = np.array([[v >> 64, v & (2**64 - 1)] for v in values], np.uint64)
        return halves[:, 0], halves[:, 1]

    def joined(wide: tuple[np.ndarray, np.ndarray]) -> list[int]:
        return [(h << 64) | low for h, low in zip(wide[0].tolist(), wide[1].tolist(), strict=True)]

    ones, twos, bits = (list(column) for column in zip(*cases, strict=True))
    wide, other, amount = split(ones), split(twos), np.array(bits, np.int64)
    assert joined(shift_left(wide, amount)) == [v << b & (2**128 - 1) for v, b in zip(ones, bits, strict=True)]
    assert joined(shift_right(wide, amount)) == [v >> b for v, b in zip(ones, bits, strict=True)]
    assert joined(leading(wide, amount)) == [v >> 128 - b << 128 - b for v, b in zip(ones, bits, strict=True)]
    assert common_prefix(wide, other).tolist() == [128 - (a ^ b).bit_length() for a, b in zip(ones, twos, strict=True)]
    assert bit_length(wide[0]).tolist() == [(v >> 64).bit_length() for v in ones]


def test_bits_per_byte_divide_sums_once() -> None:
    """A corpus's value is the ratio of sums: two documents of 8 ln 2 nats in 8 and 24 bytes have 0.5 bits a byte."""
    nats, sizes = pa.array([8 * math.log(2)] * 2), pa.array([8, 24])
    assert units.bits_per_byte(nats, sizes).to_pylist() == pytest.approx([1.0, 1 / 3])
    assert units.bits_per_byte(pc.sum(nats), pc.sum(sizes)).as_py() == pytest.approx(0.5)


def test_perplexity_is_the_exponential_of_nats_per_token() -> None:
    assert units.perplexity(pa.array([300.0]), pa.array([100])).to_pylist() == pytest.approx([math.exp(3)])


def test_nothing_measured_has_no_unit() -> None:
    """Zero tokens or bytes give null, and an overflow gives inf, without a warning."""
    assert units.bits_per_byte(pa.array([0.0]), pa.array([0])).to_pylist() == [None]
    assert units.perplexity(pa.array([1e6, 1.0]), pa.array([1, 0])).to_pylist() == [math.inf, None]
