"""Documents far apart, against brute force over every set of so many."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.selectors import Selection, SelectSettings, resolve, select


def kept(tables: list[pa.Table], **rule: Any) -> list[str]:
    """The ids that the rule keeps."""
    settings = SelectSettings.model_validate({"rules": [{"kind": "diverse", **rule}]})
    made = zip(tables, select(tables, settings), strict=True)
    return [name for table, of in made for name in table.filter(of["kept"])["doc_id"].to_pylist()]


def points(*xy: tuple[float, float], quality: list[float] | None = None, cluster: list[str] | None = None) -> pa.Table:
    ids = [f"d{number}" for number in range(len(xy))]
    return pa.table({
        "doc_id": ids,
        "x": pa.array([x for x, _ in xy], pa.float64()),
        "y": pa.array([y for _, y in xy], pa.float64()),
        "quality": pa.array(quality or [float(-number) for number in range(len(xy))], pa.float64()),
        "cluster": pa.array(cluster or ["a"] * len(xy), pa.string()),
    })  # fmt: skip


FAR = {"column": "quality", "coordinates": ["x", "y"]}


def test_the_best_comes_first_then_what_is_farthest() -> None:
    """On a line the best, the far end, then what is farthest from both."""
    table = points((0, 0), (1, 0), (4, 0), (5, 0), (9, 0))
    assert [kept([table], **FAR, budget_documents=n) for n in (1, 2, 3)] == [["d0"], ["d0", "d4"], ["d0", "d2", "d4"]]
    assert len(kept([table], **FAR, budget_documents=10)) == 5


def test_of_equal_distances_the_better_is_taken() -> None:
    table = points((0, 0), (0, 3), (3, 0), quality=[9.0, 1.0, 2.0])
    assert kept([table], **FAR, budget_documents=2) == ["d0", "d2"]
    assert kept([table], **FAR, budget_documents=2, direction="lowest") == ["d1", "d2"]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_no_document_is_farther_than_twice_what_the_best_set_leaves(
    places: list[tuple[int, int]], budget: int, parts: int
) -> None:
    """Gonzalez's bound, over every set of so many; however the corpus is cut, the same are kept."""
    table = points(*[(float(x), float(y)) for x, y in places])
    chosen = kept([table], **FAR, budget_documents=budget)
    assert len(chosen) == min(budget, len(places))
    ends = [len(places) * part // parts for part in range(parts + 1)]
    cut = [table.slice(a, b - a) for a, b in pairwise(ends)]
    assert kept(cut, **FAR, budget_documents=budget) == chosen
    where = np.array(places, float)
    distance = np.sqrt(((where[:, None] - where[None]) ** 2).sum(axis=2))

    def radius(rows: list[int]) -> float:
        return float(distance[:, rows].min(axis=1).max())

    best = min(radius(list(rows)) for rows in combinations(range(len(places)), min(budget, len(places))))
    assert radius([int(name[1:]) for name in chosen]) <= 2 * best + 1e-9


def test_clusters_give_their_best_and_take_turns() -> None:
    """At most two of each; within a budget the best of each cluster comes before the second best of any."""
    quality = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
    table = points(*[(0.0, 0.0)] * 6, quality=quality, cluster=["a", "a", "a", "b", "b", "c"])
    rule = {"column": "quality", "within": "cluster"}
    assert kept([table], **rule, per_group=2) == ["d0", "d1", "d3", "d4", "d5"]
    assert kept([table], **rule, budget_documents=4) == ["d0", "d1", "d3", "d5"]
    assert kept([table], **rule, per_group=1, budget_documents=2) == ["d0", "d3"]


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "diverse", "budget_documents": 4},
        {"kind": "diverse", "per_group": 1 << 62},
        {"kind": "top", "budget_documents": 1 << 62},
    ],
)
def test_a_manifest_holds_what_many_clusters_lack(rule: dict[str, Any]) -> None:
    """Whose budgets add up to more than JSON has integers for."""
    table = points(*[(0.0, 0.0)] * 6, cluster=list("abcdef"))
    settings = SelectSettings.model_validate({"rules": [{"column": "quality", "within": "cluster", **rule}]})
    plan = resolve([table], Selection(settings))
    (made,) = settings.rules
    told = orjson.loads(orjson.dumps(made.outcome(plan.states[0], table.schema)))
    assert told["groups"] == 6
    assert ("budget" in told) == ("per_group" in rule or rule["kind"] == "top")


def test_the_farthest_are_looked_for_among_the_best_of_each_cluster() -> None:
    table = points((0, 0), (9, 9), (1, 0), quality=[3.0, 1.0, 2.0])
    assert kept([table], **FAR, within="cluster", per_group=2, budget_documents=2) == ["d0", "d2"]


def test_a_document_without_a_value_or_a_place() -> None:
    """The first is dropped for its own reason; a place that is missing is a mistake."""
    table = points((0, 0), (1, 1), quality=[1.0, float("nan")])
    assert kept([table], **FAR, budget_documents=2) == ["d0"]
    with pytest.raises(UserError, match=r"coordinates: must hold a finite number .* got 1 without y"):
        kept([points((0, 0), (1, float("inf")))], **FAR, budget_documents=2)


def test_nothing_is_kept_of_nothing() -> None:
    assert kept([points()], **FAR, budget_documents=2) == []
    assert kept([points()], column="quality", within="cluster", per_group=2) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "needs per_group, budget_documents or both"),
        ({"per_group": 3}, "needs within"),
        ({"budget_documents": 3}, "needs within"),
        ({"within": "cluster", "per_group": 3, "coordinates": ["x"]}, "need budget_documents"),
    ],
)
def test_a_rule_that_says_too_little(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        SelectSettings.model_validate({"rules": [{"kind": "diverse", "column": "quality", **rule}]})
