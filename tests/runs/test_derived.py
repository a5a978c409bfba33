"""Jobs whose rules name columns that formulas compute."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("apache_beam")
SIGNALS = {"language": None, "signals": {"groups": ["basic"]}}


@pytest.fixture
def pages(bench: Any) -> Any:
    """Sixty texts of one to sixty words in three shards, some of them twice."""
    rng = random.Random(0)
    rows = [
        {"id": f"d{n:02d}", "text": " ".join(f"w{rng.randrange(10**6):06d}" for _ in range(n + 1))} for n in range(60)
    ]
    rows += [{"id": f"x{n}", "text": rows[59]["text"]} for n in range(3)]
    for shard in range(3):
        bench.shard(f"{shard}.jsonl", rows[shard::3])
    return bench


def test_rules_weights_and_the_output_name_columns_of_formulas(pages: Any) -> None:
    """Ranks are those among documents that are not out: copies, and what preselection drops, count for nothing."""
    result = pages.run(
        annotate=SIGNALS,
        dedup={"near": False},
        preselect=[{"kind": "threshold", "column": "char_count", "min": 11 * 8 - 1}],
        columns=[
            {"name": "length_rank", "expr": "rank(char_count)"},
            {"name": "bucket", "expr": "quantile(length_rank, 5)"},
            {"name": "per_char", "expr": "byte_count / (2 * char_count)"},
        ],
        select={
            "rules": [{"kind": "threshold", "column": "length_rank", "max": 0.5}],
            "weights": {"factors": [{"kind": "table", "column": "bucket", "table": {"0": 2.0}}], "cap": 2.0},
        },
    )
    kept = {row["doc_id"]: row for row in pages.rows()}
    words = np.arange(11, 61)
    truth = (stats.rankdata(words) - 0.5) / len(words)
    assert {name: row["length_rank"] for name, row in kept.items()} == {
        f"d{count - 1:02d}": pytest.approx(rank) for count, rank in zip(words, truth, strict=True) if rank <= 0.5
    }
    assert {row["bucket"] for row in kept.values()} == {0, 1, 2}
    assert all(row["weight"] == (2.0 if row["bucket"] == 0 else 1.0) for row in kept.values())
    assert all(row["per_char"] == 0.5 for row in kept.values())
    assert result.manifest["counts"]["derived"]["rows_out"] == 63
    assert "bucket" in result.manifest["statistics"]["columns"]["all"]


def test_only_what_formulas_read_computes_them_anew(pages: Any) -> None:
    """Another rule leaves them; a formula without a question to the corpus is computed for a new shard alone."""
    alone = {"columns": [{"name": "per_char", "expr": "byte_count / (2 * char_count)"}], "annotate": SIGNALS}
    pages.run(**alone)
    stored = {path: path.stat().st_mtime_ns for path in pages.root.glob("out/store/derived/*.parquet")}
    pages.shard("3.jsonl", [{"id": "new", "text": "a new document"}])
    pages.run(**alone, select={"rules": [{"kind": "threshold", "column": "per_char", "max": 7}]})
    after = {path: path.stat().st_mtime_ns for path in pages.root.glob("out/store/derived/*.parquet")}
    assert (len(stored), len(after)) == (3, 4)
    assert stored.items() <= after.items()


def test_a_formula_is_checked_before_any_work(pages: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from siftlm.checks.validate import check_config
    from siftlm.config import parse
    from siftlm.errors import UserError

    for columns, message in [
        ([{"name": "a", "expr": "perplexty + 1"}], "columns.0.expr: must name columns of the run, got 'perplexty'"),
        ([{"name": "text", "expr": "1"}], "columns.0.name: must give columns that nothing else gives, got 'text'"),
        ([{"name": "a", "expr": "1"}, {"name": "a", "expr": "2"}], "columns.1.name: must give columns"),
    ]:
        with pytest.raises(UserError, match=message):
            check_config(parse(pages.tree(columns=columns), []))
