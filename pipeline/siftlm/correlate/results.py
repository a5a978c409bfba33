"""Computes the result tables of a benchmark target, which the report plots and the next command reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm.correlate.assess import Assessment, Interval
from siftlm.statistics.ranks import average_ranks

Floats = npt.NDArray[np.float64]

BASELINE = "mean_rank"
"""The trivial predictor: a model's mean rank over all units."""
_NUMBERS = ("rank_r2", "rank_r2_sd", "spearman", "spearman_sd", "gain", "gain_low", "gain_high")
COMPARISON_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("target", "predictor")),
        *((name, pa.float64()) for name in _NUMBERS),
        *((name, pa.int64()) for name in ("folds", "models", "units")),
        ("strength_correlation", pa.float64()),
    ]
)


def _bounds(interval: Interval | None, units: int) -> tuple[pa.Array, pa.Array]:
    if interval is None:
        return pa.nulls(units, pa.float64()), pa.nulls(units, pa.float64())
    return pa.array(interval.low), pa.array(interval.high)


def estimates_table(assessment: Assessment) -> pa.Table:
    """Returns a table with one row per unit, best first: estimate, partial correlation, intervals, mean bits per byte.

    `rank` is 1 for the largest estimate; equal estimates share the mean of their ranks and stand by name.
    """
    matrix = assessment.target.matrix
    low, high = _bounds(assessment.interval, len(matrix.units))
    partial_low, partial_high = _bounds(assessment.partial_interval, len(matrix.units))
    table = pa.table(
        {
            "target": pa.array([assessment.target.name] * len(matrix.units), pa.string()),
            "unit": pa.array(matrix.units, pa.string()),
            "estimate": assessment.estimates,
            "low": low,
            "high": high,
            "partial": assessment.partial,
            "partial_low": partial_low,
            "partial_high": partial_high,
            "mean_bits_per_byte": matrix.values.mean(axis=0),
            "rank": average_ranks(-assessment.estimates),
        }
    )
    return table.sort_by([("estimate", "descending"), ("unit", "ascending")])


def weights_table(
    target: str, units: list[str], estimates: Floats, tokens: npt.NDArray[np.int64], caps: Floats, weights: Floats
) -> pa.Table:
    """Returns a table with one row for each unit, best first: estimate, tokens, cap, weight, and whether included.

    `cap` is tau of arXiv 2409.05816; a unit is included where its weight is > 0.
    """
    table = pa.table(
        {
            "target": pa.array([target] * len(units), pa.string()),
            "unit": pa.array(units, pa.string()),
            "estimate": estimates,
            "token_count": tokens,
            "cap": caps,
            "weight": weights,
            "included": weights > 0,
        }
    )
    return table.sort_by([("estimate", "descending"), ("unit", "ascending")])


def held_out_table(assessment: Assessment) -> pa.Table:
    """Returns a table with one row for each model: its error, and its true and predicted ranks by predictor.

    Rank 1 is the best. A predicted rank is null for a model of a fold that could not be fitted.
    """
    target = assessment.target
    return pa.table(
        {
            "target": pa.array([target.name] * len(target.matrix.models), pa.string()),
            "model": pa.array(target.matrix.models, pa.string()),
            "fold": assessment.held_out.fold,
            "error": target.errors,
            "mean_bits_per_byte": target.matrix.values.mean(axis=1),
            "mean_rank": assessment.strength,
            "true_rank": average_ranks(target.errors),
            "predicted_rank": _ranks_or_null(assessment.held_out.predicted),
            "predicted_rank_top": _ranks_or_null(assessment.held_out_top.predicted),
            "baseline_rank": _ranks_or_null(assessment.baseline.predicted),
        }
    )


def _ranks_or_null(predicted: Floats) -> pa.Array:
    known = np.isfinite(predicted)
    ranks = np.full(len(predicted), np.nan)
    if known.any():
        ranks[known] = average_ranks(predicted[known])
    return pa.array(ranks, mask=~known)


def comparison_table(assessment: Assessment) -> pa.Table:
    """Returns a table that compares predictors on held-out models: all estimates, the top units, the baseline.

    Each is a row: rank R2 and Spearman, mean and spread over folds, and the gain in Spearman over the baseline, paired
    by fold, with its interval (null for the baseline).
    """
    rows = []
    named = (
        (assessment.estimator, assessment.held_out, assessment.gain),
        (f"{assessment.estimator}_top", assessment.held_out_top, assessment.gain_top),
        (BASELINE, assessment.baseline, None),
    )
    for name, result, gain in named:
        spread = result.fold_scores.std(axis=0)
        rows.append(
            {
                "target": assessment.target.name,
                "predictor": str(name),
                "rank_r2": result.rank_r2,
                "rank_r2_sd": float(spread[0]),
                "spearman": result.spearman,
                "spearman_sd": float(spread[1]),
                "gain": gain.mean if gain else None,
                "gain_low": gain.low if gain else None,
                "gain_high": gain.high if gain else None,
                "folds": len(result.fold_scores),
                "models": len(assessment.target.matrix.models),
                "units": len(assessment.target.matrix.units),
                "strength_correlation": assessment.strength_correlation,
            }
        )
    return pa.Table.from_pylist(rows, COMPARISON_SCHEMA)
