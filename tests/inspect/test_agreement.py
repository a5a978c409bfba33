"""Rank correlations are scipy's, and the documents shown are those whose places differ most."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from siftlm.inspect.agreement import SHOWN, RankedAlike, apart, rankings


def test_correlations_are_those_of_scipy_over_the_documents_with_both() -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=200).round(1)
    numbers = {"a": first, "b": first**3 + generator.normal(size=200), "c": generator.normal(size=200)}
    numbers["b"][::7] = np.nan
    numbers["c"][3] = np.inf
    for made in rankings(["a", "b", "c"], numbers):
        both = np.isfinite(numbers[made.first]) & np.isfinite(numbers[made.second])
        truth = stats.spearmanr(numbers[made.first][both], numbers[made.second][both]).statistic
        assert (made.correlation, made.documents) == (pytest.approx(truth), both.sum())


def test_too_few_documents_and_constants_have_no_correlation() -> None:
    numbers = {
        "a": np.arange(40.0),
        "few": np.where(np.arange(40) < 29, 1.0 * np.arange(40), np.nan),
        "one": np.ones(40),
    }
    assert [made.correlation for made in rankings(["a", "few"], numbers)] == [None]
    assert [made.correlation for made in rankings(["a", "one"], numbers)] == [None]
    assert apart(rankings(["a", "one"], numbers)[0], numbers, np.arange(40)) == []


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_documents_shown_are_those_that_differ_most(sign: float) -> None:
    """Of two columns that rank alike but for six documents, these, whichever way the second is turned."""
    first = np.arange(100.0)
    second = first.copy()
    second[[5, 6, 7]], second[[90, 91, 92]] = [200.0, 201.0, 202.0], [-1.0, -2.0, -3.0]
    numbers = {"a": first, "b": sign * second}
    (made,) = rankings(["a", "b"], numbers)
    shown = apart(made, numbers, np.arange(100))
    assert {one.index for one in shown[:3]} == {90, 91, 92}
    assert {one.index for one in shown[SHOWN : SHOWN + 3]} == {5, 6, 7}
    assert shown[0].first == pytest.approx((shown[0].index + 0.5) / 100)
    assert all(one.first > 0.5 for one in shown[:3])


def test_columns_that_rank_alike_have_nothing_to_show() -> None:
    numbers = {"a": np.arange(50.0), "b": np.exp(np.arange(50.0) / 9)}
    assert rankings(["a", "b"], numbers) == [RankedAlike("a", "b", 1.0, 50)]
    assert apart(rankings(["a", "b"], numbers)[0], numbers, np.arange(50)) == []


def page_of(finished_run: Any, names: list[str]) -> str:
    rng = random.Random(4)
    texts = [" ".join(rng.choice("abcdefg") * rng.randint(1, 9) for _ in range(30)) for _ in range(40)]
    rows = [{"id": f"d{n:02d}", "text": text} for n, text in enumerate(texts)]
    others = [{"kind": "compression", "name": name, "codec": name} for name in names]
    folder = finished_run({"web": rows}, annotate={"language": None, "signals": None, "others": others})
    return Path(folder, "report.html").read_text()


def test_the_report_shows_scores_beside_each_other(finished_run: Any) -> None:
    page = page_of(finished_run, ["zstd", "gzip"])
    assert "Scores beside each other" in page
    assert "Where zstd_ratio and gzip_ratio disagree" in page


def test_one_score_has_nothing_beside_it(finished_run: Any) -> None:
    assert "Scores beside each other" not in page_of(finished_run, ["zstd"])
