"""Summaries and quantile tables for the manifest."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.statistics.scores import PERCENTILES, ScoreSearch, ScoreStatistics
from siftlm.statistics.summary import Summary

VALUES = st.lists(st.one_of(st.none(), st.floats(allow_nan=True), st.sampled_from([0.5, -0.0, 0.0])), max_size=80)


def tabled(shards: list[pa.Table], columns: list[str], limit: int) -> dict[str, dict[str, float | int | None]]:
    """The table of shards, by as many passes as it takes."""
    search = ScoreSearch.start(columns, entry_limit=limit)
    while not search.done:
        search = search.settle(ScoreStatistics.merged([search.observe(shard) for shard in shards]))
    return search.table()


@settings(max_examples=60)
@given(VALUES, st.integers(0, 80), st.sampled_from([1, 1 << 18]))
def test_quantiles_are_numpys_inverted_cdf(values: list[float | None], cut: int, limit: int) -> None:
    """Every percentile equals numpy's, whatever the shards; nulls and NaN are counted as missing."""
    table = pa.table({"score": pa.array(values, pa.float64(), from_pandas=False)})
    row = tabled([table.slice(cut), table.slice(0, cut)], ["score"], limit)["score"]
    present = np.array([v for v in values if v is not None and not math.isnan(v)])
    assert row["count"] == len(present)
    assert row["missing"] == len(values) - len(present)
    for percentile in PERCENTILES:
        expected = None
        if len(present):
            place = max(1, -(-int(percentile) * len(present) // 100))
            expected = np.sort(present)[place - 1]
        assert row[f"p{percentile}"] == expected
    finite = present[np.isfinite(present)] if len(present) else present
    if abs(finite).max(initial=0) < 1e300:
        assert row["sum"] == math.fsum(finite)


def test_integers_stay_integers() -> None:
    """A column of counts has integer quantiles, exact above 2^53."""
    large = 2**53 + 1
    row = tabled([pa.table({"n": [large, large, 5]})], ["n"], 100)["n"]
    assert (row["p50"], row["min"]) == (large, 5)


def test_an_empty_shard_is_no_hindrance() -> None:
    """Columns without any value have None for every quantile."""
    empty = pa.table({"a": pa.array([], pa.float64()), "b": pa.array([], pa.int64())})
    table = tabled([empty, pa.table({"a": [1.5], "b": pa.array([None], pa.int64())})], ["a", "b"], 100)
    assert table["a"]["p50"] == 1.5
    assert (table["b"]["p50"], table["b"]["mean"], table["b"]["missing"]) == (None, None, 1)


def test_a_column_of_text_is_refused_by_name() -> None:
    """Quantiles are of numbers."""
    with pytest.raises(UserError, match="'url' of string"):
        ScoreSearch.start(["url"]).observe(pa.table({"url": ["a"]}))


@given(st.lists(st.lists(st.floats(-1e200, 1e200)), min_size=1, max_size=5))
def test_summaries_merge_to_the_summary_of_all(parts: list[list[float]]) -> None:
    """Order and partition change no bit."""
    arrays = [np.array(part, np.float64) for part in parts]
    merged = Summary.merged(Summary.of(array) for array in reversed(arrays))
    assert merged == Summary.of(np.concatenate(arrays))
