"""Makes `correlation.html`, one page with the tables that `correlate` and `project` write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from siftlm.report.correlation_figures import against_baseline, by_unit, caps_and_weights, held_out_ranks
from siftlm.report.page import render
from siftlm.report.svg import Chart

PAGE = "correlation.html"
COMPARED = ["predictor", "rank_r2", "rank_r2_sd", "spearman", "spearman_sd", "gain", "gain_low", "gain_high"]
SHOWN = ("unit", "estimate", "low", "high", "partial")
SHOWN_UNITS = 15


@dataclass(frozen=True)
class TargetSection:
    """Holds the charts and table rows of one benchmark or group; each row has a name, then numbers."""

    name: str
    charts: list[Chart]
    comparison: list[dict[str, Any]]
    best: list[dict[str, Any]]
    units: int


def correlation_page(tables: Mapping[str, pa.Table]) -> str:
    """Returns the HTML page of the given tables, by name; `estimates` must be one of them."""
    targets = dict.fromkeys(tables["estimates"]["target"].to_pylist())
    return render("correlation.html.jinja", sections=[_section(n, t, tables) for n, t in enumerate(targets)])


def _section(number: int, target: str, tables: Mapping[str, pa.Table]) -> TargetSection:
    own = {name: table.filter(pc.equal(table["target"], target)) for name, table in tables.items()}
    estimates = own["estimates"]
    charts = [by_unit(f"t{number}-units", estimates)] if "low" in estimates.column_names else []
    if "weights" in own:
        charts.append(caps_and_weights(f"t{number}-weights", own["weights"]))
    if "held_out" in own:
        charts.append(held_out_ranks(f"t{number}-ranks", own["held_out"]))
    comparison = []
    if "comparison" in own:
        compared = own["comparison"]
        charts.append(against_baseline(f"t{number}-baseline", compared))
        comparison = compared.select([name for name in COMPARED if name in compared.column_names]).to_pylist()
    best = estimates.select([name for name in SHOWN if name in estimates.column_names])[:SHOWN_UNITS].to_pylist()
    return TargetSection(target, charts, comparison, best, estimates.num_rows)
