"""The parts that the report is made of: tallies, excerpts, compositions, conditions, numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.report import figures
from siftlm.report.composition import composition
from siftlm.report.difference import holds, ratio
from siftlm.report.excerpt import Span, excerpt
from siftlm.report.page import breakable, render, share, size, value
from siftlm.report.tally import NOTHING, Asked, Tally, edges_of, merged, tally

COLUMNS = ("doc_id", "domain", "source", "byte_count", "kept", "reason", "weight", "copies", "score", "dropped_by")


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = []
    for number in range(draw(st.integers(0, 40))):
        kept = draw(st.booleans())
        rows.append(
            {
                "doc_id": f"d{number}",
                "domain": draw(st.sampled_from(["a.com", "b.com", None])),
                "source": draw(st.sampled_from(["x", "y"])),
                "byte_count": draw(st.integers(0, 10**12)),
                "kept": kept,
                "reason": None if kept else draw(st.sampled_from(["short", "foreign"])),
                "weight": draw(st.floats(0, 4)) if kept else 0.0,
                "copies": draw(st.integers(1, 4)) if kept else 0,
                "score": draw(st.none() | st.floats(-10, 10)),
                "dropped_by": None if kept else draw(st.sampled_from(["dedup", "select.rules.0"])),
            }
        )
    text, real = pa.string(), pa.float64()
    kinds = [text, text, text, pa.int64(), pa.bool_(), text, real, pa.int32(), real, text]
    fields = [pa.field(n, k) for n, k in zip(COLUMNS, kinds, strict=True)]
    return pa.Table.from_pylist(rows, pa.schema(fields))


ASKED = Asked(frozenset(COLUMNS), edges={"score": (-5.0, 0.0, 5.0)}, scores=("score", "byte_count"))


def counted(table: pa.Table, shard: int = 0) -> Tally:
    """The tally of one shard."""
    return tally(table, np.full(table.num_rows, shard), np.arange(table.num_rows), ASKED)


def plain(tree: Any) -> Any:
    """A tally with lists in place of arrays, so that two can be compared."""
    if isinstance(tree, np.ndarray):
        return [None if isinstance(v, float) and math.isnan(v) else v for v in tree.tolist()]
    return {k: plain(v) for k, v in tree.items()} if isinstance(tree, dict) else tree


@settings(max_examples=40, deadline=None)
@given(tables(), st.lists(st.integers(0, 40), max_size=3), st.randoms(use_true_random=False))
def test_a_tally_does_not_depend_on_the_cut_or_the_order_of_its_shards(
    table: pa.Table, cuts: list[int], random: Any
) -> None:
    """Shards of any size, merged in any order and grouping, count the same."""
    bounds = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    parts = [counted(table[a:b], shard) for shard, (a, b) in enumerate(pairwise(bounds))]
    shuffled = list(parts)
    random.shuffle(shuffled)
    once, twice = merged(parts), merged([merged(shuffled[:1]), merged(shuffled[1:])] if len(parts) > 1 else shuffled)
    assert plain(once) == plain(twice)
    whole = counted(table)
    for name in ("reasons", "losses", "groups", "histograms", "cluster_sizes"):
        assert plain(once)[name] == plain(whole)[name]


@given(tables())
@settings(max_examples=40, deadline=None)
def test_a_tally_counts_what_python_counts(table: pa.Table) -> None:
    """Documents, bytes and copies by reason and domain, added up row by row."""
    found = counted(table)
    rows = table.to_pylist()
    for reason, counts in found["reasons"].items():
        mine = [row for row in rows if (row["reason"] or "") == reason]
        assert counts[:2] == (len(mine), sum(row["byte_count"] for row in mine))
        assert counts[6] == sum(row["copies"] for row in mine if row["kept"])
        assert counts[10] == sum(row["copies"] * row["byte_count"] for row in mine if row["kept"])
        weighted = [(row["weight"], row["weight"] * row["byte_count"]) for row in mine if row["kept"]]
        for found_sum, values in zip(counts[7:9], zip(*weighted, strict=True), strict=False):
            assert found_sum == sum(round(Fraction(value) * 2**32) for value in values)
    lost = [(step, reason, counts) for step, of in found["losses"].items() for reason, counts in of.items()]
    for step, reason, counts in lost:
        mine = [row for row in rows if (row["dropped_by"], row["reason"]) == (step, reason)]
        assert counts[:2] == (len(mine), sum(row["byte_count"] for row in mine))
    assert sum(counts[0] for *_, counts in lost) == sum(not row["kept"] for row in rows)
    for domain, counts in found["groups"]["domain"].items():
        mine = [row for row in rows if row["domain"] == domain]
        assert counts[3:5] == (sum(r["kept"] for r in mine), sum(r["byte_count"] for r in mine if r["kept"]))


@pytest.mark.parametrize(
    ("statistics", "lines", "expected"),
    [
        ({"count": 0}, [], ()),
        ({"count": 3, "p1": 5, "p99": 5, "min": 5, "max": 5}, [], (4.5, 5.5)),
        ({"count": 9, "p1": 0, "p99": 3, "min": 0, "max": 3}, [], (-0.5, 0.5, 1.5, 2.5, 3.5)),
        ({"count": 9, "p1": 0, "p99": 2, "min": 0, "max": 9}, [3.0], (-0.5, 0.5, 1.5, 2.5, 3.5)),
        ({"count": 9, "p1": -math.inf, "p99": 2.0, "min": -math.inf, "max": 2.0}, [], ()),
    ],
)
def test_edges_hold_the_middle_of_a_column_and_its_cuts(statistics: Any, lines: Any, expected: Any) -> None:
    """Few whole numbers have a bin each; a constant has one; nothing and the infinite have none."""
    assert edges_of(statistics, lines) == expected


def test_edges_of_wide_columns_are_logarithmic() -> None:
    """Ratios of neighbouring edges are equal where values spread over decades."""
    edges = np.array(edges_of({"count": 9, "p1": 1.0, "p99": 1e6, "min": 0.1, "max": 1e9}, []))
    assert np.allclose(edges[1:] / edges[:-1], 1e6 ** (1 / 48))


@given(st.integers(1, 100), st.integers(200, 10**9))
def test_bins_of_whole_numbers_hold_one_or_more_each(low: int, high: int) -> None:
    """Edges lie between whole numbers, from the first to the last."""
    edges = edges_of({"count": 9, "p1": low, "p99": high, "min": low, "max": high}, [])
    assert (edges[0], edges[-1]) == (low - 0.5, high + 0.5)
    assert all(b - a >= 1 and (a * 2) % 2 == 1 for a, b in pairwise(edges))


def test_an_excerpt_marks_the_least_likely_tokens() -> None:
    """The pieces join to the start of the text; tokens above the limit carry their nats."""
    text = "  a common word and a zyzzyva in it"
    spans = [Span(0, 3, 1.0), Span(3, 10, 2.0), Span(text.index("zyz"), text.index(" in"), 11.0)]
    found = excerpt(text, spans)
    assert "".join(piece for piece, _ in found.pieces) == text.lstrip()
    assert [piece for piece, nats in found.pieces if nats is not None] == ["zyzzyva"]
    assert not found.cut


@given(st.text(max_size=60), st.integers(1, 20))
def test_an_excerpt_is_the_start_of_its_text(text: str, characters: int) -> None:
    """Whatever the text, nothing is added and nothing but leading white space is left out."""
    found = excerpt(text, characters=characters)
    assert "".join(piece for piece, _ in found.pieces) == text.lstrip()[:characters]
    assert found.cut == (len(text.lstrip()) > characters)


@given(st.dictionaries(st.text(max_size=5) | st.none(), st.tuples(*[st.integers(0, 9)] * len(NOTHING)), max_size=50))
def test_a_composition_loses_nothing(groups: dict[str | None, tuple[int, ...]]) -> None:
    """Its parts add up to the whole; at most thirty have a name of their own, or thirty-one without a tail."""
    found = composition("domain", groups)
    assert found.total[2:] == tuple(map(sum, zip(NOTHING, *(group[2:] for group in found.groups), strict=True)))
    assert sum(group.members for group in found.groups) == len(groups)
    assert len(found.groups) <= 31


QUANTITIES = {"kept_tokens": 0.8, "overlap": 0.5, "drift_a": 0.1}


@pytest.mark.parametrize(
    ("condition", "truth"),
    [
        ("kept_tokens < 0.9", True),
        ("kept_tokens<.9 and overlap > 0.6", False),
        ("not (kept_tokens < 0.9) or drift_a >= 0.1", True),
        ("0.7 < kept_tokens < 0.75", False),
        ("kept_tokens * 2 - 1 > overlap + 0.05", True),
        ("overlap / 0 > 1e300", True),
        ("-overlap < 0", True),
    ],
)
def test_conditions_mean_what_python_means(condition: str, truth: bool) -> None:
    """Comparisons, arithmetic, and, or, not; division by zero is infinite."""
    assert holds(condition, QUANTITIES) is truth


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('true')", "kept_tokens.real < 1", "[1][0] < 2", "(lambda: 1)() < 2",
        "1 if overlap else 0",
        "kept_tokens", "True", "overlap < 'a'", "overlap < True", "2 ** 9 ** 9 > 1", "overlap < unknown_thing", "",
        "a := 1", "overlap in (1, 2)", "overlap is 1", "1 < 2; 3", "(" * 300, "-" * 2000 + "1 < 2", "\0",
    ],
)  # fmt: skip
def test_anything_else_is_refused_as_a_condition(condition: str) -> None:
    """No calls, attributes, powers or unknown names: a user's mistake, told as one."""
    with pytest.raises(UserError, match="--fail-if"):
        holds(condition, QUANTITIES)


def test_a_ratio_to_nothing_is_one_or_infinite() -> None:
    """0 to 0 is no change."""
    assert (ratio(0, 0), ratio(0, 5), ratio(4, 2)) == (1.0, math.inf, 0.5)


def test_numbers_are_written_for_people() -> None:
    """Units, percentages, digits; nothing is a dash."""
    assert [size(n) for n in (None, 0, 999, 3_518_491, 5 * 10**15)] == ["–", "0 B", "999 B", "3.52 MB", "5,000 TB"]
    assert [share(1, 8), share(0, 0)] == ["12.5 %", "–"]
    assert [value(n) for n in (None, 5.0, 12345.6, 0.123456789, math.inf)] == ["–", "5", "12,346", "0.12346", "inf"]
    assert breakable("<a>_b") == "&lt;a&gt;_<wbr>b"


def test_a_template_that_lacks_a_value_fails() -> None:
    """Nothing is left out silently."""
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("diff.html.jinja")


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
def test_the_labels_of_every_axis_are_plain_numbers(spread: float) -> None:
    """On a logarithmic axis too, whose own labels are TeX."""
    rng = np.random.default_rng(0)
    sizes, values = np.exp(rng.normal(7, 1, 500)), np.exp(rng.normal(5, spread, 500))
    kept, draw = rng.random(500) < 0.5, rng.random(500)
    charts = [
        figures.against_length("a", "ppl", sizes, values, kept, draw),
        figures.by_group("b", "ppl", "source", [("web", values), ("news", values * 2)]),
    ]
    for made in charts:
        assert made is not None
        assert "mathdefault" not in made.svg
        assert "$" not in made.svg


def test_an_unknown_quantity_has_a_near_one_or_a_short_list() -> None:
    """Not a hundred names."""
    quantities = {
        "kept_tokens": 1.0,
        "documents": 1.0,
        **{f"{kind}_c{n}": 0.0 for kind in ("drift", "mean") for n in range(99)},
    }
    with pytest.raises(UserError, match="did you mean 'kept_tokens'"):
        holds("kept_tokns < 0.9", quantities)
    with pytest.raises(UserError, match="there are documents, kept_tokens, drift_COLUMN and mean_COLUMN"):
        holds("zzz < 0.9", quantities)
