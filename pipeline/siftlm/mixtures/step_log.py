"""Reads a log of losses, a row for every step and domain, that a method is replayed on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.correlate.tables import read_table, to_float64
from siftlm.errors import UserError
from siftlm.findings import name_some

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LoggedStep:
    """Holds the rows of one step: the domain of each, its tokens, and its columns, float64[rows] each."""

    step: float
    domains: Ints
    tokens: Floats
    columns: dict[str, Floats]


@dataclass(frozen=True)
class StepLog:
    """Holds the rows of a log in the order of the steps.

    Attributes:
        domains: Names of the domains, sorted.
        steps: float64[rows], ascending.
        numbers: int64[rows], the domain of each.
        tokens: float64[rows], what a row is the mean of; 1 where nothing says it.
        columns: float64[rows] each, NaN where there is no number.
    """

    domains: tuple[str, ...]
    steps: Floats
    numbers: Ints
    tokens: Floats
    columns: dict[str, Floats]

    def __iter__(self) -> Iterator[LoggedStep]:
        """Yields the steps in their order."""
        edges = np.flatnonzero(np.diff(self.steps, prepend=np.nan, append=np.nan) != 0)
        for first, last in pairwise(edges.tolist()):
            rows = slice(first, last)
            columns = {name: values[rows] for name, values in self.columns.items()}
            yield LoggedStep(float(self.steps[first]), self.numbers[rows], self.tokens[rows], columns)

    def losses(self, step: LoggedStep, column: str = "loss") -> tuple[Floats, Floats]:
        """Returns the mean loss of every domain in a step, NaN without rows, and its share of the tokens."""
        values = step.columns[column]
        known = np.where(np.isnan(values), 0.0, step.tokens)
        sizes = np.bincount(step.domains, known, len(self.domains))
        sums = np.bincount(step.domains, np.where(known > 0, values * known, 0.0), len(self.domains))
        means = np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1), np.nan)
        return means, sizes / max(sizes.sum(), 1e-300)


def read_log(path: str, columns: Sequence[str]) -> StepLog:
    """Returns the log in a CSV or Parquet file with the columns step, domain, those named, and perhaps tokens.

    Raises:
        UserError: the file cannot be read, lacks a column, or has an infinite loss or something that is no number.
    """
    table = read_table(path)
    for name in ("step", "domain", *columns):
        if name not in table.column_names:
            raise UserError(f"{path}: must have the column {name!r}, got {name_some(table.column_names)}")
    if not table.num_rows:
        raise UserError(f"{path}: must have a row for every step and domain, got none")
    steps = _numbers(path, table, "step")
    if not np.isfinite(steps).all():
        raise UserError(f"{path}: column 'step' must hold numbers, got none in row {_row(~np.isfinite(steps))}")
    values = {name: _numbers(path, table, name) for name in columns}
    tokens = _numbers(path, table, "tokens") if "tokens" in table.column_names else np.ones(len(steps))
    if (wrong := ~((tokens > 0) & np.isfinite(tokens))).any():
        raise UserError(f"{path}: column 'tokens' must hold numbers above 0, got others in row {_row(wrong)}")
    for name, column in values.items():
        if np.isinf(column).any():
            raise UserError(
                f"{path}: column {name!r} must hold finite numbers, got others in row {_row(np.isinf(column))}"
            )
        if np.isnan(column).all():
            raise UserError(f"{path}: column {name!r} must hold a number, got none in any row")
    names = table["domain"].cast(pa.string()).to_pylist()
    if (unnamed := next((row for row, name in enumerate(names, 1) if not name), None)) is not None:
        raise UserError(f"{path}: column 'domain' must name domains, got none in row {unnamed}")
    domains = sorted(set(names))
    place = {name: number for number, name in enumerate(domains)}
    numbers, order = np.array([place[name] for name in names], np.int64), np.argsort(steps, kind="stable")
    ordered = {name: column[order] for name, column in values.items()}
    return StepLog(tuple(domains), steps[order], numbers[order], tokens[order], ordered)


def _row(where: npt.NDArray[np.bool_]) -> int:
    """The number of the first row, from 1."""
    return int(np.argmax(where)) + 1


def _numbers(path: str, table: pa.Table, name: str) -> Floats:
    values, bad = to_float64(table[name])
    if bad:
        cell = table[name][bad[0]].as_py()
        raise UserError(f"{path}: column {name!r} must hold numbers, got {cell!r} in row {bad[0] + 1}")
    return np.asarray(values, np.float64)
