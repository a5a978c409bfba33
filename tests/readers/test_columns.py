"""Fields as columns of types: what converts, and what is null and counted."""

from __future__ import annotations

import datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest

from siftlm.readers.columns import schema, typed
from siftlm.readers.settings import ColumnType, InputSettings

MISFIT = object()


def converted(kind: ColumnType, value: Any) -> Any:
    """What a value becomes in a column of a type, MISFIT where it is counted as unusable."""
    settings = InputSettings(source="web", paths=["in"], columns={"x.y": kind})
    packed = pa.array([orjson.dumps({"x.y": value}).decode()])
    made = typed(packed, settings, schema([settings]))
    (found,) = made.table["x_y"].to_pylist()
    assert made.values.total() == (found is not None)
    return MISFIT if made.unusable == {"columns.x.y": 1} else found


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", 3, 3),
        ("int", "  -12 ", -12),
        ("int", 3.0, 3),
        ("int", True, 1),
        ("int", 2**63 - 1, 2**63 - 1),
        ("int", 2**63, MISFIT),
        ("int", 1e300, MISFIT),
        ("int", 2.5, MISFIT),
        ("int", "2.5", MISFIT),
        ("int", "", MISFIT),
        ("int", "1_000", MISFIT),
        ("float", "١٢", MISFIT),
        ("int", [1], MISFIT),
        ("float", 3, 3.0),
        ("float", "1e-3", 0.001),
        ("float", "inf", MISFIT),
        ("float", "nan", MISFIT),
        ("float", {"a": 1}, MISFIT),
        ("bool", False, False),
        ("bool", "TRUE", True),
        ("bool", 0, False),
        ("bool", 1.0, True),
        ("bool", 2, MISFIT),
        ("bool", "yes", MISFIT),
        ("string", "ü", "ü"),
        ("string", 1.5, "1.5"),
        ("string", True, "true"),
        ("string", ["a"], MISFIT),
        ("timestamp", "2024-05-31", datetime.datetime(2024, 5, 31)),
        ("timestamp", "2024-05-31T10:00:00.25Z", datetime.datetime(2024, 5, 31, 10, 0, 0, 250_000)),
        ("timestamp", "2024-05-31 10:00:00-02:30", datetime.datetime(2024, 5, 31, 12, 30)),
        ("timestamp", "20240531101112", datetime.datetime(2024, 5, 31, 10, 11, 12)),
        ("timestamp", 0.5, datetime.datetime(1970, 1, 1, 0, 0, 0, 500_000)),
        ("timestamp", 1e300, MISFIT),
        ("timestamp", True, MISFIT),
        ("timestamp", "soon", MISFIT),
        ("timestamp", "0001-01-01T00:00:00+05:00", MISFIT),
        ("float", None, None),
    ],
)
def test_a_value_converts_or_is_counted(kind: ColumnType, value: Any, expected: Any) -> None:
    assert converted(kind, value) == expected


def test_columns_of_other_inputs_are_null() -> None:
    one = InputSettings(source="one", paths=["in"], columns={"a": "int"})
    other = InputSettings(source="other", paths=["in"], columns={"b": "float"})
    made = typed(pa.array(['{"a": 1}', None]), one, schema([one, other]))
    assert made.table.to_pydict() == {"a": [1, None], "b": [None, None]}
    assert made.table.schema.types == [pa.int64(), pa.float64()]
