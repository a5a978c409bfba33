"""Mixtures: shares of tokens by a column, exact within one document, whatever else weighs; what cannot be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.selectors import SelectSettings, select
from siftlm.selectors.factors.mixture import MixtureFactor

RANDOM = np.random.default_rng(7)
N = 3000
CORPUS = pa.table(
    {
        "doc_id": [f"doc-{i}" for i in range(N)],
        "topic": [("a", "a", "a", "b", "b", "c", None, "rare")[i % 8] for i in range(N)],
        "quality": np.exp(RANDOM.normal(size=N)),
        "tokens": pa.array(RANDOM.integers(1, 300, N)),
    }
)
TOKENS = np.asarray(CORPUS["tokens"])
TOPIC = np.array(CORPUS["topic"].to_pylist(), object)


def decided(table: pa.Table = CORPUS, shards: int = 1, **weights: Any) -> tuple[np.ndarray, np.ndarray]:
    """Weights (0 for what is dropped) and copies."""
    tree = {"weights": weights, "tokens": "tokens"}
    size = max(1, -(-table.num_rows // shards))
    parts = [table.slice(at, size) for at in range(0, table.num_rows, size)]
    made = pa.Table.from_batches(select(parts, SelectSettings.model_validate(tree)))
    return np.asarray(made["weight"].fill_null(0.0)), np.asarray(made["copies"])


def mixture(shares: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"kind": "mixture", "column": "topic", "shares": shares, **more}


def shares_of(size: np.ndarray) -> dict[Any, float]:
    total = size.sum()
    return {topic: float(size[topic == TOPIC].sum() / total) for topic in ("a", "b", "c", None, "rare")}


@pytest.mark.parametrize("quality", [False, True])
@pytest.mark.parametrize("shards", [1, 4])
def test_weights_give_the_shares_that_are_asked_for(quality: bool, shards: int) -> None:
    """Without a budget the tokens are those of the documents with a share; other factors weigh within a value."""
    factors = [mixture({"a": 1, "b": 2, "c": 1})]
    factors += [{"kind": "column", "column": "quality", "inverse": False}] if quality else []
    weight, copies = decided(factors=factors, cap=50.0, shards=shards)
    there = np.isin(TOPIC, ["a", "b", "c"])
    assert (weight * TOKENS).sum() == pytest.approx(TOKENS[there].sum(), rel=1e-9)
    assert shares_of(weight * TOKENS) == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25, None: 0, "rare": 0}, abs=1e-5)
    assert ((copies > 0) == there).all()
    if quality:
        within = weight[TOPIC == "b"] / np.asarray(CORPUS["quality"])[TOPIC == "b"]
        assert np.ptp(within) < 1e-9 * within.mean()


@pytest.mark.parametrize("shards", [1, 3])
def test_copies_give_the_shares_to_one_document(shards: int) -> None:
    budget = 300_000
    factors = [mixture({"a": 0.2, "b": 0.5, "c": 0.3})]
    _, copies = decided(factors=factors, cap=4.0, budget_tokens=budget, materialise=True, shards=shards)
    for topic, share in (("a", 0.2), ("b", 0.5), ("c", 0.3)):
        realised = (copies * TOKENS)[topic == TOPIC].sum()
        assert share * budget - 1 <= realised < share * budget + TOKENS[topic == TOPIC].max() + 1
    assert copies.max() <= 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.integers(1, 400_000))
def test_a_mixture_is_met_or_refused_with_the_value_that_is_too_small(shares: list[float], budget: int) -> None:
    named = dict(zip("abc", shares, strict=True))
    try:
        weight, _ = decided(factors=[mixture(named)], cap=2.0, budget_tokens=budget)
    except UserError as error:
        value = str(error).split("shares.")[1][0]
        assert named[value] / sum(shares) * budget > 2 * TOKENS[value == TOPIC].sum() * (1 - 1e-9)
        return
    for value, share in named.items():
        assert (weight * TOKENS)[value == TOPIC].sum() == pytest.approx(share / sum(shares) * budget, abs=1)


def test_a_value_without_enough_tokens_is_named_with_what_it_can_fill() -> None:
    with pytest.raises(UserError) as raised:
        decided(factors=[mixture({"a": 0.1, "rare": 0.9})], cap=2.0)
    assert str(raised.value).startswith(
        "select.weights.factors.0.shares.rare: must be what its tokens can fill, got 0.9"
    )
    with pytest.raises(UserError, match=r"shares\.nobody: .*its 0 tokens"):
        decided(factors=[mixture({"a": 1, "nobody": 1})])


def test_epochs_bound_a_value_and_the_others_take_the_rest() -> None:
    weight, _ = decided(factors=[mixture({"a": 1, "b": 1, "rare": 8}, epochs=1.5)], cap=4.0)
    rare, total = TOKENS[TOPIC == "rare"].sum(), TOKENS[np.isin(TOPIC, ["a", "b", "rare"])].sum()
    realised = {topic: (weight * TOKENS)[topic == TOPIC].sum() for topic in ("a", "b", "rare")}
    assert realised["rare"] == pytest.approx(1.5 * rare, abs=1)
    assert sum(realised.values()) <= total + 1
    assert realised["a"] == pytest.approx(min(1.5 * TOKENS[TOPIC == "a"].sum(), (total - 1.5 * rare) / 2), abs=1)


def test_temperature_and_floor_change_shares() -> None:
    shares = {"a": 0.64, "b": 0.32, "c": 0.04}
    roots = {value: share**0.5 for value, share in shares.items()}
    flat = MixtureFactor.model_validate(mixture(shares, temperature=2.0)).fractions()
    assert flat == pytest.approx({value: root / sum(roots.values()) for value, root in roots.items()})
    floored = MixtureFactor.model_validate(mixture(shares, floor=0.1)).fractions()
    assert floored == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1})


def test_shares_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"shares": {"a": 3, "b": 1}, "made_by": "hand"}))
    rows = {"target": ["x", "x", "y"], "unit": ["a", "b", "a"], "weight": [0.75, 0.25, 1.0]}
    pq.write_table(pa.table(rows), tmp_path / "w.parquet")
    expected = decided(factors=[mixture({"a": 0.75, "b": 0.25})])[0]
    for more in ({"path": str(tmp_path / "m.json")}, {"path": str(tmp_path / "w.parquet"), "target": "x"}):
        factor = {"kind": "mixture", "column": "topic", **more}
        np.testing.assert_array_equal(decided(factors=[factor])[0], expected)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (mixture({}), "must hold a share above 0"),
        (mixture({"a": 0.0}), "must hold a share above 0"),
        (mixture({"a": -1.0}), "greater than or equal to 0"),
        (mixture({"a": 1, "b": 1}, floor=0.6), "floor must leave 2 values room"),
        ({"kind": "mixture", "column": "topic", "path": "nowhere.json"}, "path must name a file of shares"),
    ],
)
def test_shares_that_are_none_are_refused(factor: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SelectSettings.model_validate({"weights": {"factors": [factor]}, "tokens": "tokens"})


def test_a_mixture_needs_the_column_of_tokens() -> None:
    with pytest.raises(ValidationError, match="tokens must name a column, since weights counts tokens"):
        SelectSettings.model_validate({"weights": {"factors": [mixture({"a": 1})]}})


def test_a_corpus_of_one_document_is_its_mixture() -> None:
    weight, copies = decided(CORPUS.slice(0, 1), factors=[mixture({"a": 1})])
    assert (weight.tolist(), copies.tolist()) == ([1.0], [1])


def test_steps_give_the_factor_of_the_last_step_at_or_below_a_value() -> None:
    table = CORPUS.slice(0, 5).append_column("size", pa.array([0.5, 1.0, 2.9, 3.0, None]))
    factor = {"kind": "steps", "column": "size", "steps": [[1, 2.0], [3, 0.5]], "below": 4.0, "missing": 3.0}
    assert decided(table, factors=[factor], cap=10.0)[0].tolist() == [4.0, 2.0, 2.0, 0.5, 3.0]
    with pytest.raises(ValidationError, match="ascending values"):
        SelectSettings.model_validate({"weights": {"factors": [factor | {"steps": [[3, 1.0], [1, 1.0]]}]}})


def test_more_tokens_than_all_values_have_in_their_epochs_are_an_error() -> None:
    """And exactly as many are had; without a number of tokens, what there is in so many epochs counts."""
    there = {topic: int(TOKENS[topic == TOPIC].sum()) for topic in "ab"}
    most = 2 * sum(there.values())
    shares = mixture({"a": 1, "b": 3}, epochs=2.0)
    weight, _ = decided(factors=[shares], budget_tokens=most)
    assert sorted(set(weight.tolist())) == pytest.approx([0.0, 2.0])
    with pytest.raises(UserError, match=rf"factors\.0\.epochs: must let the values .* fill {most + 1:,} tokens, got 2"):
        decided(factors=[shares], budget_tokens=most + 1)
    weight, _ = decided(factors=[mixture({"a": 1, "b": 3}, epochs=0.5)])
    assert (weight * TOKENS).sum() == pytest.approx(most / 4, abs=2)


@pytest.mark.parametrize("materialise", [False, True])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.2])
def test_a_value_of_one_document_is_met_within_it_or_refused(share: float, materialise: bool) -> None:
    """By weight exactly, in copies within the document; more than its four copies hold is refused by name."""
    table = pa.concat_tables([CORPUS.slice(0, 200), CORPUS.slice(7, 1).set_column(1, "topic", pa.array(["single"]))])
    table = table.set_column(0, "doc_id", pa.array([f"id{i}" for i in range(201)]))
    alone, budget = int(TOKENS[7]), 20_000
    factor = mixture({"a": 1 - share, "single": share})
    settings = {"factors": [factor], "cap": 4.0, "budget_tokens": budget, "materialise": materialise}
    if share * budget > 4 * alone:
        with pytest.raises(UserError, match=r"shares\.single: must be what its tokens can fill"):
            decided(table, **settings)
        return
    weight, copies = decided(table, **settings)
    realised = (copies if materialise else weight)[-1] * alone
    assert abs(realised - share * budget) <= (alone if materialise else 1)


@pytest.mark.parametrize("shards", [1, 3])
def test_tokens_of_training_are_the_budget_of_a_mixture_in_four_epochs(shards: int) -> None:
    """What the rare value lacks goes to the others, of whose text a part is kept."""
    rare = TOKENS[TOPIC == "rare"].sum()
    budget = int(10 * rare)
    factor = mixture({"a": 0.5, "rare": 0.5}, train_tokens=budget)
    weight, _ = decided(factors=[factor], shards=shards)
    assert (weight * TOKENS)[TOPIC == "rare"].sum() == pytest.approx(4 * rare, rel=1e-9)
    assert (weight * TOKENS)[TOPIC == "a"].sum() == pytest.approx(budget - 4 * rare, rel=1e-6)
    _, copies = decided(factors=[factor], shards=shards, materialise=True)
    assert (copies[TOPIC == "rare"] == 4).all()
    with pytest.raises(UserError, match=r"epochs: must let .* got 3"):  # no document has more than cap copies
        decided(factors=[factor | {"train_tokens": 10**9, "epochs": 9}], cap=3.0)
    with pytest.raises(ValidationError, match=r"budget_tokens must be left out, since factors\.0 has train_tokens"):
        decided(factors=[factor], budget_tokens=5)


def test_thousands_of_values_are_weighed_as_few_are() -> None:
    """Each value's tokens against its share."""
    unit = [f"u{i % 1500}" for i in range(N)]
    table = CORPUS.append_column("unit", pa.array(unit))
    shares = {f"u{i}": float(i + 1) for i in range(1500)}
    factor = {"kind": "mixture", "column": "unit", "shares": shares}
    weight, _ = decided(table, factors=[factor], budget_tokens=50_000, cap=1e6)
    realised: dict[str, float] = dict.fromkeys(shares, 0.0)
    for name, tokens in zip(unit, weight * TOKENS, strict=True):
        realised[name] += tokens
    total = sum(shares.values())
    assert realised == pytest.approx({name: share / total * 50_000 for name, share in shares.items()}, abs=1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"unit": ["a", "a"], "weight": [0.5, 0.5]}, "the unit 'a' more than once"),
        ({"unit": ["a"], "share": [1.0]}, "has no 'weight'"),
        ({"unit": ["a", "b"], "weight": [None, 0.5]}, "valid number"),
        ({"unit": ["a"], "weight": [float("inf")]}, "finite number"),
    ],
)
def test_a_file_without_shares_is_refused(tmp_path: Path, rows: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(rows), tmp_path / "w.parquet")
    with pytest.raises(ValidationError, match=message):
        MixtureFactor.model_validate({"column": "topic", "path": str(tmp_path / "w.parquet")})


def test_shares_of_a_column_of_numbers_with_a_point_are_refused() -> None:
    with pytest.raises(UserError, match=r"^select\.weights\.factors\.0\.column: must be of strings, booleans or int"):
        decided(factors=[mixture({"1.0": 1}) | {"column": "quality"}])
