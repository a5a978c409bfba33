"""Reads matrices with named rows and columns, such as how much every domain teaches of every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.correlate.tables import read_table, to_float64
from siftlm.errors import UserError
from siftlm.findings import name_some

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NamedMatrix:
    """Holds the names of rows and columns, and float64[rows, columns]."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats

    def ordered(self, place: str, rows: Sequence[str], columns: Sequence[str]) -> Floats:
        """Returns the values of rows and columns by name; raises UserError at `place` where one is not there."""
        for known, wanted, what in ((self.rows, rows, "row"), (self.columns, columns, "column")):
            if missing := [name for name in wanted if name not in known]:
                raise UserError(f"{place}: must have a {what} for {missing[0]!r}, got {name_some(known)}")
        return self.values[np.ix_([self.rows.index(n) for n in rows], [self.columns.index(n) for n in columns])]


def read_matrix(path: str, name_column: str = "domain") -> NamedMatrix:
    """Returns the matrix in a CSV or Parquet file, whose rows are named in a column.

    Raises:
        UserError: the file cannot be read, the column is not there, a name stands twice, or a cell is no finite number.
    """
    table = read_table(path)
    if name_column not in table.column_names or not table.num_rows:
        raise UserError(f"{path}: must have rows and the column {name_column!r}, got {name_some(table.column_names)}")
    rows = [str(name) for name in table[name_column].to_pylist()]
    columns = [name for name in table.column_names if name != name_column]
    for names in (rows, columns):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{path}: must name every row and column once, got {twice!r} twice")
    made = []
    for name in columns:
        values, bad = to_float64(table[name])
        if bad or not np.isfinite(values).all():
            row = bad[0] if bad else int(np.argmin(np.isfinite(values)))
            cell = table[name][row].as_py()
            raise UserError(f"{path}: column {name!r} must hold finite numbers, got {cell!r} for {rows[row]!r}")
        made.append(values)
    return NamedMatrix(tuple(rows), tuple(columns), np.stack(made, axis=1))
