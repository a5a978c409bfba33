"""A run that reads nothing or keeps nothing, and values that are listed and nobody has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.runs.conftest import stages_of

from siftlm.checks.validate import validate
from siftlm.config import parse
from siftlm.errors import UserError

TEXTS = [{"id": str(number), "text": f"täxt number {number}"} for number in range(30)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TEXTS)
ENGLISH = [{"id": str(n), "text": f"This is sentence {n} about the sea and the weather."} for n in range(9)]
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "UTF-16 without a mark": (LINES.encode("utf-16-le"), "looks like UTF-16"),
    "Latin-1": (LINES.encode("latin-1"), "is not UTF-8"),
    "null texts": (b'{"text": null}\n' * 3, "3 times null_text"),
    "damage": (b"{broken\n" * 300, "times broken_json"),
    "another field": (b'{"body": "x"}\n' * 3, "is text_field = 'text' right?"),
    "nothing": (b"", "got no record in the files of "),
    "blank lines": (b"\n\n\n", "got no record in the files of "),
    "empty texts": (b'{"text": ""}\n' * 3, "got 3 documents without a byte of text"),
}


def published(bench: Any) -> dict[str, bytes]:
    """All that a run has published."""
    return {
        str(path): path.read_bytes()
        for part in ("data", "rejects", "manifest.json", "report.html", "README.md", "errors.parquet")
        for path in [bench.root / "out" / part, *(bench.root / "out" / part).glob("*")]
        if path.is_file()
    }


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_corpus_of_which_nothing_can_be_read_is_a_mistake(bench: Any, kind: str) -> None:
    """One line with the likely cause; what was published stays, byte for byte."""
    bench.shard("a.jsonl", TEXTS)
    bench.run()
    before = published(bench)
    content, cause = UNREADABLE[kind]
    (bench.root / "in/a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"^input 'web': must hold documents, got") as caught:
        bench.run()
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)
    assert published(bench) == before
    assert len(before) >= 5


@pytest.mark.parametrize("kind", [kind for kind in UNREADABLE if kind not in ("empty texts", "damage")])
def test_validate_and_run_say_the_same_before_any_work(bench: Any, kind: str) -> None:
    """Where a few files can be looked through."""
    (bench.root / "in").mkdir()
    (bench.root / "in/a.jsonl").write_bytes(UNREADABLE[kind][0])
    told = []
    for check in (lambda: validate(parse(bench.tree(), [])), bench.run):
        with pytest.raises(UserError) as caught:
            check()
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert not stages_of(bench.markers())


def test_one_source_of_several_without_a_document_is_a_mistake_too(bench: Any) -> None:
    """It is named; where that is allowed it is a warning, and the others are written."""
    bench.shard("a.jsonl", TEXTS)
    for number in range(5):
        bench.shard(f"{number}.jsonl", [{"text": None}], "other")
    inputs = [{"source": s, "paths": [str(bench.root / f)]} for s, f in (("web", "in"), ("books", "other"))]
    with pytest.raises(UserError, match=r"^input 'books': .* got none in 5 records of 5 files; 5 times null_text"):
        bench.run(input=inputs)
    manifest = bench.run(input=inputs, output={"allow_empty": True}).manifest
    assert [line.partition(":")[0] for line in manifest["warnings"]] == ["input 'books'"]
    assert len(bench.rows()) == len(TEXTS)


DROPS = {
    "a bound": [{"kind": "threshold", "column": "byte_count", "min": 1e9}],
    "a source": [{"kind": "threshold", "column": "source", "not_in": ["web"]}],
    "a sample": [{"kind": "sample", "rate": 0.0}],
    "two rules": [
        {"kind": "threshold", "column": "byte_count", "max": 14, "reason": "long"},
        {"kind": "threshold", "column": "byte_count", "min": 15, "reason": "short"},
    ],
}


@pytest.mark.parametrize("kind", DROPS)
def test_a_run_that_keeps_nothing_leaves_what_was_published(bench: Any, kind: str) -> None:
    """The rules that dropped the most are named with their numbers; allowed, the output is empty and says so."""
    bench.shard("a.jsonl", TEXTS)
    bench.run(output={"rejects": True})
    before = published(bench)
    select = {"rules": DROPS[kind]}
    with pytest.raises(UserError, match=r"^select: must keep a document, got none of 30; ") as caught:
        bench.run(select=select, output={"rejects": True})
    assert f"(select.rules.{len(DROPS[kind]) - 1}: " in str(caught.value)
    assert published(bench) == before
    manifest = bench.run(select=select, output={"rejects": True, "allow_empty": True}).manifest
    assert bench.rows() == []
    assert len(bench.rows(part="rejects")) == 30
    assert any(line.startswith("select: must keep a document") for line in manifest["warnings"])


LANGUAGE = {"language": {}, "signals": False}


def test_a_list_of_languages_that_there_are_not_is_refused_before_any_work(bench: Any) -> None:
    """The nearest is named; with one that there is, or where a run may be empty, it is said."""
    bench.shard("a.jsonl", ENGLISH)
    rule = {"kind": "threshold", "column": "language", "in": ["eng"]}
    settings = {"annotate": LANGUAGE, "select": {"rules": [rule]}}
    for check in (lambda: validate(parse(bench.tree(**settings), [])), lambda: bench.run(**settings)):
        with pytest.raises(
            UserError,
            match=r"in: must keep something, but .*'eng'; did you mean 'en'\?$",
        ):
            check()
    assert not stages_of(bench.markers())
    rule["in"] = ["eng", "en"]
    assert "select.rules.0.in: there is no language 'eng'; did you mean 'en'?" in validate(
        parse(bench.tree(**settings), [])
    )
    manifest = bench.run(**settings).manifest
    assert manifest["warnings"] == ["select.rules.0.in: no document has language 'eng'; did you mean 'en'?"]
    rule["in"] = ["de"]
    with pytest.raises(UserError, match=r"9 language_not_in_list .*; documents have language 'en' \(9\)"):
        bench.run(**settings)


@pytest.mark.parametrize(
    ("select", "told"),
    [
        (
            {"rules": [{"kind": "threshold", "column": "byte_count", "min": 1, "when": {"source": ["wep"]}}]},
            "select.rules.0.when.source: no document has source 'wep'; did you mean 'web'?",
        ),
        (
            {"rules": [{"kind": "sample", "rate": 0.9, "when": {"domain": ["exampel.com", "example.com"]}}]},
            "select.rules.0.when.domain: no document has domain 'exampel.com'; did you mean 'example.com'?",
        ),
        (
            {"rules": [{"kind": "threshold", "column": "domain", "not_in": ["other.org"]}]},
            "select.rules.0.not_in: no document has domain 'other.org'; there is 'example.com'",
        ),
        (
            {"weights": {"factors": [{"kind": "table", "column": "source", "table": {"web": 1, "wiki": 2}}]}},
            "select.weights.factors.0.table: no document has source 'wiki'; there is 'web'",
        ),
        (
            {
                "weights": {
                    "factors": [{"kind": "table", "column": "domain", "table": {f"{n}{n}.net": 1 for n in range(9)}}]
                }
            },
            "select.weights.factors.0.table: no document has domain '00.net', '11.net', '22.net' and 6 more; "
            "there is 'example.com'",
        ),
        (
            {"rules": [{"kind": "threshold", "column": "cluster_size", "in": [1, 7]}]},
            "select.rules.0.in: no document has cluster_size '7'; there is '1'",
        ),
    ],
)
def test_a_listed_value_that_no_document_has_is_said(
    bench: Any, capsys: pytest.CaptureFixture[str], select: dict[str, Any], told: str
) -> None:
    """In lists, scopes and tables of weights, on columns of any type, with the nearest there is."""
    from siftlm.report.terminal import print_summary

    bench.shard("a.jsonl", [{**row, "url": "https://example.com/x"} for row in TEXTS])
    result = bench.run(select=select, dedup={"near": False})
    assert result.manifest["warnings"] == [told]
    print_summary(result.manifest, "out", unchanged=False)
    assert f"warning: {told}" in capsys.readouterr().out


def test_values_that_documents_have_are_not_said(bench: Any) -> None:
    """No warning without a reason."""
    bench.shard("a.jsonl", TEXTS)
    rules = [{"kind": "threshold", "column": "source", "in": ["web"], "when": {"source": ["web"]}}]
    assert bench.run(select={"rules": rules}).manifest["warnings"] == []


def test_what_a_folder_holds_beside_documents_is_in_the_manifest(bench: Any) -> None:
    """By source, with the paths."""
    bench.shard("a.jsonl", TEXTS)
    (bench.root / "in/LICENSE").write_text("mine")
    manifest = bench.run().manifest
    assert manifest["skipped"] == [{"source": "web", "files": 1, "paths": [str(bench.root / "in/LICENSE")]}]
    assert len(bench.rows()) == len(TEXTS)
