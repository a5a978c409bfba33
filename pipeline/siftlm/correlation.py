"""Runs `siftlm correlate` and `siftlm project`, which turn a matrix and errors into estimates and weights.

Both read tables and write tables, wherever those come from; nothing here knows of a corpus.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem, paths
from siftlm.correlate.assess import Assessment, Gain, assess
from siftlm.correlate.benchmarks import match_targets, read_benchmarks
from siftlm.correlate.clean import clean_matrix
from siftlm.correlate.matrix import read_matrix
from siftlm.correlate.results import comparison_table, estimates_table, held_out_table, weights_table
from siftlm.correlate.settings import CorrelateSettings
from siftlm.correlate.tables import is_written_here, read_table, to_float64, write_table
from siftlm.errors import UserError
from siftlm.findings import Finding, findings_table, name_some
from siftlm.mixing.projection import budget_of, caps, project
from siftlm.mixing.settings import ProjectSettings
from siftlm.report.correlation_page import PAGE, correlation_page
from siftlm.selectors.shares_file import PROVENANCE
from siftlm.stages.folders import check_results

TABLES: dict[str, Callable[[Assessment], pa.Table]] = {
    "estimates": estimates_table,
    "held_out": held_out_table,
    "comparison": comparison_table,
}
FINDINGS = "findings.csv"
FEW_MODELS = 30
UNIT_TOKENS = "token_count"


@dataclass(frozen=True)
class CorrelateResult:
    """Holds the assessments of all targets, and the defects that were found in the tables."""

    assessments: list[Assessment]
    findings: list[Finding]


def correlate(settings: CorrelateSettings, out: str) -> CorrelateResult:
    """Estimates and assesses the correlations of every target, and writes tables and a page to `out`.

    Raises:
        UserError: The tables cannot be read, hold nothing that orders models, or share too few models.
    """
    check_out(out)
    matrix, findings = read_matrix(settings.matrix)
    errors, more = read_benchmarks(settings.benchmarks)
    matrix, cleaned = clean_matrix(matrix, settings.matrix.clean)
    targets, unmatched = match_targets(matrix, errors, settings.benchmarks.groups, settings.fewest_models)
    findings = [*findings, *more, *cleaned, *unmatched]
    if not targets:
        raise UserError(f"benchmarks: some benchmark must tell models apart, got none; {findings[-1]}")
    assessments = [assess(target, settings) for target in targets]
    filesystem.makedirs(out)
    for name, table_of in TABLES.items():
        write_table(pa.concat_tables([table_of(assessment) for assessment in assessments]), f"{out}/{name}.parquet")
    write_table(findings_table(findings), f"{out}/{FINDINGS}")
    filesystem.remove(f"{out}/weights.parquet")  # of other estimates
    _write_page(out)
    return CorrelateResult(assessments, findings)


def check_out(out: str) -> None:
    """Raises UserError where a folder has files with the names of our tables that siftlm did not write."""
    tables = [f"{name}.parquet" for name in (*TABLES, "weights")]
    check_results(
        "out",
        out,
        [*tables, FINDINGS, PAGE],
        lambda folder: any(is_written_here(f"{folder}/{name}") for name in tables),
    )


def _write_page(out: str) -> None:
    """Writes the page of the tables that are in a folder: those of correlate, those of project, or both."""
    written = [name for name in (*TABLES, "weights") if filesystem.exists(f"{out}/{name}.parquet")]
    if "estimates" in written:
        page = correlation_page({name: read_table(f"{out}/{name}.parquet") for name in written})
        filesystem.write_bytes(f"{out}/{PAGE}", page.encode())


def project_units(settings: ProjectSettings, estimates: str, units: str, out: str) -> pa.Table:
    """Returns the weights of units for each target, and writes them to `out`/weights.parquet.

    They are capped by the tokens that each unit has.

    Args:
        settings: Method and budget.
        estimates: The table of `correlate`: columns target, unit, estimate.
        units: A table with the columns unit and token_count.
        out: A folder; its page is made anew.

    Raises:
        UserError: A unit of the estimates has no tokens in `units`, or all have fewer than the budget.
    """
    check_out(out)
    table = read_table(estimates)
    for name in ("target", "unit", settings.by):
        _require(table, name, estimates)
    tokens = read_tokens(units)
    targets = list(dict.fromkeys(table["target"].to_pylist()))
    weights_of = []
    for target in targets:
        of_target = table.filter(pc.equal(table["target"], target))
        weights_of.append(_weights(settings, target, of_target, tokens, units))
    made = {"made_by": "siftlm project", **settings.model_dump(exclude_none=True)}
    weights = pa.concat_tables(weights_of).replace_schema_metadata({PROVENANCE: orjson.dumps(made)})
    filesystem.makedirs(out)
    write_table(weights, f"{out}/weights.parquet")
    if paths.canonical(estimates) != paths.canonical(f"{out}/estimates.parquet"):
        write_table(table, f"{out}/estimates.parquet")
    _write_page(out)
    return weights


def _weights(
    settings: ProjectSettings, target: str, estimates: pa.Table, tokens: dict[str, int], place: str
) -> pa.Table:
    names = [str(unit) for unit in estimates["unit"].to_pylist()]
    missing = sorted(name for name in names if name not in tokens)
    if missing:
        raise UserError(f"{place}: every unit must have a {UNIT_TOKENS}, got none for {name_some(missing)}")
    tokens_of = np.array([tokens[name] for name in names], np.int64)
    values, bad = to_float64(estimates[settings.by])
    if bad or not np.isfinite(values).all():
        raise UserError(f"project: every {settings.by} must be a number, got others for target {target!r}")
    tau = caps(tokens_of, budget_of(settings, tokens_of))
    return weights_table(target, names, values, tokens_of, tau, project(values, tau, settings, names))


def read_tokens(path: str) -> dict[str, int]:
    """Reads how many tokens each unit has, from a table with the columns unit and token_count."""
    table = read_table(path)
    for name in ("unit", UNIT_TOKENS):
        _require(table, name, path)
    counts, bad = to_float64(table[UNIT_TOKENS])
    names = [str(name) for name in table["unit"].to_pylist()]
    if bad or not np.isfinite(counts).all():
        row = bad[0] if bad else int(np.flatnonzero(~np.isfinite(counts))[0])
        raise UserError(f"{path}: every unit must have a number as its {UNIT_TOKENS}, got none for {names[row]!r}")
    again = sorted(name for name, number in Counter(names).items() if number > 1)
    if again:
        raise UserError(f"{path}: every unit must come once, got {name_some(again)} more than once")
    return dict(zip(names, (int(count) for count in counts), strict=True))


def _require(table: pa.Table, name: str, path: str) -> None:
    if name not in table.column_names:
        raise UserError(f"{path}: must have a column {name!r}, got {name_some(table.column_names, 10)}")


def verdict(assessment: Assessment) -> list[str]:
    """Returns sentences that say how far to trust the estimates of a target."""
    models, folds = len(assessment.strength), len(assessment.baseline.fold_scores)
    lines = []
    if models < FEW_MODELS:
        lines.append(f"few models: a fold tests about {models // folds}, so these figures are rough")
    if abs(assessment.strength_correlation) > 0.7:
        lines.append(
            f"general strength alone orders the models (Spearman {assessment.strength_correlation:.2f}): "
            "most of every raw estimate says that"
        )
    lines += [f"all units: {gain_words(assessment.gain)}", f"top units: {gain_words(assessment.gain_top)}"]
    if not (assessment.gain.beats or assessment.gain_top.beats):
        lines.append("little is known of units that the models' general strength does not say")
    return [*lines, *_intervals(assessment)]


def gain_words(gain: Gain) -> str:
    """Returns whether a prediction of held-out models beats the baseline: only where its interval lies above 0."""
    if gain.low is None or gain.high is None:
        return f"{gain.mean:+.2f} to the mean rank in one fold, which tells nothing"
    how = "better" if gain.beats else "worse" if gain.high < 0 else "not shown to be better"
    return (
        f"{how} than the mean rank at predicting held-out models: Spearman {gain.mean:+.2f}, "
        f"interval {gain.low:+.2f} to {gain.high:+.2f}, paired over {gain.folds} folds"
    )


def _intervals(assessment: Assessment) -> list[str]:
    if assessment.interval is None or assessment.partial_interval is None:
        return []
    raw, partial = (
        float(((interval.low > 0) | (interval.high < 0)).mean())
        for interval in (assessment.interval, assessment.partial_interval)
    )
    return [f"intervals clear of 0: {raw:.0%} of the units, {partial:.0%} given general strength"]


def best_units(assessment: Assessment, count: int) -> Sequence[tuple[str, float, float]]:
    """Returns the `count` best units as (unit, estimate, partial correlation)."""
    rows = estimates_table(assessment).slice(0, count).to_pylist()
    return [(row["unit"], row["estimate"], row["partial"]) for row in rows]
