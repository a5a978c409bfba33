"""Reports defects of a matrix of bits per byte, and removes them as the settings say."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from siftlm.correlate.matrix import LossMatrix
from siftlm.correlate.settings import CleanSettings
from siftlm.errors import UserError
from siftlm.findings import Finding, finding_of, name_some

Step = Callable[[LossMatrix, CleanSettings], tuple[LossMatrix, list[Finding]]]


def _family_and_model(name: str) -> tuple[str, str]:
    """The parts of the published tables' `('amber', 'LLM360/Amber')`; else what stands before a slash, and the name."""
    if name.startswith("("):
        try:
            pair = ast.literal_eval(name)
        except (ValueError, SyntaxError):
            pair = None
        if isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair):
            return pair
    return name.split("/", 1)[0], name


def bare_model(name: str) -> str:
    """Returns the model in a column name of the published tables: `LLM360/Amber` for `('amber', 'LLM360/Amber')`."""
    return _family_and_model(name)[1]


def family_of(name: str) -> str:
    """Returns the family in a column name: `amber` for `('amber', 'LLM360/Amber')`, else the text before a slash."""
    return _family_and_model(name)[0]


def inspect_matrix(matrix: LossMatrix) -> list[Finding]:
    """Returns a finding for every defect that `clean_matrix` looks for, without removing it or raising an error."""
    keep_all = CleanSettings(duplicate_models="keep_all", negative="keep", constant="keep", missing="drop_units")
    steps = (_negative_values, _duplicate_models, _constant_models, _constant_units, _missing_values)
    return [replace(finding, action="reported") for step in steps for finding in step(matrix, keep_all)[1]]


def clean_matrix(matrix: LossMatrix, settings: CleanSettings | None = None) -> tuple[LossMatrix, list[Finding]]:
    """Returns a matrix of finite numbers without the defects that the policy removes, and a finding for each defect.

    In this order: negative values, duplicate models, constant models, missing values, constant units. Models
    and units come back sorted by name, so nothing depends on the order of a file.

    Raises:
        UserError: The policy for a defect is to stop, or no model or no unit is left.
    """
    settings = settings or CleanSettings()
    matrix, findings = matrix.sorted(), []
    for step in STEPS:
        matrix, defects = step(matrix, settings)
        findings += defects
    if not matrix.models or not matrix.units:
        reasons = "; ".join(str(finding) for finding in findings) or "it was empty"
        raise UserError(f"matrix: must keep a model and a unit, got {matrix.values.shape} after cleaning: {reasons}")
    return matrix, findings


def _stop_if(policy: str, setting: str, findings: list[Finding]) -> None:
    if policy == "stop" and findings:
        defect = f"{findings[0].kind}: {findings[0].detail}"
        raise UserError(f"matrix.clean.{setting}: must find nothing to stop at, got {defect}")


def _negative_values(matrix: LossMatrix, settings: CleanSettings) -> tuple[LossMatrix, list[Finding]]:
    negative = matrix.values < 0
    if not negative.any():
        return matrix, []
    models = [matrix.models[k] for k in np.flatnonzero(negative.any(axis=1))]
    detail = f"{int(negative.sum())} values of bits per byte below 0, lowest {np.nanmin(matrix.values):.6g}"
    if negative.mean() > 0.5:
        detail += " (log-likelihoods? bits per byte are positive, lower is better)"
    action = "kept" if settings.negative == "keep" else "taken as missing"
    finding = Finding("negative_value", name_some(models), int(negative.sum()), detail, action)
    _stop_if(settings.negative, "negative", [finding])
    if settings.negative == "keep":
        return matrix, [finding]
    return LossMatrix(matrix.models, matrix.units, np.where(negative, np.nan, matrix.values)), [finding]


def same_values(values: npt.NDArray[np.float64], tolerance: float) -> list[tuple[int, int, float]]:
    """Returns (kept, duplicate, largest relative difference) for pairs of rows that are equal to within `tolerance`.

    Missing values are values here.

    Rows are compared where their means agree, so the cost is that of sorting the rows, not of all pairs.
    """
    finite = np.isfinite(values)
    means = np.where(finite, values, 0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    order = np.argsort(means, kind="stable")
    pairs = []
    for place, first in enumerate(order):
        for second in order[place + 1 :]:
            if abs(means[second] - means[first]) > 2 * tolerance * abs(means[first]):
                break
            gap = _relative_gap(values[first], values[second])
            if gap <= tolerance:
                pairs.append((int(min(first, second)), int(max(first, second)), gap))
    return sorted(pairs)


def _relative_gap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    if (np.isfinite(a) != np.isfinite(b)).any():
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), np.finfo(float).tiny)
    return float((np.abs(a - b) / scale).max(initial=0.0))


def _duplicate_models(matrix: LossMatrix, settings: CleanSettings) -> tuple[LossMatrix, list[Finding]]:
    drop: dict[int, Finding] = {}
    keep_all = settings.duplicate_models == "keep_all"

    def note(kind: str, first: int, second: int, gap: float) -> None:
        kept, other = matrix.models[first], matrix.models[second]
        detail = f"{other!r} is {kept!r} again (largest relative difference {gap:.3g})"
        finding = Finding(kind, other, 1, detail, "kept" if keep_all else f"left out, {kept!r} stays")
        _stop_if(settings.duplicate_models, "duplicate_models", [finding])
        drop.setdefault(second, finding)

    for first, second, gap in same_values(matrix.values, settings.duplicate_tolerance):
        if first not in drop:
            note("duplicate_model", first, second, gap)
    seen: dict[str, int] = {}
    for k, name in enumerate(matrix.models):
        first = seen.setdefault(bare_model(name), k)
        if first != k and k not in drop:
            gap = _relative_gap(matrix.values[first], matrix.values[k])
            note("model_under_two_names", first, k, gap)
    findings = [drop[k] for k in sorted(drop)]
    if keep_all or not drop:
        return matrix, findings
    return matrix.select([k for k in range(len(matrix.models)) if k not in drop]), findings


def _constant_models(matrix: LossMatrix, settings: CleanSettings) -> tuple[LossMatrix, list[Finding]]:
    constant = _is_constant(matrix.values, axis=1)
    defects = _constant("constant_model", matrix.models, constant, "units", settings)
    return (matrix.select(np.flatnonzero(~constant).tolist()) if settings.constant == "drop" else matrix), defects


def _constant_units(matrix: LossMatrix, settings: CleanSettings) -> tuple[LossMatrix, list[Finding]]:
    constant = _is_constant(matrix.values, axis=0)
    defects = _constant("constant_unit", matrix.units, constant, "models", settings)
    units = np.flatnonzero(~constant).tolist()
    return (matrix.select(range(len(matrix.models)), units) if settings.constant == "drop" else matrix), defects


def _is_constant(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.bool_]:
    """Where all finite values along an axis are one value; False where there are fewer than two."""
    finite = np.isfinite(values)
    low = np.where(finite, values, np.inf).min(axis=axis, initial=np.inf)
    high = np.where(finite, values, -np.inf).max(axis=axis, initial=-np.inf)
    return np.asarray((low == high) & (finite.sum(axis=axis) > 1))


def _constant(
    kind: str, names: list[str], constant: npt.NDArray[np.bool_], over: str, settings: CleanSettings
) -> list[Finding]:
    action = "kept" if settings.constant == "keep" else "left out"
    concerned = [names[k] for k in np.flatnonzero(constant)]
    findings = finding_of(kind, concerned, f"one value for all {over}, which orders nothing", action)
    _stop_if(settings.constant, "constant", findings)
    return findings


def _missing_values(matrix: LossMatrix, settings: CleanSettings) -> tuple[LossMatrix, list[Finding]]:
    missing = ~np.isfinite(matrix.values)
    if not missing.any():
        return matrix, []
    broken = missing.mean(axis=1) > settings.most_missing
    if settings.missing == "drop_models":
        broken = missing.any(axis=1)
    lost, most = missing[~broken].any(axis=0), missing[broken].mean(axis=1).max(initial=0)
    detail = f"values missing or infinite for up to {most:.1%} of the units"
    findings = finding_of("model_with_missing", [matrix.models[k] for k in np.flatnonzero(broken)], detail)
    detail = f"{int(missing[~broken].sum())} values missing or infinite in these units"
    findings += finding_of("unit_with_missing", [matrix.units[j] for j in np.flatnonzero(lost)], detail)
    _stop_if(settings.missing, "missing", findings)
    return matrix.select(np.flatnonzero(~broken).tolist(), np.flatnonzero(~lost).tolist()), findings


STEPS: tuple[Step, ...] = (_negative_values, _duplicate_models, _constant_models, _missing_values, _constant_units)
