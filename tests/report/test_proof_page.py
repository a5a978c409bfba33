"""The page of a proof shows every verdict, escapes names, and its charts have words for what they show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from siftlm.cli.prove import forest_bar, print_proof
from siftlm.report.proof import (
    CurvePoint,
    Kind,
    ProofAccuracy,
    ProofArm,
    ProofComparison,
    ProofDesign,
    ProofDocument,
    ProofDomain,
    ProofEffect,
    ProofReport,
    ProofSoup,
    ProofSoups,
    verdict_words,
)
from siftlm.report.proof_page import proof_page

DOMAINS = ("pages", "articles")


def arm(name: str, kind: Kind, level: float) -> ProofArm:
    curve = [
        CurvePoint(t, level + 50_000 / t, level + 45_000 / t, level + 55_000 / t) for t in (60_000, 120_000, 300_000)
    ]
    domains = dict(zip(DOMAINS, (level, level + 0.4), strict=True))
    sources = {"web": 0.7, "<wiki>": 0.3}
    return ProofArm(
        name, kind, "", 1200, 2_000_000, 900_000, 0.45, 1.2, sources, 1800, level, [level] * 3, domains, curve, 30.0
    )


def effect(middle: float, reach: float) -> ProofEffect:
    low, high = middle - reach, middle + reach
    return ProofEffect(middle, low, high, reach / 3, "better" if low > 0 else "worse" if high < 0 else "tie")


def comparison(name: str, null: str, middle: float) -> ProofComparison:
    domains = {domain: effect(middle * scale, 0.03) for domain, scale in zip(DOMAINS, (1.5, 0.5), strict=True)}
    return ProofComparison(name, null, effect(middle, 0.02), domains, 1.3 if middle > 0 else None, "", middle < -0.05)


def report() -> ProofReport:
    names = {"low_bits": 0.08, "medium": -0.06, "disguise": 0.004}
    arms = [arm("random", "random", 2.2)]
    for name, better in names.items():
        arms += [arm(name, "selection", 2.2 - better), arm(f"like {name}", "matched", 2.2)]
    made = [comparison(name, f"like {name}", better) for name, better in names.items()]
    made += [comparison(name, "random", better) for name, better in names.items()]
    document = ProofDocument("id<1>", "web", "<script>alert(1)</script> text", True)
    return ProofReport(
        "tiny",
        "0.1.0",
        "x",
        ProofDesign(300_000, 400_000, 3, 4, 22, 400_000, 2048, 3, 0.05, 0.012, 0.041),
        [ProofDomain(name, 100, 300_000, 3, 0.1, 0.012) for name in DOMAINS],
        arms,
        made,
        [
            ProofAccuracy("quiz", {"random": 0.25, "low_bits": 0.5}, 0.25, 0.02),
            ProofAccuracy("riddles", {"random": 0.25, "low_bits": 0.26}, 0.01, 0.02),
        ],
        ["all models were trained on 300,000 tokens"],
        "low_bits",
        [document],
        [],
    )


def test_the_page_says_what_was_found() -> None:
    page = proof_page(report())
    assert "low_bits teaches better than like low_bits" in page
    assert "medium teaches worse than like medium" in page
    assert "disguise and like disguise are a tie at this budget" in page
    assert "<script>" not in page
    assert "&lt;wiki&gt;" in page
    assert page.count("<svg") == 3 + 3
    assert "so its own noise counts" in page
    assert "quiz, right answers" in page
    assert "Accuracy on riddles is within its noise" in page


def soups() -> ProofSoups:
    made = [
        ProofSoup("low_bits", {"<web>": 0.75, "wiki": 0.25}, 0.02, 2.3456, dict.fromkeys(DOMAINS, 2.3), 2.1234),
        ProofSoup("half", {"<web>": 0.5, "wiki": 0.5}, 0.0, 2.4567, dict.fromkeys(DOMAINS, 2.4), None),
    ]
    told = (0.9, 0.95, 0.6, 0.88, 0.01, "soups order the arms as trained models do: rank correlation +0.90")
    return ProofSoups(["<web>", "wiki"], "random 0", made, *told)


def test_the_page_and_the_terminal_have_soups_where_there_are_some(capsys: pytest.CaptureFixture[str]) -> None:
    """With what they are worth, and without a figure for what nobody trained."""
    page = proof_page(replace(report(), soups=soups()))
    assert "Soups order the arms as trained models do: rank correlation +0.90." in page
    row = page[page.index("half</bdi>") :]
    assert row.index("2.4567") < row.index(">–<") < row.index("50 %")
    assert "&lt;web&gt;" in page
    assert 'id="soups"' not in proof_page(report())
    print_proof(replace(report(), soups=soups()), "out")
    said = capsys.readouterr().out
    assert "soups order the arms as trained models do" in said
    assert "2.346" in said
    assert (
        orjson.loads(orjson.dumps(replace(report(), soups=soups()).as_json()))["soups"]["soups"][1]["trained"] is None
    )


def test_the_terminal_says_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_proof(report(), "out")
    said = capsys.readouterr().out
    assert "low_bits teaches better than like low_bits" in said
    assert "out/proof/proof.html" in said


def test_the_json_has_every_field() -> None:
    told = orjson.loads(orjson.dumps(report().as_json()))
    assert [made["overall"]["verdict"] for made in told["comparisons"]][:3] == ["better", "worse", "tie"]
    assert told["arms"][1]["curve"][-1]["tokens"] == 300_000


@pytest.mark.parametrize(
    ("low", "middle", "high", "bar"),
    [(-1, 0, 1, "-----o-----"), (0.2, 0.6, 1, "     |--o-"), (-1, -1, -1, "o    |")],
)
def test_a_bar_is_an_interval_around_zero(low: float, middle: float, high: float, bar: str) -> None:
    made = forest_bar(low, middle, high, 1.0, width=11)
    assert made.strip()[0] == bar.strip()[0]
    assert len(made) == 11
    assert made.index("o") == round((middle + 1) * 5)
    assert np.isin(list(made), list(" -+|o")).all()


def test_verdicts_are_sentences() -> None:
    assert verdict_words(comparison("a", "b", 0.1)) == (
        "a teaches better than b: by 0.1000 bits per byte, interval +0.0800 to +0.1200"
    )
