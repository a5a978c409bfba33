"""Weights and copies: budgets to one document, caps, expectations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import brentq

from siftlm.errors import UserError
from siftlm.selectors import SelectSettings, select

FACTOR = {"kind": "column", "column": "value"}
DOCUMENTS = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 1.0, 3.0]), st.floats(1e-6, 1e6)), st.integers(0, 400)),
    min_size=1,
    max_size=40,
)


def corpus(documents: list[tuple[float, int]]) -> pa.Table:
    """A table of (value, tokens)."""
    return pa.table(
        {
            "doc_id": [f"id{i}" for i in range(len(documents))],
            "value": pa.array([value for value, _ in documents], pa.float64()),
            "tokens": pa.array([tokens for _, tokens in documents], pa.int64()),
        }
    )


def weigh(table: pa.Table, seed: int = 0, **weights: Any) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    """Weights, copies and reasons."""
    tree = {"weights": {"factors": [FACTOR], **weights}, "tokens": "tokens", "seed": seed}
    (decision,) = select([table], SelectSettings.model_validate(tree))
    return np.asarray(decision["weight"]), np.asarray(decision["copies"]), decision["reason"].to_pylist()


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.integers(1, 5), st.floats(0.001, 1))
def test_copies_meet_the_budget_within_one_document_and_the_cap(documents, cap: int, share: float) -> None:
    """The budget is reached, and without the last copy drawn it is not."""
    most = cap * sum(tokens for value, tokens in documents if value > 0)
    budget = int(share * most)
    assume(budget >= 1)
    weight, copies, reasons = weigh(corpus(documents), cap=float(cap), budget_tokens=budget, materialise=True)
    tokens = np.array([t for _, t in documents])
    realised = int((copies * tokens).sum())
    assert budget <= realised < budget + tokens.max()
    assert copies.max() <= cap
    assert (copies[weight == 0] == 0).all()
    assert (np.abs(copies - weight) < 1 + 1e-9).all()
    assert [r is None for r in reasons] == (copies > 0).tolist()


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, st.floats(0.3, 5), st.floats(0.001, 1))
def test_scaled_weights_meet_the_budget_and_the_cap(documents, cap: float, share: float) -> None:
    """sum(weight * tokens) is the budget to rounding, and the weights are those of a root finder."""
    value, tokens = (np.array(column, float) for column in zip(*documents, strict=True))
    most = cap * tokens[value > 0].sum()
    budget = int(share * most)
    assume(1 <= budget <= 0.999 * most)
    weight, _, reasons = weigh(corpus(documents), cap=cap, budget_tokens=budget)
    assert (weight * tokens).sum() == pytest.approx(budget, rel=1e-9)
    assert weight.max() <= cap
    assert {r for r, w in zip(reasons, weight, strict=True) if w == 0} <= {"zero_weight"}
    scale = np.exp(brentq(lambda c: (np.minimum(np.exp(c) * value, cap) * tokens).sum() - budget, -60, 60, xtol=1e-13))
    np.testing.assert_allclose(weight * tokens, np.minimum(scale * value, cap) * tokens, rtol=1e-6, atol=1e-9 * budget)


def test_expected_copies_are_the_weights() -> None:
    """Over 400 seeds, the mean number of copies is min(w, cap) within five standard errors."""
    value = np.array([0.0, 0.1, 0.5, 1.0, 1.7, 2.25, 9.0])
    table = corpus([(v, 1) for v in value])
    drawn = np.array([weigh(table, seed, cap=3.0, materialise=True)[1] for seed in range(400)])
    expected = np.minimum(value, 3.0)
    error = np.sqrt((expected % 1) * (1 - expected % 1) / 400)
    assert (np.abs(drawn.mean(axis=0) - expected) <= 5 * error + 1e-12).all()
    assert ((drawn == np.floor(expected)) | (drawn == np.ceil(expected))).all()


def test_expected_copies_under_a_budget_are_proportional_to_the_weights() -> None:
    """4,000 documents at weights 1, 2 and 4 get copies in these proportions."""
    value = np.tile([1.0, 2.0, 4.0, 1.0], 1000)
    weight, copies, _ = weigh(corpus([(v, 10) for v in value]), cap=8.0, budget_tokens=60_000, materialise=True)
    assert copies.sum() == 6000
    for v, count in ((1.0, 2000), (2.0, 1000), (4.0, 1000)):
        assert copies[value == v].mean() == pytest.approx(6000 * v / 8000, abs=5 * 0.5 / np.sqrt(count))
    assert weight.sum() == pytest.approx(6000, rel=0.02)


def test_a_budget_above_what_the_cap_allows_names_both_numbers() -> None:
    """It fails, and never repeats a document more often than the cap."""
    for materialise in (False, True):
        with pytest.raises(UserError, match=r"budget_tokens: must be at most the 40 tokens .*, got 41"):
            weigh(corpus([(1.0, 10), (2.0, 10), (0.0, 10)]), cap=2.0, budget_tokens=41, materialise=materialise)
        weight, copies, _ = weigh(
            corpus([(1.0, 10), (2.0, 10), (0.0, 10)]), cap=2.0, budget_tokens=40, materialise=materialise
        )
        assert copies.tolist() == ([2, 2, 0] if materialise else [1, 1, 0])
        assert weight[1:].tolist() == [2.0, 0.0]


def test_a_budget_below_one_document_takes_one() -> None:
    """The first step alone crosses it."""
    _, copies, _ = weigh(corpus([(1.0, 100)] * 5), budget_tokens=1, materialise=True)
    assert sorted(copies.tolist()) == [0, 0, 0, 0, 1]


def test_an_empty_corpus_cannot_meet_a_budget() -> None:
    """There is an error, and no division by zero."""
    for materialise in (False, True):
        with pytest.raises(UserError, match="at most the 0 tokens"):
            weigh(corpus([]), budget_tokens=5, materialise=materialise)


def test_factors_multiply() -> None:
    """A table of domains, one over the cluster size; nulls and unlisted names take the defaults."""
    table = pa.table(
        {
            "doc_id": list("abcd"),
            "domain": ["x.com", "y.com", None, "x.com"],
            "cluster_size": pa.array([1, 4, 2, None], pa.int64()),
        }
    )
    factors = [
        {"kind": "table", "column": "domain", "table": {"x.com": 3.0}, "default": 0.5},
        {"kind": "column", "column": "cluster_size", "inverse": True},
    ]
    (decision,) = select([table], SelectSettings.model_validate({"weights": {"factors": factors}}))
    assert decision["weight"].to_pylist() == [3.0, 0.125, 0.25, 3.0]
    assert decision["copies"].to_pylist() == [1, 1, 1, 1]


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_a_weight_that_is_none_is_refused(value: float) -> None:
    """Negative and infinite weights stop the run and name the factor."""
    with pytest.raises(UserError, match=r"^select\.weights\.factors\.0\.column: must be finite"):
        weigh(corpus([(value, 10)]))


def test_settings_of_weights_are_checked() -> None:
    """Fractional caps have no whole copies, one column gives one factor, a budget needs tokens."""
    for weights, message in (
        ({"cap": 2.5, "materialise": True}, "whole number"),
        ({"factors": [FACTOR, FACTOR]}, "one factor"),
        ({"budget_tokens": 10}, "tokens must name a column"),
    ):
        with pytest.raises(ValidationError, match=message):
            SelectSettings.model_validate({"weights": weights})


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 7, None], [3.0, 1.0, 1.0]), ([True, False, None], [1.0, 0.5, 1.0]), (["1", "x", None], [3.0, 1.0, 1.0])],
)
def test_a_table_gives_the_factor_of_a_value_as_it_is_written(values: list[Any], expected: list[float]) -> None:
    """A table in TOML has keys of text only; the column may be of integers or booleans too."""
    table = corpus([(1.0, 1)] * 3).set_column(1, "value", pa.array(values))
    factor = {"kind": "table", "column": "value", "table": {"1": 3.0, "false": 0.5}}
    assert weigh(table, factors=[factor])[0].tolist() == expected


def test_a_table_for_a_column_of_fractions_is_refused() -> None:
    """How a fraction is written is nobody's to know."""
    factor = {"kind": "table", "column": "value", "table": {"1": 3.0}}
    with pytest.raises(UserError, match=r"^select\.weights\.factors\.0\.column: must be of strings, booleans or int"):
        weigh(corpus([(1.0, 1)]), factors=[factor])
