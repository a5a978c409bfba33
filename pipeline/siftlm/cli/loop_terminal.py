"""Prints the results of the commands that train models, measure, correlate, project and train classifiers."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.markup import escape
from rich.table import Table

from siftlm.correlate.results import comparison_table
from siftlm.correlation import CorrelateResult, best_units, verdict
from siftlm.findings import Finding
from siftlm.proxies.matrix import MatrixResult
from siftlm.report.terminal import Terminal, columned

if TYPE_CHECKING:
    from siftlm.classifiers.distil import Distilled

BEST = 5
WIDTH = 130  # characters of a line, where the terminal has no more


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Returns a table for the terminal, numbers with three digits behind the point or thousands marked."""
    return columned(head, [list(map(_cell, row)) for row in rows])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def print_lines(*parts: object) -> None:
    """Prints lines and tables, as wide as the terminal or 130 characters."""
    console = Terminal(width=max(shutil.get_terminal_size().columns, WIDTH))
    for part in parts:
        console.print(part if isinstance(part, Table) else escape(str(part)))


def print_family(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints one line for each model that was trained."""
    names = ("model", "documents", "tokens", "steps", "held_out_bits_per_byte")
    print_lines(table(names, [[row[name] for name in names] for row in rows]))


def print_errors(errors: pa.Table, folder: str) -> None:
    """Prints a table of benchmark errors, models by benchmarks."""
    rows: dict[str, dict[str, float]] = {}
    for row in errors.to_pylist():
        rows.setdefault(row["model"], {})[row["benchmark"]] = row["error"]
    names = list(dict.fromkeys(errors["benchmark"].to_pylist()))
    print_lines(table(["model", *names], [[model, *(of[name] for name in names)] for model, of in rows.items()]))
    print_lines(f"errors of {len(rows)} models in {len(names)} benchmarks are in {folder}/errors.csv")


def print_findings(findings: Sequence[Finding]) -> None:
    """Prints one line for each finding."""
    print_lines(*(f"found {finding}" for finding in findings))


def print_matrix(result: MatrixResult) -> None:
    """Prints each model's mean bits per byte, the pages left out by reason, and the findings."""
    matrix = result.matrix
    known = [row[np.isfinite(row)] for row in matrix.values]
    means = [float(row.mean()) if len(row) else np.inf for row in known]
    rows = [[matrix.models[k], means[k], float(known[k].min(initial=np.inf))] for k in np.argsort(means)]
    print_lines(table(["model", "mean bits per byte", "lowest"], rows))
    print_lines(*(f"  left out {number:>8,}  {reason}" for reason, number in sorted(result.dropped.items())))
    print_findings(result.findings)
    pages, tokens = (pc.sum(result.units[name]).as_py() for name in ("page_count", "token_count"))
    size = f"{len(matrix.models)} models x {len(matrix.units):,} units"
    print_lines(f"{size} ({pages:,} pages, {tokens:,} tokens) in {result.path}")


def print_correlations(result: CorrelateResult, out: str) -> None:
    """Prints for every target the test on held-out models, how far to trust the estimates, and the best units."""
    print_findings(result.findings)
    for assessment in result.assessments:
        matrix = assessment.target.matrix
        print_lines("", f"{assessment.target.name}: {len(matrix.models)} models x {len(matrix.units):,} units")
        names = ("predictor", "rank_r2", "rank_r2_sd", "spearman", "spearman_sd", "gain")
        compared = comparison_table(assessment).to_pylist()
        print_lines(table(("held-out prediction", *names[1:]), [[row[name] for name in names] for row in compared]))
        print_lines(*(f"  {line}" for line in verdict(assessment)))
        print_lines(table((f"best {BEST} units", "estimate", "partial"), best_units(assessment, BEST)))
    print_lines("", f"estimates, intervals and plots are in {out}")


def print_weights(weights: pa.Table, out: str) -> None:
    """Prints how many units and tokens of the corpus each target selects."""
    rows = []
    for target in dict.fromkeys(weights["target"].to_pylist()):
        units = weights.filter(pc.equal(weights["target"], target))
        taken = units.filter(units["included"])
        tokens, of = (pc.sum(table["token_count"]).as_py() or 0 for table in (taken, units))
        rows.append([target, taken.num_rows, units.num_rows, tokens, of, pc.max(units["weight"]).as_py()])
    head = ("target", "units taken", "of", "with tokens", "of", "largest weight")
    print_lines(table(head, rows), f"weights are in {out}/weights.parquet")


def print_classifier(report: Mapping[str, Any], out: str) -> None:
    """Prints scores on held-out pages, shares of languages and domains, and the words that matter most."""
    names = ("train_included", "train_excluded", "pages", "precision", "recall", "f1", "roc_auc")
    titles = ("trained on", "against", "held out", "precision", "recall", "f1", "roc_auc")
    print_lines(table(titles, [[report[name] for name in names]]))
    for place in ("languages", "domains"):
        rows = [[row["name"], row["all"], row["included"], row["chosen"]] for row in report[place][:BEST]]
        print_lines(table((f"{place}, share of bytes", "all", "included", "chosen"), rows))
    for side, words in report["words"].items():
        print_lines(f"words for {side}: {' '.join(word for word, _ in words[:12])}")
    print_lines(f"model.bin and report.json are in {out}")


def print_distilled(made: Distilled) -> None:
    """Prints how well a learner ranks what it was not taught, and what it costs beside the model."""
    ranks = "no rank correlation" if made.rank_correlation is None else f"rank correlation {made.rank_correlation:.3f}"
    low, high = made.interval or (float("nan"), float("nan"))
    print_lines(
        f"{made.scored:,} of {made.sampled:,} sampled documents have a score; {made.held_out:,} are held out",
        f"held out: {ranks} (95 % {low:.3f} to {high:.3f}); {made.found_quarter:.0%} of the highest quarter found",
        f"{made.model} scores {made.scored_per_second:,.1f} documents a second, the learner "
        f"{made.predicted_per_second:,.0f}",
        made.learner,
    )
