"""The published example, and the means over units and tokens by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.scaling.information_capacity import information_capacities, information_capacity


def test_the_worked_example() -> None:
    assert information_capacity(36, 3.5, 2e9, offset=-24) == pytest.approx(0.275104, abs=1e-6)


def test_texts_are_averaged_by_unit_and_losses_by_token() -> None:
    rows = [
        {"model": "a", "unit": "x", "nll_sum": 10.0, "byte_count": 40, "token_count": 10},
        {"model": "a", "unit": "y", "nll_sum": 90.0, "byte_count": 180, "token_count": 30},
        {"model": "a", "unit": "empty", "nll_sum": 0.0, "byte_count": 0, "token_count": 0},
        {"model": "a", "unit": "unscored", "nll_sum": None, "byte_count": 7, "token_count": 3},
        {"model": "b", "unit": "x", "nll_sum": 5.0, "byte_count": 40, "token_count": 8},
    ]
    made = information_capacities(pa.Table.from_pylist(rows), {"a": 1e9, "b": 2e9}, offset=0.0).to_pylist()
    assert [row["model"] for row in made] == ["a", "b"]
    assert made[0]["text_bits"] == pytest.approx((32 + 48) / 2)
    assert made[0]["model_bits"] == pytest.approx(100 / np.log(2) / 40)
    expected = (40 - 100 / np.log(2) / 40) / np.log2(1e9)
    assert made[0]["information_capacity"] == pytest.approx(expected)


def test_mistakes_are_one_line() -> None:
    row = {"model": "a", "unit": "x", "nll_sum": None, "byte_count": 40, "token_count": 10}
    table = pa.Table.from_pylist(
        [row],
        schema=pa.schema(
            [
                ("model", pa.string()),
                ("unit", pa.string()),
                ("nll_sum", pa.float64()),
                ("byte_count", pa.int64()),
                ("token_count", pa.int64()),
            ]
        ),
    )
    with pytest.raises(UserError, match="flops must name every model, got none for 'a'"):
        information_capacities(table, {})
    with pytest.raises(UserError, match="'a' must have a unit with tokens and a score"):
        information_capacities(table, {"a": 1e9})
    with pytest.raises(UserError, match="got none of 'nll_sum'"):
        information_capacities(table.drop_columns(["nll_sum"]), {"a": 1e9})
    with pytest.raises(UserError, match="flops must be above 1"):
        information_capacity(1, 1, 0)
