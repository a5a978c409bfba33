"""Jobs whose documents keep fields of the input as columns of their own types."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("apache_beam")
COLUMNS = {"quality": "float", "licence": "string", "seen": "timestamp", "meta.stars": "int", "good": "bool"}
ROWS: list[dict[str, Any]] = [
    {"quality": 0.5, "licence": "mit", "seen": "2024-05-31T12:00:00+02:00", "meta": {"stars": 3}, "good": True},
    {"quality": "0.25", "licence": 7, "seen": 86400, "meta": {"stars": "12"}, "good": "false"},
    {"quality": None, "licence": None, "seen": None, "meta": {}, "good": None},
    {"quality": "high", "licence": ["mit"], "seen": "yesterday", "meta": {"stars": 2.5}, "good": 2},
    {},
]
EXPECTED = [
    (0.5, "mit", datetime.datetime(2024, 5, 31, 10), 3, True),
    (0.25, "7", datetime.datetime(1970, 1, 2), 12, False),
    *[(None,) * 5] * 3,
]
NAMES = ("quality", "licence", "seen", "meta_stars", "good")


def rows() -> list[dict[str, Any]]:
    return [{"id": f"d{n}", "text": f"text number {n}", **row} for n, row in enumerate(ROWS)]


def tree(bench: Any, columns: dict[str, str] | None = None) -> dict[str, Any]:
    web = {"source": "web", "paths": [str(bench.root / "in")], "id_field": "id", "columns": columns or COLUMNS}
    other = {"source": "other", "paths": [str(bench.root / "other")]}
    return {"input": [web, other]}


@pytest.fixture
def pages(bench: Any) -> Any:
    """Five documents, two of which have values, and another source without the fields."""
    bench.shard("0.jsonl", rows()[:2])
    bench.shard("1.jsonl", rows()[2:])
    bench.shard("0.jsonl", [{"text": "another source"}], folder="other")
    return bench


def test_fields_are_columns_with_types_and_misfits_cost_no_document(pages: Any) -> None:
    result = pages.run(**tree(pages))
    found = {row["doc_id"]: tuple(row[name] for name in NAMES) for row in pages.rows() if row["source"] == "web"}
    assert found == {f"d{n}": values for n, values in enumerate(EXPECTED)}
    assert [row["quality"] for row in pages.rows() if row["source"] == "other"] == [None]
    told = result.manifest["statistics"]["fields"]["web"]
    assert told["values"] == {f"columns.{path}": 2 for path in COLUMNS}
    assert told["unusable"] == {f"columns.{path}": 1 for path in COLUMNS}
    misfits = [
        line for line in result.manifest["warnings"] if line.startswith("input 'web': columns: 1 of 5 documents")
    ]
    assert len(misfits) == len(COLUMNS)


def test_rules_weights_and_formulas_name_fields(pages: Any) -> None:
    pages.run(
        **tree(pages),
        preselect=[{"kind": "threshold", "column": "meta_stars", "min": 3, "missing": "keep"}],
        columns=[{"name": "recent", "expr": "seen > '2000-01-01'"}],
        select={
            "rules": [{"kind": "threshold", "column": "recent", "in": [True]}],
            "weights": {"factors": [{"kind": "column", "column": "quality"}], "cap": 1.0},
        },
    )
    assert [(row["doc_id"], row["weight"]) for row in pages.rows()] == [("d0", 0.5)]


def test_a_plan_knows_fields_before_and_after_they_are_read(pages: Any) -> None:
    from siftlm.config import parse
    from siftlm.plan import plan

    formula = {"columns": [{"name": "more", "expr": "rank(quality) + meta_stars"}]}
    config = parse(pages.tree(**tree(pages), **formula), [])
    assert {row.stage: row.todo for row in plan(config)}["fields"] is None
    pages.run(**tree(pages), **formula)
    assert {row.stage: row.todo for row in plan(config)}["fields"] == 0
    assert {row.stage: row.todo for row in plan(config)}["derived"] == 0


def test_other_columns_read_the_input_and_make_nothing_else_anew(pages: Any) -> None:
    """Documents, signals and scores hang on the text alone."""
    pages.run(**tree(pages, {"quality": "float"}))
    before = made(pages)
    pages.run(**tree(pages))
    assert {path.parts[0] for path in made(pages) - before} == {"fields", "decisions", "parts"}
    found = {row["doc_id"]: tuple(row[name] for name in NAMES) for row in pages.rows() if row["source"] == "web"}
    assert found == {f"d{n}": values for n, values in enumerate(EXPECTED)}


def made(pages: Any) -> set[Path]:
    """The outputs in the store."""
    return {path.relative_to(pages.root / "out/store") for path in pages.root.glob("out/store/**/*.done")}


def test_parquet_gives_the_same_columns(bench: Any) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c"],
            "text": ["one text", "two texts", "three texts"],
            "meta": [{"stars": 3}, {"stars": None}, {"stars": None}],
            "seen": pa.array([datetime.datetime(2024, 5, 31), None, None], pa.timestamp("ns")),
            "quality": pa.array([0.5, float("nan"), float("-inf")], pa.float32()),
        }
    )
    (bench.root / "in").mkdir()
    pq.write_table(table, bench.root / "in/0.parquet")
    web = {"source": "web", "paths": [str(bench.root / "in")], "id_field": "id"}
    result = bench.run(input=[web | {"columns": {"meta.stars": "int", "seen": "timestamp", "quality": "float"}}])
    found = [(row["meta_stars"], row["seen"], row["quality"]) for row in bench.rows()]
    none = (None, None, None)
    assert sorted(found, key=str) == [(3, datetime.datetime(2024, 5, 31), 0.5), none, none]
    assert result.manifest["statistics"]["fields"]["web"]["unusable"] == {"columns.quality": 1}  # NaN is no value


def test_headers_of_archives_are_columns(bench: Any) -> None:
    block = b"some text"
    lines = ["WARC/1.0", "WARC-Type: conversion", "WARC-Date: 2019-04-18T20:48:18Z", "X-Score: 0.75"]
    head = "\r\n".join([*lines, f"Content-Length: {len(block)}", "", ""])
    (bench.root / "in").mkdir()
    (bench.root / "in/0.wet").write_bytes(head.encode() + block + b"\r\n\r\n")
    web = {
        "source": "web",
        "paths": [str(bench.root / "in")],
        "columns": {"WARC-Date": "timestamp", "x-score": "float"},
    }
    bench.run(input=[web])
    (row,) = bench.rows()
    assert (row["WARC_Date"], row["x_score"]) == (datetime.datetime(2019, 4, 18, 20, 48, 18), 0.75)


def test_columns_that_clash_are_refused(bench: Any) -> None:
    from siftlm.checks.validate import check_config
    from siftlm.config import parse
    from siftlm.errors import UserError

    web = {"source": "web", "paths": ["in"]}
    for inputs, message in [
        ([web | {"columns": {"a.b": "int", "a_b": "int"}}], "must give columns of different names"),
        ([web | {"columns": {"a": "int"}}, {**web, "source": "b", "columns": {"a": "float"}}], "must have one type"),
        ([web | {"columns": {"text": "string"}}], "must give columns that nothing else gives, got 'text'"),
        ([web | {"columns": {"a": "date"}}], "input.0.columns.a"),
    ]:
        with pytest.raises(UserError, match=message):
            check_config(parse(bench.tree(input=inputs), []))
