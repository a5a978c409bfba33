"""`siftlm explain`: the rule that is named is the one that dropped the document."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from siftlm.errors import UserError
from siftlm.inspect.explain import explain, explain_row
from siftlm.inspect.run import FinishedRun
from siftlm.report.page import render
from siftlm.report.terminal import print_explanation
from siftlm.selectors.lists.settings import _opened as opened_lists


def test_every_document_is_dropped_by_the_step_whose_reason_it_has(small_run: str) -> None:
    """Step by step over all documents: kept ones pass all, others stop at the one with their reason."""
    run = FinishedRun.open(small_run)
    rows = run.read({"doc_id", "kept", "reason"}).to_pylist()
    for row in rows[:10] + rows[10::7]:
        found = explain_row(run, row["shard"], row["row"])
        dropped = [met for met in found.met if met.verdict == "dropped"]
        assert found.doc_id == row["doc_id"]
        assert [met.reason for met in dropped] == ([] if row["kept"] else [row["reason"]])
        after = found.met[found.met.index(dropped[0]) + 1 :] if dropped else ()
        assert {met.verdict for met in after} <= {"not reached"}


def test_a_ranked_rule_tells_the_cuts_of_the_documents_own_group(small_run: str) -> None:
    """A value within the cuts of its source is kept by the band, one outside is dropped."""
    run = FinishedRun.open(small_run)
    rows = run.read({"doc_id", "byte_count", "source"}).to_pylist()
    seen = set()
    for row in rows[::5]:
        band = next(m for m in explain_row(run, row["shard"], row["row"]).met if m.place == "select.rules.2")
        if band.verdict in ("passed", "dropped"):
            low, high = band.cuts
            assert band.value == row["byte_count"]
            assert isinstance(low, int)
            assert isinstance(high, int)
            outside = not low <= row["byte_count"] <= high
            assert not outside or band.verdict == "dropped"
            assert band.verdict == "passed" or outside or row["byte_count"] in (low, high)
            seen.add((row["source"], low, high))
    assert len({source for source, _, _ in seen}) == len(seen) > 1


def test_a_sample_tells_the_draw_that_it_compares(small_run: str) -> None:
    """Draws below the rate of 0.9 pass, others don't."""
    run = FinishedRun.open(small_run)
    for row in run.read({"doc_id"}).to_pylist()[10::9]:
        met = next(m for m in explain_row(run, row["shard"], row["row"]).met if m.place == "select.rules.1")
        if met.verdict != "not reached":
            assert isinstance(met.value, float)
            assert (met.value < 0.9) == (met.verdict == "passed")


def test_a_duplicate_names_its_cluster(small_run: str) -> None:
    """Both members, the representative first."""
    found = [explain(small_run, name) for name in ("twin one", "twin two")]
    assert {f.cluster_size for f in found} == {2}
    for one in found:
        assert [member["duplicate"] for member in one.cluster] == [None, "exact"]
    assert sum(f.reason == "exact_duplicate" for f in found) == 1


def test_rules_with_a_scope_and_equal_reasons_are_told_apart(finished_run: Callable[..., str]) -> None:
    """Two rules give the same reason, one of them to one source only."""
    rules = [
        {"kind": "threshold", "column": "byte_count", "max": 40, "reason": "size", "when": {"source": ["a"]}},
        {"kind": "threshold", "column": "byte_count", "min": 5, "reason": "size"},
    ]
    texts = [{"id": "long", "text": "x" * 50}, {"id": "short", "text": "x"}]
    other = [{"id": f"b {t['id']}", "text": t["text"] + " b"} for t in texts]
    run = finished_run({"a": texts, "b": other}, select={"rules": rules})
    verdicts = {n: [m.verdict for m in explain(run, n).met] for n in ("long", "short", "b long", "b short")}
    assert verdicts == {
        "long": ["passed", "dropped", "not reached"],
        "short": ["passed", "passed", "dropped"],
        "b long": ["passed", "does not apply", "passed"],
        "b short": ["passed", "does not apply", "dropped"],
    }


def test_an_unknown_document_is_a_mistake(small_run: str, empty_run: str) -> None:
    """It is named, also where the run has no document at all."""
    for run in (small_run, empty_run):
        with pytest.raises(UserError, match="DOC_ID: must be the id of a document of the run, got 'nobody'"):
            explain(run, "nobody")


def test_a_union_tells_what_each_of_its_rules_says(
    finished_run: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With value, cuts and scope, whether one of them keeps the document or none, in the terminal and on the page."""
    listed = tmp_path / "domains.txt"
    listed.write_text("a.com\n")
    rules = [
        {"kind": "threshold", "column": "byte_count", "max": 20},
        {"kind": "top", "column": "byte_count", "rate": 0.25, "direction": "highest"},
        {"kind": "threshold", "column": "domain", "in": {"kind": "domains", "path": str(listed)}, "missing": "keep"},
        {"kind": "sample", "rate": 1.0, "when": {"source": ["nobody"]}},
    ]
    lengths = {"short": 10, "middle": 30, "listed": 31, "long": 50}
    texts = [
        {"id": name, "text": "x" * size, "domain": "a.com" if name == "listed" else "b.com"}
        for name, size in lengths.items()
    ]
    run = finished_run({"web": texts}, select={"rules": [{"kind": "any", "rules": rules}]})
    told = {name: explain(run, name).met[-1] for name in lengths}
    assert {name: met.verdict for name, met in told.items()} == {
        "short": "passed", "middle": "dropped", "listed": "passed", "long": "passed",
    }  # fmt: skip
    verdicts = {name: [part.verdict for part in met.parts] for name, met in told.items()}
    no, yes, other = "dropped", "passed", "does not apply"
    assert verdicts == {
        "short": [yes, no, no, other],
        "middle": [no, no, no, other],
        "listed": [no, no, yes, other],
        "long": [no, yes, no, other],
    }
    middle = told["middle"].parts
    assert [part.place for part in middle] == ["rules.0", "rules.1", "rules.2", "rules.3"]
    assert [part.value for part in middle[:3]] == [30, 30, "b.com"]
    assert [part.reason for part in middle] == [
        "byte_count_above_max", "below_top_byte_count", "domain_not_in_list", None,
    ]  # fmt: skip
    assert middle[1].cuts == (50,)
    print_explanation(explain(run, "middle"), 10)
    assert "  ✗ rules.0: byte_count ≤ 20: 30: byte_count_above_max\n" in capsys.readouterr().out
    page = render("document.html.jinja", document=explain(run, "middle"))
    assert page.count("↳") == 4
    listed.unlink()
    opened_lists.cache_clear()  # as in another process
    (part,) = explain(run, "listed").met[-1].parts
    assert part.verdict.startswith("not known now: in.path: must be a text file of one entry a line")
