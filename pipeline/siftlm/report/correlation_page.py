"""Makes `correlation.html`: the tables of correlate and of project as one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from siftlm.report.correlation_figures import against_baseline, by_unit, caps_and_weights, held_out_ranks
from siftlm.report.page import render
from siftlm.report.svg import Chart

PAGE = "correlation.html"
COMPARED = ("rank_r2", "rank_r2_sd", "spearman", "spearman_sd")
SHOWN_UNITS = 15


@dataclass(frozen=True)
class Lines:
    """Holds a table: what its first column is, the names of the others, and a name and numbers for each row."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[float | None]]]


@dataclass(frozen=True)
class TargetSection:
    """Holds the charts and tables of a benchmark or group of them."""

    name: str
    charts: list[Chart]
    comparison: Lines | None
    units: Lines


def correlation_page(tables: Mapping[str, pa.Table]) -> str:
    """Returns the page of the tables that there are, by name; `estimates` must be one of them."""
    targets = dict.fromkeys(tables["estimates"]["target"].to_pylist())
    return render("correlation.html.jinja", sections=[_section(n, t, tables) for n, t in enumerate(targets)])


def _section(number: int, target: str, tables: Mapping[str, pa.Table]) -> TargetSection:
    own = {name: table.filter(pc.equal(table["target"], target)) for name, table in tables.items()}
    charts = [by_unit(f"t{number}-units", own["estimates"])] if "low" in own["estimates"].column_names else []
    if "weights" in own:
        charts.append(caps_and_weights(f"t{number}-weights", own["weights"]))
    if "held_out" in own:
        charts.append(held_out_ranks(f"t{number}-ranks", own["held_out"]))
    comparison = None
    if "comparison" in own:
        charts.append(against_baseline(f"t{number}-baseline", own["comparison"]))
        comparison = _lines("held-out prediction", own["comparison"], "predictor", COMPARED)
    columns = tuple(c for c in ("estimate", "low", "high", "partial") if c in own["estimates"].column_names)
    best = own["estimates"].slice(0, SHOWN_UNITS)
    title = f"best {best.num_rows} units of {own['estimates'].num_rows:,}"
    return TargetSection(target, charts, comparison, _lines(title, best, "unit", columns))


def _lines(title: str, table: pa.Table, name: str, columns: tuple[str, ...]) -> Lines:
    return Lines(title, columns, [(row[name], [row[c] for c in columns]) for row in table.to_pylist()])
