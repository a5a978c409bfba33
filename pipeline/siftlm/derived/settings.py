"""Defines the settings of a column that a formula computes."""

from __future__ import annotations

from pydantic import Field

from siftlm.settings import Name, Settings

LONGEST = 4096


class ColumnSettings(Settings):
    """Configures a column computed from others after the scores; rules, weights, report and output can name it."""

    name: Name = Field(description="The name of the column.")
    expr: str = Field(
        min_length=1,
        max_length=LONGEST,
        description="A formula over columns and those before it in the list: + - * /, comparisons, `in`, and, or, not, "
        "`a if b else c`, abs, ceil, clip, coalesce, exp, floor, is_null, log, log10, max, mean, mean_known, min, "
        "sqrt, trend, variance; and over the corpus median, rank, zscore and quantile, each also `within=` a column, "
        "quantile also `weight=` one.",
    )
