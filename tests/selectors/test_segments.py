"""Weights by segments against numpy, and their bounds."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.engine.values import read_value, write_value
from siftlm.errors import UserError
from siftlm.selectors import Plan, Selection, SelectSettings, resolve
from siftlm.store import Store

VALUES = st.lists(st.one_of(st.sampled_from([0.0, 0.5, 0.5, 1.0]), st.floats(1e-9, 1.0), st.none()), max_size=60)


def corpus(values: list[float | None]) -> pa.Table:
    ids = [f"id{n}" for n in range(len(values))]
    return pa.table({"doc_id": pa.array(ids, pa.string()), "commonness": pa.array(values, pa.float64())})


def selection_of(**factor: Any) -> Selection:
    weights = {"factors": [{"kind": "segments", "column": "commonness", **factor}], "cap": 1e6}
    return Selection(SelectSettings.model_validate({"weights": weights}))


def plan_of(values: list[float | None], **factor: Any) -> Plan:
    return resolve([corpus(values)], selection_of(**factor))


def by_hand(values: list[float], segments: int, ratio: float) -> list[float]:
    """The formula with sorted values, exact sums and division."""
    ranked, count = sorted(values), len(values)
    borders = [ranked[math.ceil(Fraction(k * count, segments)) - 1] for k in range(1, segments)]
    segment = [sum(value > border for border in borders) for value in values]
    means = {
        k: sum(Fraction(v) for v, s in zip(values, segment, strict=True) if s == k) / segment.count(k) for k in segment
    }
    least = max(means.values()) / Fraction(ratio)
    raw = [1 / max(means[k], least) if least else Fraction(1) for k in segment]
    return [float(w * count / sum(raw)) for w in raw]


@settings(max_examples=200, deadline=None)
@given(VALUES, st.integers(2, 7), st.sampled_from([1.0, 3.0, 20.0]))
def test_the_weights_are_those_of_the_formula(values: list[float | None], segments: int, ratio: float) -> None:
    """One over the mean of a segment, bounded, with mean 1; documents without a value have the factor for these."""
    selection = selection_of(segments=segments, ratio=ratio, missing=0.25)
    weight = selection.decide(corpus(values), resolve([corpus(values)], selection))["weight"].to_pylist()
    known = [value for value in values if value is not None]
    expected = iter(by_hand(known, segments, ratio) if known else [])
    assert weight == [0.25 if value is None else next(expected) for value in values]
    of_known = np.array([w for w, value in zip(weight, values, strict=True) if value is not None])
    if len(of_known):
        assert of_known.mean() == pytest.approx(1.0, rel=1e-12)
        assert of_known.max() <= ratio * of_known.min() * (1 + 1e-12)


TOPICS = st.sampled_from(["law", "food", "sports", None])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-9, 1.0) | st.none(), TOPICS), max_size=60), st.integers(2, 4), st.integers(1, 8))
def test_every_topic_has_segments_of_its_own(rows: list[tuple[float | None, str | None]], k: int, least: int) -> None:
    """The formula group by group; small groups and documents without a topic are one."""
    sizes = Counter(topic for value, topic in rows if value is not None and topic is not None)
    group_of = [topic if sizes[topic] >= least else None for _, topic in rows]
    expected: list[float] = [1.0] * len(rows)
    for group in set(group_of):
        at = [n for n, (value, _) in enumerate(rows) if group_of[n] == group and value is not None]
        for n, weight in zip(at, by_hand([rows[n][0] or 0.0 for n in at], k, 10.0) if at else [], strict=True):
            expected[n] = weight
    table = corpus([value for value, _ in rows]).append_column("topic", pa.array([t for _, t in rows], pa.string()))
    selection = selection_of(segments=k, within="topic", min_group=least)
    half = len(rows) // 2
    plan = resolve([table.slice(0, half), table.slice(half)], selection)
    assert selection.decide(table, plan)["weight"].to_pylist() == expected


def test_more_groups_than_sums_are_kept_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before sums are taken; a group has as many documents as segments, unless `min_group` says otherwise."""
    table = pa.table({"doc_id": [str(n) for n in range(90)], "commonness": [0.5] * 90, "topic": list("abc") * 30})
    monkeypatch.setattr("siftlm.selectors.factors.segments.MOST", 40)
    with pytest.raises(UserError) as refused:
        resolve([table], selection_of(within="topic"))
    assert str(refused.value) == (
        "select.weights.factors.0.within: must name a column of at most 2 values that have segments of their own, got "
        "3 of 'topic'; raise min_group"
    )


def test_what_is_common_counts_less() -> None:
    """A tenth of the documents is a thousand times as common: it gets the smallest weight, one tenth of the largest."""
    (segments,) = plan_of([0.001] * 90 + [1.0] * 10, segments=10, ratio=10.0).states
    assert segments.documents == (90, 0, 0, 0, 0, 0, 0, 0, 0, 10)
    assert segments.means[-1] == 1.0
    assert segments.weights[0] == pytest.approx(100 / (90 + 1), rel=1e-12)
    assert segments.weights[-1] == pytest.approx(10 / (90 + 1), rel=1e-12)


def test_a_plan_with_segments_is_read_as_it_was_written(tmp_path: Any) -> None:
    values = [0.1, 0.2, None, 0.7, 1e-300]
    selection, plan, store = selection_of(segments=3), plan_of(values, segments=3), Store(str(tmp_path))
    write_value(store.path("selections", "plan"), plan, store)
    again = read_value(store.path("selections", "plan"), store)
    assert selection.decide(corpus(values), again).equals(selection.decide(corpus(values), plan))


@pytest.mark.parametrize("value", [-1.0, math.inf])
def test_values_that_have_no_mean_are_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"^select\.weights\.factors\.0\.column: must be finite and at least 0"):
        plan_of([0.5, value])
