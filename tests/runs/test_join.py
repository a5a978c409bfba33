"""Jobs whose documents get columns of tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("apache_beam")
pytest.importorskip("duckdb")


@pytest.fixture
def pages(bench: Any) -> Any:
    """Nine documents of three hosts in two shards, two of them with one id, and a table of scores of six ids."""
    rows = [{"id": f"d{n}", "text": f"text number {n}", "url": f"https://h{n % 3}.org/{n}"} for n in range(8)]
    rows.append({"id": "d1", "text": "another text of that id"})
    bench.shard("0.jsonl", rows[:5])
    bench.shard("1.jsonl", rows[5:])
    bench.shard("edu.jsonl", [{"doc_id": f"d{n}", "edu": n / 10} for n in range(6)], folder="tables")
    bench.shard("rank.jsonl", [{"host": "H1.org", "rank": 1}, {"host": "h2.org", "rank": 2}], folder="hosts")
    return bench


def joins(pages: Any) -> list[dict[str, Any]]:
    return [
        {"path": str(pages.root / "tables"), "columns": ["edu"]},
        {"path": str(pages.root / "hosts"), "on": "host", "columns": {"host_rank": "rank"}},
    ]


def made(pages: Any) -> set[Path]:
    """The outputs in the store."""
    return {path.relative_to(pages.root / "out/store") for path in pages.root.glob("out/store/**/*.done")}


def test_rules_formulas_and_the_output_name_joined_columns(pages: Any) -> None:
    """Documents with one id have the same row; a document without a row has nulls, and is counted."""
    result = pages.run(
        join=joins(pages),
        columns=[{"name": "known", "expr": "not is_null(host_rank)"}],
        preselect=[{"kind": "threshold", "column": "edu", "min": 0.1, "missing": "keep"}],
        select={"rules": [{"kind": "threshold", "column": "host_rank", "max": 1, "missing": "keep"}]},
    )
    kept = {row["text"]: (row["edu"], row["host_rank"], row["known"]) for row in pages.rows()}
    assert kept == {
        "text number 1": (0.1, 1, True),
        "another text of that id": (0.1, None, False),
        "text number 3": (0.3, None, False),
        "text number 4": (0.4, 1, True),
        "text number 6": (None, None, False),
        "text number 7": (None, 1, True),
    }
    told = {name: result.manifest["statistics"][name] for name in ("join/0", "join/1")}
    assert {name: (facts["matched"], facts["documents"], facts["keys"]) for name, facts in told.items()} == {
        "join/0": (7, 9, 6),
        "join/1": (5, 9, 2),
    }


def test_a_table_that_changes_is_joined_anew_and_nothing_else(pages: Any) -> None:
    settings = {"join": joins(pages), "select": {"rules": [{"kind": "threshold", "column": "edu", "min": 0.2}]}}
    pages.run(**settings)
    before = made(pages)
    pages.shard("edu.jsonl", [{"doc_id": f"d{n}", "edu": 0.2} for n in range(6)], folder="tables")
    pages.run(**settings)
    assert {path.parts[:-1] for path in made(pages) - before} == {("join", "0"), ("decisions",), ("parts",)}
    assert len(pages.rows()) == 7


def test_a_table_of_nobody_is_said(pages: Any) -> None:
    pages.shard("none.jsonl", [{"doc_id": "nobody", "x": 1}], folder="none")
    result = pages.run(join=[{"path": str(pages.root / "none"), "columns": ["x"]}])
    assert any("join.0: no document has a row of" in line for line in result.manifest["warnings"])


def test_a_table_that_changes_decides_anew_what_is_scored(pages: Any) -> None:
    settings = {"join": joins(pages), "preselect": [{"kind": "threshold", "column": "edu", "min": 0.2}]}
    pages.run(**settings)
    assert {row["text"] for row in pages.rows()} == {f"text number {n}" for n in (2, 3, 4, 5)}
    pages.shard("edu.jsonl", [{"doc_id": "d7", "edu": 1.0}], folder="tables")
    pages.run(**settings)
    assert {row["text"] for row in pages.rows()} == {"text number 7"}
