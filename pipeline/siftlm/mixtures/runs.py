"""Reads runs of small models on mixtures of domains: the shares that each was trained on, and its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from siftlm.correlate.tables import read_table, to_float64
from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.paths import ReadPath
from siftlm.settings import Settings

Floats = npt.NDArray[np.float64]

RUN_COLUMNS = ("run", "run_id", "index", "id", "name")
UNNAMED = ("", "unnamed: 0", "unnamed: 0.1", "__index_level_0__")
"""How pandas calls a column that numbers rows."""
ROUNDING = 0.02
"""Shares of a run that miss 1 by no more were rounded, and are divided by their sum."""


class RunsSettings(Settings):
    """Configures where the runs are: one table with shares and losses, or two with a run a row each."""

    runs: ReadPath = Field(description="CSV or Parquet, a row a run, with the shares of the domains.")
    losses: ReadPath | None = Field(None, description="The losses, where they are in a table of their own.")
    run: str | None = Field(
        None, description="The column that names runs; by default run, run_id, index, id or name, where there is one."
    )
    share_columns: str | None = Field(
        None, description="Columns of shares, `*` standing for the name of the domain; by default `share_*`, or of two "
        "tables without these all that do not name runs.",
    )  # fmt: skip
    loss_columns: str | None = Field(
        None, description="Columns of losses, `*` standing for the name of the target; by default `loss_*`, or as for "
        "shares.",
    )  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """Holds the runs of a table.

    Attributes:
        domains: Names of the domains.
        targets: Names of the losses.
        shares: float64[runs, domains], each row adding up to 1.
        losses: float64[runs, targets], NaN where a run has no such loss.
    """

    domains: tuple[str, ...]
    targets: tuple[str, ...]
    shares: Floats
    losses: Floats

    def __len__(self) -> int:
        return len(self.shares)


def read_runs(settings: RunsSettings) -> Runs:
    """Returns the runs of one or two tables; raises UserError with the table, the run and the column.

    Two tables are those of olmix's too (allenai/olmix, docs/cli/fit.md): ratios and metrics, joined by `run` or
    `run_id`, whose other columns but `name`, `index` and unnamed ones are domains and losses.
    """
    table = read_table(settings.runs)
    other = read_table(settings.losses) if settings.losses else table
    loss_path = settings.losses or settings.runs
    names, wanted = (_names(settings, path, of) for path, of in ((settings.runs, table), (loss_path, other)))
    share_columns, domains = _matching(settings, settings.runs, table, "share")
    loss_columns, targets = _matching(settings, loss_path, other, "loss")
    shares = _checked(settings.runs, _numbers(settings.runs, table, share_columns), names, domains)
    losses = _numbers(loss_path, other, loss_columns)
    if settings.losses:
        losses = losses[_places(settings, names, wanted)]
    losses[~np.isfinite(losses)] = np.nan
    return Runs(tuple(domains), tuple(targets), shares, losses)


def read_columns(path: str, columns: Sequence[str]) -> Floats:
    """Returns columns of numbers of a table, float64[rows, columns]; raises UserError where one is missing."""
    table = read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise UserError(f"{path}: must have the column {missing[0]!r}, got {name_some(table.column_names)}")
    return _numbers(path, table, columns)


def _run_column(settings: RunsSettings, table: pa.Table) -> str | None:
    return settings.run or next((name for name in RUN_COLUMNS if name in table.column_names), None)


def _names(settings: RunsSettings, path: str | None, table: pa.Table) -> list[str]:
    """The names of the runs of a table, or their numbers from 1."""
    column = _run_column(settings, table)
    if column is None:
        return [str(number + 1) for number in range(table.num_rows)]
    if column not in table.column_names:
        raise UserError(f"{path}: must have the column {column!r} of mix.run, got {name_some(table.column_names)}")
    return [str(value) for value in table[column].to_pylist()]


def _matching(settings: RunsSettings, path: str, table: pa.Table, what: str) -> tuple[list[str], list[str]]:
    """The columns of shares or losses, and what `*` stands for in each."""
    run, given = _run_column(settings, table), getattr(settings, f"{what}_columns")
    others = [name for name in table.column_names if name != run]
    pattern = given or f"{what}_*"
    found = [name for name in others if fnmatchcase(name, pattern)]
    if not found and given is None and settings.losses:
        pattern = "*"
        found = [name for name in others if name.strip().lower() not in (*RUN_COLUMNS, *UNNAMED)]
    if not found:
        raise UserError(f"{path}: must have columns like {pattern!r}, got {name_some(table.column_names)}")
    before, _, behind = pattern.partition("*")
    return found, [name.removeprefix(before).removesuffix(behind) for name in found]


def _numbers(path: str, table: pa.Table, columns: Sequence[str]) -> Floats:
    made = []
    for name in columns:
        values, bad = to_float64(table[name])
        if bad:
            cell = table[name][bad[0]].as_py()
            raise UserError(f"{path}: column {name!r} must hold numbers, got {cell!r} in row {bad[0] + 1}")
        made.append(values)
    return np.column_stack(made)


def _places(settings: RunsSettings, names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The row of the losses of every run; the rows of both tables are alike where none is named."""
    place = {name: row for row, name in enumerate(wanted)}
    for path, of in ((settings.runs, names), (settings.losses, wanted)):
        if len(set(of)) < len(of):
            twice = next(name for name in of if list(of).count(name) > 1)
            raise UserError(f"{path}: must have a row a run, got the run {twice!r} twice")
    if missing := [name for name in names if name not in place]:
        raise UserError(f"{settings.losses}: must have the losses of every run, got none of {name_some(missing)}")
    return [place[name] for name in names]


def _checked(path: str, shares: Floats, names: Sequence[str], domains: Sequence[str]) -> Floats:
    """Shares that add up to 1 in every run."""
    wrong = ~(np.isfinite(shares) & (shares >= 0))
    if wrong.any():
        run, domain = (int(place[0]) for place in np.nonzero(wrong))
        raise UserError(
            f"{path}: shares must be numbers from 0, got {shares[run, domain]:g} of {domains[domain]!r} in run "
            f"{names[run]!r}"
        )
    sums = shares.sum(axis=1)
    if (far := np.abs(sums - 1) > ROUNDING).any():
        run = int(np.argmax(far))
        raise UserError(f"{path}: the shares of a run must add up to 1, got {sums[run]:g} in run {names[run]!r}")
    return np.asarray(shares / sums[:, None])
