"""What a run says of its selection: rules told apart, ends kept, budgets not met, what weights make of the mixture."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from siftlm.inspect.explain import explain_row
from siftlm.inspect.run import FinishedRun
from siftlm.report.mixture import mixture
from siftlm.report.page import plain
from siftlm.report.steps import drops, kept_ends, shortages
from siftlm.report.terminal import print_summary

Run = Callable[..., str]
HOSTILE = ("<script>alert(1)</script>", "a|b`c`", "*x* _y_ [z](javascript:1)", "first\n---\nname: other", "\x1b[31m$x$")
UNEVEN = {"one": 30, "two": 20}
MIN, MAX = ({"kind": "threshold", "column": "byte_count", bound: 25} for bound in ("min", "max"))

BELOW = "byte_count_below_min"


def documents(source: str) -> list[dict[str, Any]]:
    """Documents of different sizes, over five hostile domains and none."""
    return [
        {"id": f"{source}{n}", "text": "x" * (n + 1) + f" {source}", "domain": (*HOSTILE, None)[n % 6]}
        for n in range(UNEVEN[source])
    ]


def run_over(finished_run: Run, **settings: Any) -> FinishedRun:
    return FinishedRun.open(finished_run({source: documents(source) for source in UNEVEN}, **settings))


def summary(run: FinishedRun, capsys: pytest.CaptureFixture[str]) -> str:
    print_summary(run.manifest, run.folder, unchanged=False)
    return capsys.readouterr().out


def rows(folder: str, part: str = "data") -> list[dict[str, Any]]:
    return duckdb.sql(f"SELECT * FROM read_parquet('{folder}/{part}/*.parquet')").arrow().read_all().to_pylist()


@pytest.mark.parametrize(
    ("preselect", "rules", "expected"),
    [
        (
            [],
            [MIN | {"min": 10}, MIN],
            {"select.rules.0": "byte_count_below_min", "select.rules.1": "byte_count_below_min"},
        ),
        ([MIN | {"min": 10}], [MIN], {"preselect.0": "byte_count_below_min", "select.rules.0": "byte_count_below_min"}),
        (
            [],
            [MIN | {"reason": "size", "when": {"source": ["one"]}}, MAX | {"reason": "size"}],
            {"select.rules.0": "size", "select.rules.1": "size"},
        ),
    ],
)
def test_rules_that_give_the_same_reason_are_told_apart(
    finished_run: Run, capsys: pytest.CaptureFixture[str], preselect: Any, rules: Any, expected: Any
) -> None:
    """In the manifest, the funnel, the terminal, the card, rejects/ and explain, each as plain counting has it."""
    run = run_over(finished_run, preselect=preselect, select={"rules": rules})
    truth = by_hand([*preselect, *rules], list(expected))
    assert {step["place"]: step["dropped"] for step in run.manifest["steps"] if step["dropped"]} == {
        place: {reason: truth[place]} for place, reason in expected.items()
    }
    assert Counter(row["dropped_by"] for row in rows(run.folder, "rejects")) == truth
    said, card = summary(run, capsys), Path(run.folder, "README.md").read_text("utf-8")
    for place, reason in expected.items():
        assert re.search(rf"dropped +{truth[place]}  {reason} \({re.escape(place)}\)", said)
        assert f"| {reason} ({place}) | {truth[place]} |" in card
    for row in run.read({"dropped_by"}).to_pylist()[::7]:
        met = [m.place for m in explain_row(run, row["shard"], row["row"]).met if m.verdict == "dropped"]
        assert met == ([row["dropped_by"]] if row["dropped_by"] else [])


def by_hand(rules: list[dict[str, Any]], places: list[str]) -> Counter[str]:
    lost: Counter[str] = Counter()
    for source in UNEVEN:
        for document in documents(source):
            for rule, place in zip(rules, places, strict=True):
                size = len(document["text"])
                applies = source in rule.get("when", {"source": UNEVEN})["source"]
                if applies and not rule.get("min", 0) <= size <= rule.get("max", 999):
                    lost[place] += 1
                    break
    return lost


def test_the_funnel_counts_documents_and_bytes_of_each_rule(finished_run: Run) -> None:
    """Also where two rules share a reason."""
    from siftlm.engine.runner import RunnerSettings
    from siftlm.inspect.report import overview

    run = run_over(finished_run, select={"rules": [MIN | {"min": 10}, MIN]})
    truth: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in rows(run.folder, "rejects"):
        truth[row["dropped_by"]][0] += 1
        truth[row["dropped_by"]][1] += row["byte_count"]
    losses = overview(run, RunnerSettings()).funnel.losses
    assert {loss.place: [loss.documents, loss.bytes] for loss in losses} == truth
    assert losses[-1].left == len(rows(run.folder))


BUDGETS = [
    ({"budget_documents": 50}, None),
    ({"budget_documents": 51}, "budget 51 documents, there were 50: kept all, 1 short"),
    ({"budget_tokens": 10_000_000}, "budget 10,000,000 tokens, there were 875: kept all, 9,999,125 short"),
    ({"budget_documents": 25, "within": "source"}, "budget 25 documents in each source, fewer in 1 of 2: kept all of "
     "these, 5 short"),
    ({"budget_documents": 1, "within": "source"}, None),
    ({"rate": 1.0}, None),
]  # fmt: skip


@pytest.mark.parametrize(("budget", "told"), BUDGETS)
def test_a_budget_above_what_there_is_is_said(
    finished_run: Run, capsys: pytest.CaptureFixture[str], budget: dict[str, Any], told: str | None
) -> None:
    """With what is missing, in the terminal, the card and the report; one that is met exactly is not."""
    rules = [{"kind": "threshold", "column": "byte_count", "min": 0}, {"kind": "top", "column": "byte_count", **budget}]
    run = run_over(finished_run, select={"rules": rules, "tokens": "byte_count"})
    pages = [summary(run, capsys), *(Path(run.folder, n).read_text("utf-8") for n in ("README.md", "report.html"))]
    for page in pages:
        assert re.findall(r"select\.rules\.1 \(top\): (budget .*? short)", page) == ([told] if told else [])


def test_which_end_was_kept_is_said() -> None:
    """For every rule that cut, by its share or budget; a rule that kept all has cut at no end."""
    top = {"place": "select.rules.1", "kind": "top", "end": "lowest", "by": "lm_perplexity", "within": "global"}
    share = top | {"unit": "documents", "rate": 0.3}
    budget = top | {"unit": "tokens", "budget": 1000, "short": 0, "groups": 1, "mass": 5000, "within": "source"}
    missed = top | {"unit": "tokens", "budget": 1000, "short": 10, "groups": 1, "mass": 990}
    assert kept_ends([share, budget, missed, {"place": "dedup"}]) == [
        "select.rules.1 (top): kept the lowest 30 % of documents by lm_perplexity",
        "select.rules.1 (top): kept the lowest 1,000 tokens in each source by lm_perplexity",
    ]
    assert shortages([share, budget, missed]) == [
        "select.rules.1 (top): budget 1,000 tokens, there were 990: kept all, 10 short"
    ]


def test_a_reason_of_one_step_has_no_step_behind_it() -> None:
    """Most documents first."""
    steps = [{"place": "a", "dropped": {"x": 2, "y": 1}}, {"place": "b", "dropped": {"x": 5, "z": 1}}]
    assert drops(steps) == [("x (b)", 5), ("x (a)", 2), ("y", 1), ("z", 1)]


FACTORS = [{"kind": "table", "column": "source", "table": {"two": 2.5}}]
WEIGHTS = [
    {"factors": FACTORS},
    {"factors": FACTORS, "budget_tokens": 300},
    {"factors": FACTORS, "budget_tokens": 1500, "cap": 9},
    {"factors": FACTORS, "budget_tokens": 1500, "cap": 9, "materialise": True},
]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_are_said_beside_the_tokens_kept(
    finished_run: Run, capsys: pytest.CaptureFixture[str], weights: dict[str, Any]
) -> None:
    """Kept, by weight and written, and the mixture by source and domain: added up in Python over data/."""
    run = run_over(finished_run, select={"weights": weights, "tokens": "byte_count"})
    told, written = run.manifest["statistics"], rows(run.folder)
    once = [row for row in written if row["copy"] == 0]
    assert told["kept"]["tokens"] == sum(row["byte_count"] for row in once)
    assert told["weighted"]["tokens"] == pytest.approx(sum(r["weight"] * r["byte_count"] for r in once), rel=1e-12)
    assert told["weighted"]["documents"] == pytest.approx(sum(row["weight"] for row in once), rel=1e-12)
    assert told["written"]["tokens"] == sum(row["byte_count"] for row in written)
    copied = weights.get("materialise", False)
    for column in ("source", "domain"):
        kept, effective = defaultdict(float), defaultdict(float)
        for row in written:
            kept[row[column]] += row["byte_count"] * (row["copy"] == 0)
            effective[row[column]] += row["byte_count"] * (1 if copied else row["weight"])
        for portion in told["mixture"][column]["portions"]:
            name = None if portion["name"] == "(none)" else portion["name"]
            assert portion["kept"] == kept[name]
            assert portion["effective"] == pytest.approx(effective[name], rel=1e-6)
            assert portion["effective_share"] == pytest.approx(effective[name] / sum(effective.values()), rel=1e-6)
        assert len(told["mixture"][column]["portions"]) == len(kept)
    said = summary(run, capsys)
    pages = [said, *(Path(run.folder, n).read_text("utf-8") for n in ("README.md", "report.html"))]
    for page in pages:
        assert f"{told['kept']['tokens']:,}" in page
        assert f"{told['weighted']['tokens']:,.0f}" in page
        assert f"{told['written']['tokens']:,}" in page
    assert f"by weight {told['weighted']['documents']:,.1f} documents" in said


def test_a_run_without_weights_says_nothing_of_them(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """What is kept is what is there."""
    run = run_over(finished_run, select={"tokens": "byte_count"})
    assert run.manifest["statistics"]["mixture"] == {}
    assert "weight" not in summary(run, capsys)


def test_the_portions_of_a_mixture_add_up_to_the_whole() -> None:
    """The largest effective ones by name, all others as one."""
    groups = {f"d{n:03d}": (1, 9, 9, 1, 9, n, 1, 0, 0, (n * n) << 32, 9, n) for n in range(100)}
    made = mixture("domain", groups, "tokens", written=False, shown=10)
    assert [portion.name for portion in made.portions] == [f"d{n:03d}" for n in range(99, 89, -1)] + ["89 others"]
    assert sum(portion.kept for portion in made.portions) == made.total.kept == sum(range(100))
    assert sum(portion.effective for portion in made.portions) == made.total.effective == sum(n * n for n in range(100))


def test_names_from_documents_do_nothing_in_the_card(finished_run: Run) -> None:
    """Domains of the mixture stand in their cells as text: no tag, no link, no new line, no further column."""
    run = run_over(finished_run, select={"weights": {"factors": FACTORS}, "tokens": "byte_count"})
    card = Path(run.folder, "README.md").read_text("utf-8")
    lines = card.splitlines()
    assert "<script" not in card
    assert lines.count("---") == 2
    start = lines.index("| domain | kept | share | effective | share |")
    cells = [re.split(r"(?<!\\)\|", line) for line in lines[start : start + 8]]
    assert [len(row) for row in cells] == [7] * 8


@pytest.mark.parametrize("text", [*HOSTILE, "plain_word.com", "_a_", "&lt;", "\u2028x\x85y", "```"])
def test_plain_text_survives_markdown(text: str) -> None:
    """A reader of CommonMark shows the text as it was, white space in one piece, control characters as pictures."""
    from html import unescape

    from siftlm.errors import visible

    made = plain(text)
    shown = unescape(re.sub(r"\\(?=[^a-zA-Z0-9\s])", "", made))
    assert shown == visible(" ".join(text.split()))
    assert not re.search(r"[<>\n]|(?<!\\)[`*|$\[\]]", made)
