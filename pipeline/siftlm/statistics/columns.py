"""Reads Arrow columns as numpy arrays, with a mask of the values that are missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.errors import UserError
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array


def column(columns: pa.RecordBatch | pa.Table, name: str) -> pa.Array:
    """Returns the column with this name as one Arrow array, without dictionary encoding."""
    index = columns.schema.get_field_index(name)
    assert index >= 0, f"no single column {name!r} among {columns.schema.names}"
    values = columns.column(index)
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def numbers(columns: pa.RecordBatch | pa.Table, name: str) -> tuple[Float64Array | Int64Array, BoolArray]:
    """Returns a column of numbers as int64 or float64, and a mask of its missing values.

    Integers and booleans become int64, floats float64. Null and NaN are missing, and 0 among the numbers.

    Raises:
        UserError: the column holds no numbers.
    """
    values = column(columns, name)
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    integral, floating = pa.types.is_integer(values.type), pa.types.is_floating(values.type)
    if not integral and not floating and not pa.types.is_null(values.type):
        raise UserError(f"column: must be a column of numbers, got {name!r} of {values.type}")
    missing = np.asarray(pc.is_null(values, nan_is_null=floating))
    target = pa.int64() if integral else pa.float64()
    dense = np.asarray(values.cast(target).fill_null(0))
    return (np.where(missing, 0, dense) if floating and missing.any() else dense), missing
