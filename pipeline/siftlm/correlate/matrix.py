"""Holds, reads and writes the matrix of bits per byte, models by units, with exact sums."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.correlate.settings import MatrixSettings
from siftlm.correlate.tables import NamedTable, models_of, read_table, to_float64, write_table
from siftlm.errors import UserError
from siftlm.findings import Finding, name_some
from siftlm.statistics.units import bits_per_byte

UNIT_COLUMNS = ("unit", "id", "domain", "page", "chunk", "url", "doc_id")

LONG_SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("nll_sum", pa.float64()),  # nats
        pa.field("byte_count", pa.int64()),
        pa.field("token_count", pa.int64()),  # predicted tokens
        pa.field("page_count", pa.int64()),
        pa.field("bits_per_byte", pa.float64()),
    ]
)
"""A matrix in long form, one row a model and unit: the form that keeps the sums."""


@dataclass(frozen=True)
class LossMatrix:
    """Holds bits per byte `values[models, units]`, float64, NaN where a model has no value for a unit."""

    models: list[str]
    units: list[str]
    values: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        assert self.values.shape == (len(self.models), len(self.units)), (self.values.shape, len(self.models))

    def select(self, models: Sequence[int], units: Sequence[int] | None = None) -> LossMatrix:
        """Returns the matrix of the models and units at the given positions."""
        columns = range(len(self.units)) if units is None else units
        values = self.values[np.ix_(list(models), list(columns))]
        return LossMatrix([self.models[k] for k in models], [self.units[j] for j in columns], values)

    def sorted(self) -> LossMatrix:
        """Returns the matrix with models and units in the order of their names, whatever the order in a file."""
        by_model = sorted(range(len(self.models)), key=self.models.__getitem__)
        by_unit = sorted(range(len(self.units)), key=self.units.__getitem__)
        return self.select(by_model, by_unit)


def sum_by_unit(
    model: str,
    units: Sequence[str],
    nll_sum: npt.NDArray[np.float64],
    byte_count: npt.NDArray[np.int64],
    token_count: npt.NDArray[np.int64],
) -> pa.Table:
    """Returns a model's nats, bytes and tokens summed over the documents of each unit, as rows of `LONG_SCHEMA`.

    Rows are sorted by unit. The nats of a unit are added without rounding in between (`math.fsum`), so the order of
    documents, shards and workers changes no bit. A document whose nll_sum is NaN makes its unit NaN: the unit has not
    been scored. Tables of several models are concatenated to a matrix.
    """
    names, inverse = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(names) + 1))
    nats = pa.array(_exact_sums(np.asarray(nll_sum, np.float64)[order], starts))
    sizes, tokens = (pa.array(np.add.reduceat(count[order], starts[:-1])) for count in (byte_count, token_count))
    rates = np.asarray(bits_per_byte(nats, sizes))  # NaN for a unit without bytes
    columns = [[model] * len(names), names.tolist(), nats, sizes, tokens, np.diff(starts), rates]
    return pa.table(columns, schema=LONG_SCHEMA)


def _exact_sums(values: npt.NDArray[np.float64], bounds: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """The sums between neighbouring bounds, each rounded once."""
    return np.array([math.fsum(values[a:b]) for a, b in pairwise(bounds)], np.float64)


def matrix_of_long(table: pa.Table, place: str = "matrix") -> LossMatrix:
    """Returns the matrix of a long table, models and units sorted by name.

    Rows of one model and unit are added up where the table has `nll_sum` and `byte_count`; a table with
    `bits_per_byte` alone must have one row for each.
    """
    models, model_index = _codes(table, "model")
    units, unit_index = _codes(table, "unit")
    cell = model_index * len(units) + unit_index
    size = len(models) * len(units)
    if {"nll_sum", "byte_count"} <= set(table.column_names):
        values = _summed_cells(table, cell, size)
    else:
        values = _single_cells(table, place, cell, size)
    return LossMatrix(models, units, values.reshape(len(models), len(units)))


def _codes(table: pa.Table, column: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    names, codes = np.unique(table.column(column).to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    return [str(name) for name in names], codes.astype(np.int64)


def _numbers(table: pa.Table, place: str, column: str) -> npt.NDArray[np.float64]:
    values, bad = to_float64(table.column(column))
    if bad:
        cell = table.column(column)[bad[0]].as_py()
        raise UserError(f"{place}: column {column!r} must hold numbers, got {cell!r} in row {bad[0] + 1}")
    return values


def _summed_cells(table: pa.Table, cell: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    nats = _numbers(table, "matrix", "nll_sum")
    counts = _numbers(table, "matrix", "byte_count")
    order = np.argsort(cell, kind="stable")
    present, starts = np.unique(cell[order], return_index=True)
    bounds = np.append(starts, len(order))
    values = np.full(size, np.nan)
    values[present] = bits_per_byte(*(pa.array(_exact_sums(column[order], bounds)) for column in (nats, counts)))
    return values


def _single_cells(table: pa.Table, place: str, cell: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.float64]:
    if "bits_per_byte" not in table.column_names:
        raise UserError(
            f"{place}: a long matrix must have nll_sum and byte_count, or bits_per_byte, "
            f"got {name_some(table.column_names)}"
        )
    if len(np.unique(cell)) != len(cell):
        raise UserError(f"{place}: a long matrix of bits_per_byte must have one row a model and unit, got several")
    values = np.full(size, np.nan)
    values[cell] = _numbers(table, place, "bits_per_byte")
    return values


def read_matrix(settings: MatrixSettings) -> tuple[LossMatrix, list[Finding]]:
    """Returns the matrix in a file, models and units sorted by name, and findings about what was left out."""
    table = read_table(settings.path)
    if settings.layout == "long" or (settings.layout == "auto" and {"model", "unit"} <= set(table.column_names)):
        return matrix_of_long(table, settings.path), []
    by_model, findings = models_of(table, settings, UNIT_COLUMNS)
    return LossMatrix(by_model.rows, by_model.columns, by_model.values).sorted(), findings


def write_matrix(matrix: LossMatrix, path: str, layout: str = "rows_are_units") -> None:
    """Writes bits per byte alone to a table, in the published orientation (`rows_are_units`) or the other."""
    wide, name = NamedTable(matrix.models, matrix.units, matrix.values), "model"
    if layout == "rows_are_units":
        wide, name = wide.transposed(), "id"
    columns = [pa.array(wide.rows, pa.string()), *(pa.array(column) for column in wide.values.T)]
    write_table(pa.Table.from_arrays(columns, [name, *wide.columns]), path)
