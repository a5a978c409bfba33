"""Formulas of columns: what they compute, against numpy, scipy and pandas' own; what they refuse."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from siftlm.derived.corpus import Measured, Median, Quantile, Rank, RankTable, Statistic, ZScore
from siftlm.derived.formula import Program
from siftlm.derived.settings import ColumnSettings
from siftlm.errors import UserError
from siftlm.statistics.passes import merged, settled

TABLE = pa.table(
    {
        "a": pa.array([4.0, -1.0, None, math.nan, 0.0, 1e308]),
        "b": pa.array([2, 0, 1, 3, None, 10]),
        "name": pa.array(["x", "y", None, "x", "z", "y"]),
        "flag": pa.array([True, False, None, True, True, False]),
        "seen": pa.array(["2024-01-01", "2023-05-06", None, "2024-01-02", "1999-01-01", "2024-01-01"]).cast(
            pa.timestamp("us")
        ),
    }
)


def program(*formulas: str) -> Program:
    columns = [ColumnSettings(name=f"c{n}", expr=expr) for n, expr in enumerate(formulas)]
    return Program(columns, {field.name: field.type for field in TABLE.schema})


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("a + b", [6.0, -1.0, None, None, None, 1e308]),
        ("a - b * 2", [0.0, -1.0, None, None, None, 1e308]),
        ("a / b", [2.0, None, None, None, None, 1e307]),
        ("a * a", [16.0, 1.0, None, None, 0.0, None]),
        ("-a", [-4.0, 1.0, None, None, 0.0, -1e308]),
        ("log(a)", [math.log(4), None, None, None, None, math.log(1e308)]),
        ("exp(a)", [math.exp(4), math.exp(-1), None, None, 1.0, None]),
        ("sqrt(a)", [2.0, None, None, None, 0.0, 1e154]),
        ("abs(a)", [4.0, 1.0, None, None, 0.0, 1e308]),
        ("min(a, b, 1)", [1.0, -1.0, None, None, None, 1.0]),
        ("max(a, b)", [4.0, 0.0, None, None, None, 1e308]),
        ("clip(b, 1, 3)", [2.0, 1.0, 1.0, 3.0, None, 3.0]),
        ("coalesce(a, b, 7)", [4.0, -1.0, 1.0, 3.0, 0.0, 1e308]),
        ("coalesce(name, 'none')", ["x", "y", "none", "x", "z", "y"]),
        ("is_null(a)", [False, False, True, True, False, False]),
        ("floor(a / 3) + ceil(b / 3)", [2.0, -1.0, None, None, None, 1e308 / 3 + 4]),
        ("0 < b <= 2", [True, False, True, False, None, False]),
        ("flag and b > 1", [True, False, False, True, None, False]),
        ("flag or b > 1", [True, False, None, True, True, True]),
        ("not flag", [False, True, None, False, False, True]),
        ("name in ('x', 'z')", [True, False, None, True, True, False]),
        ("name not in ['x']", [False, True, None, False, True, True]),
        ("name == 'x' or is_null(name)", [True, False, True, True, False, False]),
        ("a if flag else b", [4.0, 0.0, None, None, 0.0, 10.0]),
        ("flag + flag", [2.0, 0.0, None, 2.0, 2.0, 0.0]),
        ("seen >= '2024-01-01'", [True, False, None, True, False, True]),
        ("b != 2", [False, True, True, True, None, True]),
        ("3", [3.0] * 6),
        ("true", [True] * 6),
        ("  a\n  + b  # over two lines\n", [6.0, -1.0, None, None, None, 1e308]),
    ],
)
def test_a_formula_computes(expr: str, expected: list[Any]) -> None:
    values = program(expr).compute(TABLE, {})["c0"].to_pylist()
    assert len(values) == len(expected)
    for value, right in zip(values, expected, strict=True):
        assert value == (pytest.approx(right, rel=1e-12) if isinstance(right, float) else right)


def test_formulas_over_several_columns_are_those_of_numpy_and_scipy() -> None:
    """CrowdSelect's difficulty, separability and stability; its examples, then random rows with ties and gaps."""
    rng = np.random.default_rng(0)
    rows = np.vstack([[1.0, 2.0, 4.0], [2.0, 3.0, 1.0], [5.0, 5.0, 5.0], rng.integers(0, 4, (20, 3)).astype(float)])
    rows[9, 1], rows[10] = np.nan, np.nan
    table = pa.table({name: pa.array(rows[:, at], pa.float64()) for at, name in enumerate("abc")})
    exprs = ["mean(a, b, c)", "variance(a, b, c)", "trend(a, b, c)", "mean_known(a, b, c)", "mean(1, 2) + 0 * a"]
    columns = [ColumnSettings(name=f"c{n}", expr=expr) for n, expr in enumerate(exprs)]
    made = Program(columns, {field.name: field.type for field in table.schema}).compute(table, {})

    def known(values: Any) -> list[Any]:
        return [None if np.isnan(value) else pytest.approx(value) for value in values]

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gaps = np.isnan(rows).any(axis=1)
        trends = [stats.spearmanr(row, [1, 2, 3]).statistic for row in rows]
        trends = [np.nan if gap else trend for gap, trend in zip(gaps, trends, strict=True)]
        expected = [rows.mean(axis=1), rows.var(axis=1), trends, np.nanmean(rows, axis=1), 1.5 + 0 * rows[:, 0]]
    for name, truth in zip(made.column_names, expected, strict=True):
        assert made[name].to_pylist() == known(truth)
    assert (made["c0"][0].as_py(), made["c1"][0].as_py()) == (pytest.approx(7 / 3), pytest.approx(1.555556, abs=1e-6))
    assert made["c2"][1].as_py() == pytest.approx(-0.5)


def test_a_formula_names_the_columns_before_it() -> None:
    computed = program("b * 2", "c0 + 1", "c1 > 4").compute(TABLE, {})
    assert computed["c1"].to_pylist() == [5.0, 1.0, 3.0, 7.0, None, 21.0]
    assert computed.schema.types == [pa.float64(), pa.float64(), pa.bool_()]


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ("__import__('os').system('true')", "must call one of abs"),
        ("a.__class__", "must be made of columns"),
        ("(lambda: 1)()", "must call one of abs"),
        ("[x for x in (1, 2)]", "must be made of columns"),
        ("f'{a}'", "must be made of columns"),
        ("9 ** 9 ** 9", "must be made of columns"),
        ("a[0]", "must be made of columns"),
        ("a) + (b", "must be a formula, got 'a\\) \\+ \\(b': unmatched"),
        ("a, b", "must be made of columns"),
        ("a)(b", "must be a formula"),
        ("x=1", "must be a formula"),
        ("x := 1", "must be made of columns"),
        ("a; b", "must be a formula"),
        ("a\0", "must be a formula"),
        ("-" * 3000 + "a", "must be a formula"),
        ("a" + " + a" * 400, "must not have more than 150 operations"),
        ("1" * 4000, "must have numbers"),
        ("1j", "must have numbers"),
        ("'\\ud800'", "must have numbers"),
        ("nme == 'x'", r"got 'nme'; did you mean 'name'\?"),
        ("rnk(a)", r"got 'rnk'; did you mean 'rank'\?"),
        ("rank + 1", "must call rank as a function, got 'rank' without brackets"),
        ("c1 + 1", "must name columns that come before it, got 'c1'"),
        ("c0", "must name columns that come before it, got 'c0'"),
        ("name + 1", "must compute with numbers, got 'name' of a string"),
        ("a and flag", "must have a condition there, got 'a' of a number"),
        ("name < 1", "must have values of one kind together, got 'name' of a string and '1' of a number"),
        ("flag < flag", "must put numbers, strings or times in order"),
        ("seen > 'yesterday'", "must compare a time with a time such as '2024-05-31'"),
        ("a is b", "must compare with"),
        ("name in (a,)", "must have values of one kind together"),
        ("name in (name,)", "must list values and no columns"),
        ("name in 'x'", "must name a list of values"),
        ("abs(a, b)", "abs must have 1 value"),
        ("abs(*a)", "must be made of columns"),
        ("quantile(a, 1)", "quantile must have a whole number of 2 to 1000 buckets"),
        ("quantile(a)", "quantile must have a value and a number of buckets"),
        ("rank(a, by=name)", "rank must have no other key than within, got 'by'"),
        ("quantile(a, 4, weight=a)", "weight must name a column of integers"),
        ("rank(a, weight=b)", "rank must have no other key than within"),
        ("rank(name)", "must compute with numbers"),
        ("rank(a, within=a)", "within must name a column of strings"),
    ],
)
def test_a_formula_that_is_none_is_refused_in_one_line(expr: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        program(expr, "1")
    assert str(raised.value).startswith("columns.0.expr: ")
    assert "\n" not in str(raised.value)


def answered(statistic: Statistic, parts: list[Measured], limit: int = 1 << 12) -> Any:
    """What a statistic finds over rows in parts."""
    state: Any = statistic.begin(limit)
    return settled(statistic, state, lambda state: merged(statistic.observe(part, state) for part in parts))  # type: ignore[arg-type, misc]


def parts_of(group: np.ndarray, value: np.ndarray, count: int) -> list[Measured]:
    pieces = zip(np.array_split(group, count), np.array_split(value, count), strict=True)
    return [Measured(*piece) for piece in pieces]


CORPUS = st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5).map(lambda x: round(x, 1))), min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.integers(1, 5))
def test_ranks_are_those_of_scipy_however_the_corpus_is_cut(rows: list[tuple[int, float]], count: int) -> None:
    group = np.array([row[0] for row in rows], np.uint64)
    value = np.array([row[1] for row in rows])
    state = answered(Rank(), parts_of(group, value, count))
    ranks = Rank().values(Measured(group, value), state)
    for one in np.unique(group):
        mine = value[group == one]
        truth = (stats.rankdata(mine, "average") - 0.5) / len(mine)
        np.testing.assert_allclose(ranks[group == one], truth, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.integers(1, 5))
def test_z_scores_are_those_of_scipy_however_the_corpus_is_cut(rows: list[tuple[int, float]], count: int) -> None:
    group = np.array([row[0] for row in rows], np.uint64)
    value = np.array([row[1] for row in rows])
    scores = ZScore().values(Measured(group, value), answered(ZScore(), parts_of(group, value, count)))
    for one in np.unique(group):
        mine = value[group == one]
        if len(np.unique(mine)) == 1:
            assert np.isnan(scores[group == one]).all()
        else:
            np.testing.assert_allclose(scores[group == one], stats.zscore(mine), rtol=1e-9, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(CORPUS, st.integers(1, 5))
def test_medians_are_those_of_numpy_however_the_corpus_is_cut(rows: list[tuple[int, float]], count: int) -> None:
    group = np.array([row[0] for row in rows], np.uint64)
    value = np.array([row[1] for row in rows])
    medians = Median().values(Measured(group, value), answered(Median(), parts_of(group, value, count)))
    for one in np.unique(group):
        np.testing.assert_allclose(medians[group == one], np.median(value[group == one]), rtol=1e-15, atol=1e-15)


def test_a_long_chain_of_formulas_is_refused_in_one_line() -> None:
    chain = [ColumnSettings(name="p0", expr="a")]
    chain += [ColumnSettings(name=f"p{n}", expr=f"rank(p{n - 1})") for n in range(1, 400)]
    assert len(Program(chain[:70], {"a": pa.float64()}).types) == 70
    with pytest.raises(UserError, match=r"^columns\.8\d\.expr: must not build on more than 160 formulas and op"):
        Program(chain, {"a": pa.float64()})


def test_a_group_whose_squares_are_no_numbers_has_no_z_scores() -> None:
    group, value = np.array([1, 1, 2, 2], np.uint64), np.array([1e308, -1e308, 1.0, 3.0])
    scores = ZScore().values(Measured(group, value), answered(ZScore(), parts_of(group, value, 2)))
    np.testing.assert_array_equal(scores, [np.nan, np.nan, -1.0, 1.0])


@settings(max_examples=60, deadline=None)
@given(CORPUS, st.integers(1, 5), st.integers(2, 7), st.booleans())
def test_buckets_are_those_of_numpys_inverted_distribution(
    rows: list[tuple[int, float]], count: int, buckets: int, weighted: bool
) -> None:
    group = np.array([row[0] for row in rows], np.uint64)
    value = np.array([row[1] for row in rows])
    mass = (np.abs(value) * 10).astype(np.int64) % 7 + 1 if weighted else np.ones(len(value), np.int64)
    pieces = (np.array_split(array, count) for array in (group, value, mass))
    statistic, parts = Quantile(buckets), [Measured(*piece) for piece in zip(*pieces, strict=True)]
    found = statistic.values(Measured(group, value), answered(statistic, parts))
    for one in np.unique(group):
        mine = value[group == one]
        every = np.repeat(mine, mass[group == one])
        borders = [np.sort(every)[-(-k * len(every) // buckets) - 1] for k in range(1, buckets)]
        assert found[group == one].tolist() == np.searchsorted(borders, mine, side="right").tolist()


def test_buckets_are_those_of_nemotrons_example() -> None:
    """Ten documents of equal weight with scores .1 to 1 in twenty buckets; then the best weighs eleven."""
    score = np.arange(1, 11) / 10
    group = np.zeros(10, np.uint64)
    for best, expected in [(1, [2, 4, 6, 8, 10, 12, 14, 16, 18, 19]), (11, [1, 2, 3, 4, 5, 6, 7, 8, 9, 19])]:
        rows = Measured(group, score, np.array([1] * 9 + [best]))
        assert Quantile(20).values(rows, answered(Quantile(20), [rows])).tolist() == expected


def test_ranks_beyond_the_limit_are_near_and_in_order() -> None:
    value = np.random.default_rng(1).normal(size=50_000)
    group = np.zeros(len(value), np.uint64)
    ranks = Rank().values(Measured(group, value), answered(Rank(), parts_of(group, value, 3), limit=1 << 12))
    truth = (stats.rankdata(value) - 0.5) / len(value)
    assert np.abs(ranks - truth).max() < 2e-3
    assert (np.diff(ranks[np.argsort(value)]) >= 0).all()


def test_many_groups_take_a_second_pass_with_room_for_each() -> None:
    group = np.repeat(np.arange(2000, dtype=np.uint64), 3)
    value = np.tile([3.0, 1.0, 2.0], 2000)
    state = answered(Rank(), [Measured(group, value)], limit=64)
    assert isinstance(state, RankTable)
    assert state.limit == 32_000
    np.testing.assert_allclose(Rank().values(Measured(group, value), state), np.tile([5 / 6, 1 / 6, 0.5], 2000))


def test_values_that_were_not_counted_have_the_ranks_between() -> None:
    rows = Measured(np.zeros(4, np.uint64), np.array([1.0, 2.0, 2.0, 4.0]))
    state = answered(Rank(), [rows])
    others = Measured(np.array([0, 0, 0, 0, 9], np.uint64), np.array([0.0, 1.5, 3.0, 9.0, 1.0]))
    assert Rank().values(others, state)[:4].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert np.isnan(Rank().values(others, state)[4])


@pytest.mark.parametrize("weight", [-1, 2**62])
def test_weights_whose_sum_is_no_number_are_refused(weight: int) -> None:
    """Six of 2^62 are more than an int64 holds."""
    table = pa.table({"a": [1.0] * 6, "b": [weight] * 6})
    made = program("quantile(a, 4, weight=b)")
    ((_, call),) = made.asked(1)
    with pytest.raises(UserError, match=r"columns: weight must be of integers from 0 to 1,099,511,627,776, got b with"):
        made.measured(call, table, {}, np.ones(6, np.bool_))
