"""Jobs that repair texts and replace personal data: what is read, scored, compared and written is one text."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("apache_beam")
pytest.importorskip("ftfy")
EDIT = [{"kind": "repair"}, {"kind": "pii"}]
BROKEN = "Un cafÃ© pour jo@Ã©tÃ©.fr ?\nMail Jo@x.org, BO@y.org or jo@x.org; 8.8.8.8 and 10.0.0.1"
WHOLE = (
    "Un café pour email@example.com ?\nMail firstname.lastname@example.org, email@example.com or "
    "firstname.lastname@example.org; 22.214.171.124 and 10.0.0.1"
)
SHARED = "Every page has this line and write to the webmaster@site.example.net for more of it"


def columns_of(row: dict[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("repairs", "pii_emails", "pii_ips", "byte_count"))


def test_texts_are_written_as_edited_with_spans_and_counts(bench: Any) -> None:
    bench.shard("a.jsonl", [{"id": "broken", "text": BROKEN}, {"id": "plain", "text": "nothing to see"}])
    bench.shard("b.jsonl", [{"id": "one", "text": "日本語 a@b.co"}])
    manifest = bench.run(edit=EDIT).manifest
    rows = {row["doc_id"]: row for row in bench.rows()}
    assert {name: row["text"] for name, row in rows.items()} == {
        "broken": WHOLE,
        "plain": "nothing to see",
        "one": "日本語 email@example.com",
    }
    assert columns_of(rows["broken"]) == (1, 4, 1, len(WHOLE.encode()))
    assert columns_of(rows["plain"]) == (0, 0, 0, 14)
    assert rows["one"]["pii_spans"] == [{"start": 10, "end": 16, "replacement": "email@example.com"}]
    assert manifest["statistics"]["edit"] == {
        "repairs": {"documents": 1, "found": 1},
        "pii_emails": {"documents": 2, "found": 5},
        "pii_ips": {"documents": 1, "found": 1},
    }
    report = (bench.root / "out/report.html").read_text()
    assert "What was found in texts" in report
    said = "edit: 5 pii_emails in 2 of 3 documents"
    assert said in report
    assert said in (bench.root / "out/README.md").read_text()


def test_the_spans_give_the_written_text_from_the_stored_one(bench: Any) -> None:
    """documents/ has the text as it was read; the spans of the second edit are of the text after the first."""
    import pyarrow.parquet as pq

    bench.shard("a.jsonl", [{"id": "broken", "text": BROKEN}])
    bench.run(edit=EDIT)
    (row,) = bench.rows()
    (stored,) = (bench.root / "out/store/documents").glob("*[!s].parquet")
    text = pq.read_table(stored)["text"].to_pylist()[0]
    assert text == BROKEN
    for name in ("repair_spans", "pii_spans"):
        content = text.encode()
        for span in reversed(row[name]):
            content = content[: span["start"]] + span["replacement"].encode() + content[span["end"] :]
        text = content.decode()
    assert text == row["text"] == WHOLE


def test_processes_write_the_same_bytes(bench: Any) -> None:
    for name in "ab":
        bench.shard(f"{name}.jsonl", [{"id": f"{name}{n}", "text": f"{n} {BROKEN}" * (n % 3)} for n in range(20)])
    bench.run(edit=EDIT)
    bench.run("apart", edit=EDIT, runner={"processes": 2})
    assert bench.content() == bench.content("apart")


def test_rules_formulas_and_preselection_name_the_counts(bench: Any) -> None:
    texts = {"two": "a@b.co c@d.co", "one": "a@b.co", "none": "a b"}
    bench.shard("a.jsonl", [{"id": name, "text": text} for name, text in texts.items()])
    bench.run(
        edit=[{"kind": "pii", "emails": "count", "ips": "leave"}],
        preselect=[{"kind": "threshold", "column": "pii_emails", "max": 1}],
        columns=[{"name": "clean", "expr": "pii_emails == 0"}],
        select={"rules": [{"kind": "threshold", "column": "clean", "in": [False]}]},
    )
    assert [(row["doc_id"], row["text"], row["pii_spans"]) for row in bench.rows()] == [("one", "a@b.co", [])]


@pytest.mark.parametrize("verify", [None, 0.8])
def test_duplicates_and_paragraphs_are_those_of_the_edited_texts(bench: Any, verify: float | None) -> None:
    """Copies but for an address are exact duplicates; a line with an address that others have is cut whole."""
    words = " ".join(f"word{n}" for n in range(60))
    texts = [f"{words} a@b.co", f"{words} c@d.co", f"first words\n{SHARED}\nhis a@b.co", f"{SHARED}\nmore words"]
    bench.shard("a.jsonl", [{"id": str(n), "text": text} for n, text in enumerate(texts)])
    dedup = {"paragraphs": {"keep": "none"}} | ({"verify": verify} if verify else {"near": False})
    bench.run(edit=EDIT, dedup=dedup, output={"rejects": True})
    rows = {row["doc_id"]: row for row in bench.rows()}
    assert {row["reason"] for row in bench.rows(part="rejects")} == {"exact_duplicate"}
    assert {row["text"] for row in rows.values()} == {
        f"{words} email@example.com",
        "first words\nhis firstname.lastname@example.org",
        "more words",
    }
    cut = rows["2"]
    replaced = SHARED.replace("webmaster@site.example.net", "email@example.com")
    assert cut["cut_spans"] == [{"start": 12, "end": 12 + len(replaced) + 1}]
    assert cut["byte_count"] == len(cut["text"])
    assert cut["pii_emails"] == 2
    from siftlm.inspect.explain import explain

    assert explain(str(bench.root / "out"), "2").cut == (replaced,)


def test_scores_are_those_of_the_edited_text(bench: Any) -> None:
    from tests.scorers.test_ngram_lm import ARPA

    (bench.root / "model.arpa").write_text(ARPA)
    score = [{"kind": "ngram", "name": "lm", "path": str(bench.root / "model.arpa")}]
    bench.shard("a.jsonl", [{"id": "a", "text": "b x@y.org a"}])
    bench.run(edit=[{"kind": "pii", "email_replacements": ["a b"]}], score=score)
    bench.shard("a.jsonl", [{"id": "a", "text": "b a b a"}])
    bench.run("plain", score=score)
    names = ("text", "lm_nll_sum", "lm_token_count", "lm_byte_count")
    assert [[row[name] for name in names] for row in bench.rows()] == [
        [row[name] for name in names] for row in bench.rows("plain")
    ]


def test_an_edit_that_changes_nothing_makes_nothing_anew_but_itself(bench: Any) -> None:
    bench.shard("a.jsonl", [{"id": "a", "text": "no address"}])
    bench.run(edit=[{"kind": "pii"}])
    before = set(bench.markers())
    bench.run(edit=[{"kind": "pii", "email_replacements": ["<email>"]}])
    new = {path.split("/")[0] for path in set(bench.markers()) - before}
    assert "edit" in new
    assert not new & {"documents", "signals"}


def test_edits_of_one_kind_and_columns_of_one_name_are_refused(bench: Any) -> None:
    from siftlm.checks.validate import check_config
    from siftlm.config import parse
    from siftlm.errors import UserError

    fields = {"input": [{"source": "web", "paths": ["in"], "columns": {"pii_ips": "int"}}]}
    for tree, message in [
        ({"edit": [{"kind": "pii"}] * 2}, r"edit: kinds must differ, got \['pii', 'pii'\]"),
        ({"edit": [{"kind": "pii"}], **fields}, "must give columns that nothing else gives, got 'pii_ips'"),
        ({"edit": [{"kind": "pii", "emails": "drop"}]}, r"edit\.0\.emails: "),
        ({"edit": [{"kind": "pii", "email_replacements": []}]}, r"edit\.0\.email_replacements: "),
    ]:
        with pytest.raises(UserError, match=message):
            check_config(parse(bench.tree(**tree), []))


def test_a_repair_without_its_library_is_refused(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from siftlm.checks import validate
    from siftlm.config import parse
    from siftlm.errors import UserError

    monkeypatch.setattr(validate, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"edit\.0: must have the packages .* without ftfy; pip install 'siftlm\[rep"):
        validate.check_config(parse(bench.tree(edit=[{"kind": "repair"}]), []))


def test_a_run_prints_what_it_found(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.runs.conftest import siftlm

    bench.shard("a.jsonl", [{"id": "a", "text": "a@b.co"}])
    config = bench.root / "run.toml"
    config.write_text(
        f'name = "x"\n[[input]]\nsource = "web"\npaths = ["{bench.root}/in"]\n[[edit]]\nkind = "pii"\n'
        f'[annotate]\nlanguage = false\nsignals = false\n[output]\nfolder = "{bench.root}/out"\n'
    )
    code, told, _ = siftlm(capsys, "run", str(config))
    assert code == 0
    assert "edit: 1 pii_emails in 1 of 1 documents" in told
