"""Computes values of formulas: constants, columns and functions, as Arrow arrays or scalars."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.statistics.ranks import average_ranks

SHORT = 60  # characters of a formula that a message shows
_MOST_FLOAT = 1 << 1023

Numbers = npt.NDArray[np.float64]
Value = Any
"""An Arrow array of the table's rows, or a scalar of all of them."""


class FormulaError(Exception):
    """Reports what is wrong with a formula."""


class Function(NamedTuple):
    """Holds a function of formulas, which takes `least` to `most` values of type `kind`."""

    compute: Callable[..., Value]
    kind: str
    least: int
    most: int


def finite(value: Value) -> Value:
    """Returns numbers with null for what is infinite or not a number."""
    return pc.if_else(pc.is_finite(value), value, pa.scalar(None, pa.float64()))


def _number_function(compute: Callable[..., Value], least: int = 1, most: int = 1) -> Function:
    return Function(lambda *values: finite(compute(*values)), "number", least, most)


def _element_wise(compute: Callable[..., Value]) -> Function:
    return _number_function(lambda *values: compute(*values, skip_nulls=False), 1, 64)


def _row_wise(compute: Callable[[Numbers], Numbers], least: int = 1, *, known: bool = False) -> Function:
    """A function of the numbers of each row, [rows, values].

    It is null where one of them is missing; with `known` only where all are, and NaN stands for what is missing.
    """

    def computed(*values: Value) -> Value:
        rows = {len(value) for value in values if not isinstance(value, pa.Scalar)} or {1}
        table = np.stack([_column(value, max(rows)) for value in values], axis=1)
        gaps = np.isnan(table)
        null = gaps.all(axis=1) if known else gaps.any(axis=1)
        made = np.full(len(table), np.nan)
        with np.errstate(all="ignore"):
            made[~null] = compute(table[~null])
        column = pa.array(made, mask=null)
        return column[0] if all(isinstance(value, pa.Scalar) for value in values) else column

    return _number_function(computed, least, 64)


def _column(value: Value, rows: int) -> Numbers:
    """The numbers of a column, or of a constant for every row, NaN where one is missing."""
    array = pa.array([value.as_py()] * rows) if isinstance(value, pa.Scalar) else value
    return np.asarray(pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _trend(table: Numbers) -> Numbers:
    """Spearman's correlation of the values of each row with their order, NaN where they are all equal."""
    ranks = average_ranks(table.T).T if len(table) else table
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    order = np.arange(table.shape[1]) - (table.shape[1] - 1) / 2
    return np.asarray(centred @ order / np.sqrt((centred**2).sum(axis=1) * (order**2).sum()))


FUNCTIONS: Mapping[str, Function] = {
    "abs": _number_function(pc.abs),
    "ceil": _number_function(pc.ceil),
    "clip": _number_function(
        lambda value, low, high: pc.min_element_wise(
            pc.max_element_wise(value, low, skip_nulls=False), high, skip_nulls=False
        ),
        3,
        3,
    ),
    "coalesce": Function(pc.coalesce, "same", 1, 64),
    "exp": _number_function(pc.exp),
    "floor": _number_function(pc.floor),
    "is_null": Function(pc.is_null, "any", 1, 1),
    "log": _number_function(pc.ln),
    "log10": _number_function(pc.log10),
    "max": _element_wise(pc.max_element_wise),
    "mean": _row_wise(lambda table: table.mean(axis=1)),
    "mean_known": _row_wise(lambda table: np.nanmean(table, axis=1), known=True),
    "min": _element_wise(pc.min_element_wise),
    "sqrt": _number_function(pc.sqrt),
    "trend": _row_wise(_trend, 2),
    "variance": _row_wise(lambda table: table.var(axis=1)),
}
"""What can be called of the values of one document."""


def said(node: ast.AST) -> str:
    """Returns a part of a formula as it is written, cut short for a message."""
    text = ast.unparse(node)
    return text if len(text) <= SHORT else f"{text[: SHORT - 3]}..."


def constant(node: ast.Constant) -> pa.Scalar:
    """Returns the value of a constant; raises FormulaError for what is no number, string or truth value."""
    match node.value:
        case bool():
            return pa.scalar(node.value)
        case int() | float() if abs(node.value) < _MOST_FLOAT:
            return pa.scalar(float(node.value))
        case str() if node.value.isprintable():
            return pa.scalar(node.value)
    raise FormulaError(f"must have numbers, printable strings, True and False as constants, got {said(node)!r}")


def readable(name: str, column: Value) -> Value:
    """Returns a column with NaN as null; raises FormulaError where formulas cannot read its type."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type):
        column = column.cast(pa.string())
    if kind_of(column.type) == "another kind":
        raise FormulaError(f"must name columns of numbers, booleans, strings or times, got {name!r} of {column.type}")
    return finite(pc.cast(column, pa.float64())) if pa.types.is_floating(column.type) else column


def kind_of(kind: pa.DataType) -> str:
    """Returns what values of a type are called in messages."""
    if pa.types.is_boolean(kind):
        return "a condition"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "a number"
    if pa.types.is_string(kind):
        return "a string"
    return "a time" if pa.types.is_timestamp(kind) else "another kind"


def as_time(value: Value, kind: pa.DataType, node: ast.expr) -> Value:
    """Returns a string constant as a time; raises FormulaError for anything else."""
    if isinstance(value, pa.Scalar):
        try:
            return pc.cast(value, kind)
        except pa.ArrowInvalid:
            pass
    raise FormulaError(f"must compare a time with a time such as '2024-05-31', got {said(node)!r}")


def spread(value: Value, rows: int) -> pa.Array:
    """Returns a value, of every row or of all rows, as one array."""
    if isinstance(value, pa.Scalar):
        return pa.array([value.as_py()] * rows, value.type)
    return value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
