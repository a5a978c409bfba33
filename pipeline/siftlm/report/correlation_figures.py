"""Draws the charts of a correlation: estimates by unit, caps and weights, held-out ranks, the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.report.figures import axes, name_rows, short
from siftlm.report.svg import BEFORE, CUT, DROPPED, INK, KEPT, Chart, chart
from siftlm.report.tally import with_nan

FEW_UNITS = 40  # that are named; more are drawn as bands over their rank


def by_unit(name: str, estimates: pa.Table) -> Chart:
    """Returns a chart of the estimates in order, with their intervals and partial correlations."""
    if estimates.num_rows <= FEW_UNITS:
        return _named_units(name, estimates)
    at, value = np.arange(1, estimates.num_rows + 1), with_nan(estimates, "estimate")
    with axes(260) as (figure, plot):
        low, high = with_nan(estimates, "low"), with_nan(estimates, "high")
        plot.fill_between(at, low, high, color=BEFORE, alpha=0.3, linewidth=0)
        plot.plot(at, with_nan(estimates, "partial"), ".", color=DROPPED, markersize=2, alpha=0.5)
        plot.plot(at, value, color=INK, linewidth=1.6)
        plot.axhline(0, color=CUT, linewidth=1)
        plot.set_xlabel("units, best first (dots: given strength)")
        plot.set_ylabel("estimate")
        plot.grid(visible=True, axis="y")
        words = f"{len(at):,} units from {value[0]:.3f} down to {value[-1]:.3f}, with the interval of each."
        return chart(figure, name, "Correlation by unit, with intervals", words)


def _named_units(name: str, estimates: pa.Table) -> Chart:
    at, value = np.arange(estimates.num_rows), with_nan(estimates, "estimate")
    with axes(60 + 18 * len(at)) as (figure, plot):
        plot.hlines(at, with_nan(estimates, "low"), with_nan(estimates, "high"), color=BEFORE, linewidth=3)
        plot.plot(with_nan(estimates, "partial"), at, "o", color=DROPPED, markersize=4)
        plot.plot(value, at, "o", color=INK, markersize=5)
        plot.axvline(0, color=CUT, linewidth=1)
        name_rows(plot, estimates["unit"].to_pylist())
        plot.set_xlabel("estimate (red: given general strength)")
        plot.grid(visible=True, axis="x")
        words = ", ".join(f"{u} {v:.3f}" for u, v in zip(estimates["unit"].to_pylist(), value, strict=True))
        return chart(figure, name, "Correlation by unit, with intervals", words)


def caps_and_weights(name: str, weights: pa.Table) -> Chart:
    """Returns a chart of caps and weights, added up over the units in order of their estimates."""
    cap, weight = np.cumsum(with_nan(weights, "cap")), np.cumsum(with_nan(weights, "weight"))
    at = np.arange(1, len(cap) + 1)
    included = int(pc.sum(weights["included"]).as_py() or 0)
    with axes(240) as (figure, plot):
        plot.step(at, cap, where="post", color=BEFORE, linewidth=1.6)
        plot.step(at, weight, where="post", color=KEPT, linewidth=2)
        plot.axhline(1, color=CUT, linewidth=1, linestyle=(0, (4, 2)))
        plot.set_ylim(0, min(float(cap[-1]), 3.0) * 1.05)
        plot.set_xlabel("units, best first")
        plot.set_ylabel("sum: caps (grey), weights")
        plot.grid(visible=True, axis="y")
        words = f"{included:,} of {len(at):,} units are included; the caps of all add up to {cap[-1]:.2f} budgets."
        return chart(figure, name, "Caps and weights", words)


def held_out_ranks(name: str, held_out: pa.Table) -> Chart:
    """Returns a chart of each held-out model's predicted rank, by estimates and by baseline, against its true rank."""
    truth = with_nan(held_out, "true_rank")
    with axes(300) as (figure, plot):
        plot.plot([1, len(truth)], [1, len(truth)], color=CUT, linewidth=1)
        for column, colour, mark in (("baseline_rank", BEFORE, "s"), ("predicted_rank", KEPT, "o")):
            plot.plot(truth, with_nan(held_out, column), mark, color=colour, markersize=5, alpha=0.7)
        plot.set_xlabel("true rank, 1 is best (squares: mean rank over all units)")
        plot.set_ylabel("predicted while held out")
        plot.grid(visible=True)
        words = f"{len(truth)} models; green dots by the estimates, grey squares by the mean rank over all units."
        return chart(figure, name, "Held-out models: predicted against true rank", words)


def against_baseline(name: str, comparison: pa.Table) -> Chart:
    """Returns a chart of how held-out predictions correlate with the truth, for the estimates and the baseline.

    It shows Spearman's rho: the mean and the spread over folds.
    """
    rows: Sequence[dict[str, Any]] = comparison.to_pylist()
    at = np.arange(len(rows))
    means, spreads = [row["spearman"] for row in rows], [row["spearman_sd"] for row in rows]
    with axes(60 + 34 * len(rows)) as (figure, plot):
        plot.hlines(at, np.subtract(means, spreads), np.add(means, spreads), color=BEFORE, linewidth=3)
        plot.plot(means, at, "o", color=INK, markersize=6)
        name_rows(plot, [row["predictor"] for row in rows])
        plot.set_xlabel("Spearman with the true ranks")
        plot.grid(visible=True, axis="x")
        words = ", ".join(f"{row['predictor']} {short(row['spearman'])}" for row in rows)
        return chart(figure, name, "Estimates against the baseline", words)
