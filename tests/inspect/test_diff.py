"""`siftlm diff`: counts against sets in Python, correlations against scipy, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from siftlm.cli.commands import app
from siftlm.inspect.diff import compare, spearman

Texts = list[dict[str, Any]]


def documents(numbers: range) -> Texts:
    return [{"id": f"n{n}", "text": f"{n} " + "word " * (n % 23), "domain": f"d{n % 5}.com"} for n in numbers]


@pytest.fixture(scope="module")
def runs(finished_run: Callable[..., str]) -> tuple[str, str]:
    """Two runs that share 100 documents, under different thresholds; five of the texts differ."""
    second = documents(range(50, 200))
    for document in second[:5]:
        document["text"] += "more of it"
    old = finished_run(
        {"a": documents(range(150))}, select={"rules": [{"kind": "threshold", "column": "byte_count", "min": 20}]}
    )
    new = finished_run({"a": second}, select={"rules": [{"kind": "threshold", "column": "byte_count", "max": 90}]})
    return old, new


def ids(folder: str, part: str) -> set[str]:
    return {row[0] for row in duckdb.sql(f"SELECT doc_id FROM read_parquet('{folder}/{part}/*.parquet')").fetchall()}


def test_documents_in_and_out_are_set_differences(runs: tuple[str, str]) -> None:
    """Every count is one of the sets of ids that duckdb reads from the output."""
    found = compare(*runs)
    (kept, out), (new_kept, new_out) = ((ids(f, "data"), ids(f, "rejects")) for f in runs)
    assert found.kept_in_both == len(kept & new_kept)
    assert found.now_kept == len(out & new_kept)
    assert found.now_dropped == len(kept & new_out)
    assert found.documents_in_both == len((kept | out) & (new_kept | new_out)) == 100
    assert (found.only_old, found.only_new) == (50, 50)
    assert found.quantities()["overlap"] == len(kept & new_kept) / len(kept | new_kept)


def test_drift_is_over_documents_in_both(runs: tuple[str, str]) -> None:
    """Five texts grew by ten bytes; nothing else moved."""
    (moved,) = [drift for drift in compare(*runs).drifts if drift.column == "byte_count"]
    assert (moved.documents, moved.changed) == (100, 5)
    assert moved.mean_change == pytest.approx(5 * 10 / 100)


def test_reasons_and_domains_are_counted_in_both(runs: tuple[str, str]) -> None:
    """The changes add up to the difference of the totals."""
    found = compare(*runs)
    assert {moved.name for moved in found.reasons} == {"byte_count_below_min", "byte_count_above_max"}
    change = sum(moved.new - moved.old for moved in found.groups["domain"])
    assert change == found.new.kept_documents - found.old.kept_documents


def test_a_run_and_itself_do_not_differ(runs: tuple[str, str]) -> None:
    """All ratios are 1, no document moved."""
    found = compare(runs[0], runs[0])
    assert found.now_kept == found.now_dropped == found.only_old == found.only_new == 0
    assert {v for n, v in found.quantities().items() if not n.startswith("drift_")} == {1.0}
    assert {v for n, v in found.quantities().items() if n.startswith("drift_")} == {0.0}


def test_empty_runs_can_be_compared(empty_run: str, runs: tuple[str, str]) -> None:
    """Against nothing, everything is new."""
    found = compare(empty_run, runs[0])
    assert found.documents_in_both == 0
    assert found.only_new == 150
    assert found.quantities()["kept_documents"] == float("inf")


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40))
def test_spearman_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    """With ties; without variation nothing can be said, but that equal ranks are equal."""
    first, second = np.array(pairs, float).T
    found = spearman(first, second)
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert found == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)
    else:
        assert found in (None, 1.0)


def test_a_condition_that_holds_ends_with_code_4(runs: tuple[str, str], tmp_path: Path) -> None:
    """Text, JSON and HTML all come, and the code says whether a scheduled job may go on."""
    page = tmp_path / "diff.html"
    failed = CliRunner().invoke(app, ["diff", *runs, "--fail-if", "overlap < 0.9", "--json", "--html", str(page)])
    assert failed.exit_code == 4
    assert json.loads(failed.stdout)["quantities"]["overlap"] < 0.9
    assert "overlap &lt; 0.9" in page.read_text("utf-8")
    assert "<script" not in page.read_text("utf-8")
    passed = CliRunner().invoke(app, ["diff", *runs, "--fail-if", "overlap < 0"])
    assert passed.exit_code == 0
    assert "came in" in passed.stdout
