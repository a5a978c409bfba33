"""`siftlm explain`: the rule that is named is the one that dropped the document."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from siftlm.errors import UserError
from siftlm.inspect.explain import explain, explain_row
from siftlm.inspect.run import FinishedRun


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
