"""Jobs that measure, select and weigh by commonness."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytest.importorskip("apache_beam")
LINE = "All of these pages end with the same line of twelve words, sadly."


@pytest.fixture
def pages(bench: Any) -> Any:
    """Twelve texts of their own with one line in common, four copies but for spaces, one without words."""
    rng = random.Random(0)
    alone = [" ".join(f"w{rng.randrange(10**6)}" for _ in range(20)) for _ in range(12)]
    often = " ".join(f"c{n}" for n in range(20))
    texts = [f"{text}\n{LINE}" for text in alone] + [often + " " * n for n in range(4)] + ["-"]
    rows = [{"id": f"d{n:02d}", "text": text} for n, text in enumerate(texts)]
    bench.shard("0.jsonl", rows[:9])
    bench.shard("1.jsonl", rows[9:])
    return bench


def test_a_job_weighs_and_preselects_by_commonness(pages: Any) -> None:
    """Texts that many have count less; what paragraphs cut is not counted; and a rule can name the column."""
    result = pages.run(
        dedup={"action": "annotate", "commonness": {"bits": 12}, "paragraphs": {"min_bytes": 30, "keep": "none"}},
        preselect=[{"kind": "threshold", "column": "commonness", "min": 0.0}],
        select={"weights": {"factors": [{"kind": "column", "column": "commonness", "inverse": True}], "cap": 1000.0}},
    )
    found = {row["doc_id"]: row for row in pages.rows()}
    common = [found[f"d{n:02d}"]["commonness"] for n in range(12, 16)]
    rare = [found[f"d{n:02d}"]["commonness"] for n in range(12)]
    assert min(common) > 0.5 > 0.02 > max(rare)
    assert all(row["weight"] == 1 / row["commonness"] for row in found.values())
    assert result.manifest["counts"]["decisions"]["dropped"] == {"commonness_missing": 1}
    assert result.manifest["counts"]["commonness"]["rows_out"] == 17


def test_a_job_weighs_by_segments_of_commonness(pages: Any) -> None:
    """The four copies are the most common fifth; all weights together are as many documents."""
    factor = {"kind": "segments", "column": "commonness", "segments": 4, "ratio": 10.0}
    pages.run(
        dedup={"action": "annotate", "commonness": {"bits": 12}},
        select={"weights": {"factors": [factor], "cap": 100.0}},
    )
    found = {row["doc_id"]: row for row in pages.rows()}
    weights = {name: row["weight"] for name, row in found.items()}
    assert all(weights[f"d{n:02d}"] == min(weights.values()) for n in range(12, 16))
    assert sum(weights.values()) == pytest.approx(len(weights), rel=1e-12)
    assert weights["d16"] == 1.0, "it has no words"
    assert max(weights.values()) == pytest.approx(10 * min(weights.values()), rel=1e-12)


def test_a_job_that_drops_duplicates_does_not_count_them(pages: Any) -> None:
    """The copy that stays is as rare as any other text."""
    pages.run(dedup={"commonness": {"bits": 12}})
    found = {row["doc_id"]: row["commonness"] for row in pages.rows()}
    kept = [found[name] for name in found if "d12" <= name <= "d15"]
    assert len(kept) == 1
    assert kept[0] < min(found[f"d{n:02d}"] for n in range(12))
