"""Jobs that say what weights made of their selection: shares, epochs, effective tokens, drawn copies, small groups."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import orjson
import pytest

from siftlm.report.terminal import print_summary

pytest.importorskip("apache_beam")
TOPICS = ("news", "news", "news", "code", "poems", None)
SHARES = {"news": 2.0, "code": 1.0}
R_STAR = 15.387756


@pytest.fixture
def pages(bench: Any) -> Any:
    """Sixty documents of three topics and none, in two shards."""
    rows = [{"id": f"d{n}", "text": "x" * (n + 10), "topic": TOPICS[n % 6]} for n in range(60)]
    bench.shard("0.jsonl", rows[:25])
    bench.shard("1.jsonl", rows[25:])
    (bench.root / "shares.json").write_bytes(orjson.dumps({"shares": SHARES, "method": "by hand"}))
    return bench


def tree(pages: Any, **weights: Any) -> dict[str, Any]:
    (source,) = pages.tree()["input"]
    return {
        "input": [{**source, "columns": {"topic": "string", "stars": "int"}}],
        "select": {"tokens": "byte_count", "weights": weights},
    }


def told(pages: Any, result: Any, capsys: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """What terminal, report and card say, without line breaks within tags."""
    print_summary(result.manifest, str(pages.root / "out"), unchanged=False)
    said = capsys.readouterr().out
    return said, *((pages.root / "out" / name).read_text("utf-8") for name in ("report.html", "README.md"))


def worth(copies: float) -> float:
    return min(copies, 1.0) + R_STAR * (1 - math.exp(-max(copies - 1, 0) / R_STAR))


@pytest.mark.parametrize("materialise", [False, True])
def test_a_mixture_says_the_shares_that_it_realised(
    pages: Any, capsys: pytest.CaptureFixture[str], materialise: bool
) -> None:
    """By the topic, a field of the input: against sums over the rows that were written."""
    factor = {"kind": "mixture", "column": "topic", "path": str(pages.root / "shares.json")}
    result = pages.run(**tree(pages, factors=[factor], budget_tokens=3000, cap=9, materialise=materialise))
    rows = pages.rows()
    sums, once = Counter[str](), Counter[str]()
    for row in rows:
        sums[row["topic"]] += row["byte_count"] * (1 if materialise else row["weight"])
    for n in range(60):
        once[str(TOPICS[n % 6])] += n + 10
    shares = result.manifest["statistics"]["shares"]
    assert (shares["column"], shares["written"], shares["other_documents"]) == ("topic", materialise, 20)
    assert shares["origin"]["method"] == "by hand"
    assert len(shares["origin"]["digest"]) == 32
    for value in shares["values"]:
        name = value["value"]
        assert value["asked"] == pytest.approx(SHARES[name] / 3)
        assert value["realised_tokens"] == pytest.approx(sums[name])
        assert value["realised"] == pytest.approx(sums[name] / sum(sums.values()))
        assert value["realised_tokens"] == pytest.approx(3000 * value["asked"], abs=70 if materialise else 1)
        assert (value["tokens"], value["epochs"]) == (once[name], pytest.approx(sums[name] / once[name]))
        assert value["documents"] == {"news": 30, "code": 10}[name]
    said, page, card = told(pages, result, capsys)
    line = "select.weights.factors.0 (mixture): news 66."
    assert all(line in text for text in (said, page))
    assert "20 documents of no topic with a share are dropped" in said
    assert "select.weights.factors.0 (mixture)" in card
    assert "<caption>Mixture by topic: shares of the tokens</caption>" in page


@pytest.mark.parametrize("materialise", [False, True])
def test_repeated_text_is_said_with_what_it_is_worth(
    pages: Any, capsys: pytest.CaptureFixture[str], materialise: bool
) -> None:
    """U, D and D' against sums over the written rows, document by document."""
    table = {"kind": "table", "column": "topic", "table": {"news": 3.0, "poems": 0.25}}
    result = pages.run(**tree(pages, factors=[table], materialise=materialise))
    copies: Counter[str] = Counter()
    sizes = {}
    for row in pages.rows():
        copies[row["doc_id"]] += 1 if materialise else row["weight"]
        sizes[row["doc_id"]] = row["byte_count"]
    statistics = result.manifest["statistics"]
    repetition = statistics["repetition"]
    assert repetition["unit"] == "tokens"
    assert repetition["unique"] == pytest.approx(sum(min(1, copies[name]) * size for name, size in sizes.items()))
    assert repetition["total"] == pytest.approx(sum(copies[name] * size for name, size in sizes.items()))
    assert repetition["effective"] == pytest.approx(sum(worth(copies[name]) * size for name, size in sizes.items()))
    assert repetition["epochs"] == pytest.approx(repetition["total"] / repetition["unique"])
    said, page, _ = told(pages, result, capsys)
    line = f"in training they are worth {repetition['effective']:,.0f} new ones"
    assert line in said
    assert line in page
    assert f'<td class="n">{round(repetition["effective"]):,}</td>' in page
    if materialise:  # ten documents have an expectation of a quarter
        drawn = statistics["copies"]
        assert (drawn["written"], drawn["expected"]) == (len(pages.rows()), pytest.approx(30 * 3 + 20 + 10 * 0.25))
        assert drawn["standard_error"] == pytest.approx(math.sqrt(10 * 0.25 * 0.75))
        assert "drawn for each document by itself with a standard error of 1.4" in said
    else:
        assert "copies" not in statistics


def test_a_selection_without_weights_is_all_new(pages: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """In bytes, where no tokens are counted; nothing is said of it."""
    result = pages.run()
    size = sum(row["byte_count"] for row in pages.rows())
    repetition = result.manifest["statistics"]["repetition"]
    assert (repetition["unit"], repetition["epochs"]) == ("bytes", 1.0)
    assert repetition["unique"] == repetition["total"] == repetition["effective"] == size
    assert "new ones" not in told(pages, result, capsys)[0]


def test_joins_fields_and_small_groups_are_said(pages: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each in the terminal, a row each in the report."""
    pytest.importorskip("duckdb")
    pages.shard("edu.jsonl", [{"doc_id": f"d{n}", "edu": n} for n in range(50, 70)], folder="tables")
    band = {"kind": "band", "column": "byte_count", "criterion": "low", "rate": 0.05, "within": "topic"}
    settings = tree(pages) | {"join": [{"path": str(pages.root / "tables"), "columns": ["edu"]}]}
    result = pages.run(**settings | {"select": {"rules": [band]}})
    said, page, _ = told(pages, result, capsys)
    assert "join.0: 10 of 60 documents have a row of" in said
    assert "input 'web': of 60 documents these have a value: topic 50, stars 0" in said
    small = (
        "select.rules.0 (band): 30 of 60 documents are of a topic with fewer than 20, or of none: ranked as one group"
    )
    assert small in said
    assert small in page
    for caption, row in (
        ("Joined tables", ["join.0", str(pages.root / "tables"), "doc_id", 60, 10, 20, 0]),
        ("Columns from fields of the input", ["web", "topic", "string", 60, 50, 10, 0]),
    ):
        assert f"<caption>{caption}</caption>" in page
        assert list(result.manifest["tables"][caption][0].values()) == row


def test_a_mixture_of_what_project_wrote_tells_how_it_was_made(pages: Any) -> None:
    """Method and budget stand in the file of weights, and the manifest names them with its digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from siftlm.correlation import project_units
    from siftlm.mixing.settings import ProjectSettings

    estimates = {"target": ["t"] * 3, "unit": ["news", "code", "poems"], "estimate": [0.3, 0.2, -0.5]}
    pq.write_table(pa.table(estimates), pages.root / "estimates.parquet")
    pq.write_table(pa.table({"unit": estimates["unit"], "token_count": [900, 300, 300]}), pages.root / "units.parquet")
    paths = [str(pages.root / name) for name in ("estimates.parquet", "units.parquet", "weights")]
    project_units(ProjectSettings(keep_share=0.8), *paths)
    factor = {"kind": "mixture", "column": "topic", "path": f"{paths[2]}/weights.parquet"}
    shares = pages.run(**tree(pages, factors=[factor], cap=9)).manifest["statistics"]["shares"]
    assert {value["value"]: value["asked"] for value in shares["values"]} == pytest.approx(
        {"news": 0.75, "code": 0.25, "poems": 0.0}
    )
    assert {name: shares["origin"][name] for name in ("made_by", "method", "keep_share", "target")} == {
        "made_by": "siftlm project",
        "method": "linear",
        "keep_share": 0.8,
        "target": "t",
    }


def test_all_that_is_said_is_the_same_however_the_corpus_is_cut(pages: Any) -> None:
    """Two shards and seven: decisions, shares, effective tokens, expected copies, small groups."""
    rows = [orjson.loads(line) for n in "01" for line in (pages.root / f"in/{n}.jsonl").read_text().splitlines()]
    for n in range(7):
        pages.shard(f"{n}.jsonl", rows[n::7], folder="cut")
    weights = {
        "factors": [
            {"kind": "mixture", "column": "topic", "shares": SHARES | {"poems": 0.7}, "train_tokens": 4000},
            {"kind": "column", "column": "byte_count", "inverse": True},
        ],
        "cap": 5,
        "materialise": True,
    }
    band = {"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.9, "within": "topic"}
    settings = tree(pages, **weights)
    settings["select"]["rules"] = [band]
    one = pages.run("one", **settings).manifest
    (source,) = settings["input"]
    two = pages.run("two", **settings | {"input": [{**source, "paths": [str(pages.root / "cut")]}]}).manifest
    written = [Counter(row["doc_id"] for row in pages.rows(out)) for out in ("one", "two")]
    assert written[0] == written[1]
    assert max(written[0].values()) > 1
    for name in ("shares", "repetition", "copies"):
        assert one["statistics"][name] == two["statistics"][name], name
    assert one["steps"] == two["steps"]
    assert one["remarks"] == two["remarks"]
