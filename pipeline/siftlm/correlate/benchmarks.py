"""Reads benchmark errors of models, from tables or harness results, and matches them with the models of a matrix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.correlate.clean import bare_model
from siftlm.correlate.harness import read_harness
from siftlm.correlate.matrix import LossMatrix
from siftlm.correlate.settings import BenchmarkSettings
from siftlm.correlate.tables import NamedTable, models_of, read_table, table_of_cells, to_float64
from siftlm.errors import UserError
from siftlm.findings import Finding, finding_of, name_some

BENCHMARK_COLUMNS = ("benchmark", "task", "benchmarks", "tasks")


@dataclass(frozen=True)
class BenchmarkTarget:
    """Holds the errors, in one benchmark or group of benchmarks, of the models that the matrix has too.

    `errors[k]` belongs to `matrix.models[k]`; at least some errors differ.
    """

    name: str
    benchmarks: list[str]
    matrix: LossMatrix
    errors: npt.NDArray[np.float64]


def read_benchmarks(settings: BenchmarkSettings) -> tuple[NamedTable, list[Finding]]:
    """Returns benchmark errors from a table or a folder of harness results, and findings about what was left out.

    Rows are benchmarks, columns models by name; lower is better, NaN where a model has none.
    """
    if os.path.isdir(settings.path):
        table, findings = read_harness(settings.path, settings.metrics)
    else:
        table, findings = _read_errors(settings)
    order = sorted(range(len(table.columns)), key=table.columns.__getitem__)
    models = [table.columns[k] for k in order]
    return NamedTable(table.rows, models, table.values[:, order]), findings


def _read_errors(settings: BenchmarkSettings) -> tuple[NamedTable, list[Finding]]:
    raw = read_table(settings.path)
    names = set(raw.column_names)
    is_long = {"model", "benchmark"} <= names and names & {"error", "accuracy"}
    if settings.layout == "long" or (settings.layout == "auto" and is_long):
        return _as_errors(_long_errors(raw, settings), settings), []
    by_model, findings = models_of(raw, settings, BENCHMARK_COLUMNS)
    return _as_errors(by_model.transposed(), settings), findings


def _as_errors(table: NamedTable, settings: BenchmarkSettings) -> NamedTable:
    if settings.values == "accuracy":
        return NamedTable(table.rows, table.columns, 1.0 - table.values)
    return table


def _long_errors(raw: pa.Table, settings: BenchmarkSettings) -> NamedTable:
    value_column = "accuracy" if settings.values == "accuracy" and "accuracy" in raw.column_names else "error"
    for name in ("model", "benchmark", value_column):
        if name not in raw.column_names:
            raise UserError(
                f"{settings.path}: a long table must have a column {name!r}, got {name_some(raw.column_names)}"
            )
    numbers, bad = to_float64(raw.column(value_column))
    if bad:
        cell = raw.column(value_column)[bad[0]].as_py()
        raise UserError(f"{settings.path}: column {value_column!r} must hold numbers, got {cell!r}")
    models = [str(name) for name in raw.column("model").to_pylist()]
    benchmarks = [str(name) for name in raw.column("benchmark").to_pylist()]
    cells: dict[tuple[str, str], float] = {}
    for benchmark, model, number in zip(benchmarks, models, numbers.tolist(), strict=True):
        if (benchmark, model) in cells:
            raise UserError(
                f"{settings.path}: must have one row a model and benchmark, got two of {model!r}, {benchmark!r}"
            )
        cells[benchmark, model] = number
    return table_of_cells(cells)


def match_models(wanted: Sequence[str], offered: Sequence[str]) -> dict[int, int]:
    """Returns a map from positions in `wanted` to the positions in `offered` of the same models.

    By the whole name first; else by the name without its family, so that a matrix and a table of errors that
    file one model under different families still meet. The offered name that sorts first wins.
    """
    exact = {name: index for index, name in enumerate(offered)}
    bare: dict[str, int] = {}
    for index in sorted(range(len(offered)), key=offered.__getitem__):
        bare.setdefault(bare_model(offered[index]), index)
    matches = ((position, exact.get(name, bare.get(bare_model(name)))) for position, name in enumerate(wanted))
    return {position: match for position, match in matches if match is not None}


def match_targets(
    matrix: LossMatrix, errors: NamedTable, groups: dict[str, list[str]], fewest_models: int = 5
) -> tuple[list[BenchmarkTarget], list[Finding]]:
    """Returns a target for each group or benchmark with its matched models, and findings about what did not match.

    The error of a group is the plain mean over its benchmarks; a model that lacks one of them is left out of
    the group. A benchmark with one error for all models orders nothing and is left out with a finding.

    Raises:
        UserError: A group names an unknown benchmark, or fewer than `fewest_models` models match.
    """
    pairs = match_models(matrix.models, errors.columns)
    findings = _unmatched(matrix.models, errors.columns, pairs)
    if len(pairs) < fewest_models:
        raise UserError(
            f"benchmarks: at least {fewest_models} models must be in the matrix and in the errors, "
            f"got {len(pairs)}; the matrix has {name_some(matrix.models, 3)}, "
            f"the errors {name_some(errors.columns, 3)}"
        )
    targets: list[BenchmarkTarget] = []
    for name, members in (groups or {benchmark: [benchmark] for benchmark in errors.rows}).items():
        rows = [_row_of(errors, name, member) for member in members]
        matched, defects = _target(name, members, matrix, errors.values[rows], pairs, fewest_models)
        targets += matched
        findings += defects
    return targets, findings


def _row_of(errors: NamedTable, group: str, benchmark: str) -> int:
    if benchmark not in errors.rows:
        raise UserError(
            f"benchmarks.groups.{group}: must name benchmarks, got {benchmark!r}; "
            f"there are {name_some(errors.rows, 20)}"
        )
    return errors.rows.index(benchmark)


def _unmatched(matrix_models: list[str], error_models: list[str], pairs: dict[int, int]) -> list[Finding]:
    without = [name for k, name in enumerate(matrix_models) if k not in pairs]
    known = {bare_model(name) for name in matrix_models}
    unused = [name for name in error_models if bare_model(name) not in known]
    return [
        *finding_of("model_without_errors", without, "models of the matrix without benchmark errors"),
        *finding_of("model_without_matrix", unused, "models with benchmark errors that are not in the matrix"),
    ]


def _target(
    name: str,
    members: list[str],
    matrix: LossMatrix,
    values: npt.NDArray[np.float64],
    pairs: dict[int, int],
    fewest_models: int,
) -> tuple[list[BenchmarkTarget], list[Finding]]:
    positions = np.array(list(pairs), np.intp)
    errors = values[:, list(pairs.values())].mean(axis=0)  # NaN where one of the group is missing
    measured = np.isfinite(errors)
    lacking = [matrix.models[k] for k in positions[~measured]]
    detail = f"models without an error for every benchmark of {name!r}"
    findings = finding_of("missing_error", lacking, detail, "left out of the target")
    if measured.sum() < fewest_models:
        raise UserError(
            f"benchmarks.groups.{name}: at least {fewest_models} models must have errors, got {int(measured.sum())}"
        )
    if np.ptp(errors[measured]) == 0:
        detail = "the same error for all models orders nothing"
        return [], [*findings, Finding("constant_benchmark", repr(name), 1, detail, "left out")]
    return [
        BenchmarkTarget(name, list(members), matrix.select(positions[measured].tolist()), errors[measured])
    ], findings
