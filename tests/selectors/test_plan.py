"""The algorithm over shards: partitions, order, reasons that come in, rules after one another."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.selectors import DECISION_SCHEMA, Selection, SelectSettings, resolve, select
from siftlm.statistics.passes import merged

SCORES = st.one_of(st.none(), st.sampled_from([0.5, 1.0, -0.0, 0.0]), st.floats(allow_nan=True))
DOCUMENTS = st.lists(
    st.tuples(
        SCORES, st.sampled_from([None, "a.com", "b.org", "c.net"]), st.integers(0, 50), st.sampled_from([0, 1, 2])
    ),
    max_size=50,
)
SEGMENTS = {"kind": "segments", "column": "tokens", "segments": 3, "ratio": 4.0}
RULES: list[dict[str, Any]] = [
    {"kind": "threshold", "column": "level", "in": [0, 1], "reason": "wrong_level"},
    {"kind": "band", "column": "score", "criterion": "medium", "rate": 0.8, "missing": "keep"},
    {"kind": "sample", "rate": 0.9},
    {
        "kind": "band",
        "column": "score",
        "criterion": "low",
        "rate": 0.7,
        "within": "domain",
        "min_group": 4,
        "by": "tokens",
    },
    {"kind": "top", "column": "level", "rate": 0.6, "by": "tokens"},
]


def corpus(documents: list[tuple[float | None, str | None, int, int]]) -> pa.Table:
    """A table of (score, domain, tokens, level)."""
    score, domain, tokens, level = zip(*documents, strict=True) if documents else ((), (), (), ())
    return pa.table(
        {
            "doc_id": [f"id{i}" for i in range(len(documents))],
            "score": pa.array(score, pa.float64(), from_pandas=False),
            "domain": pa.array(domain, pa.string()),
            "tokens": pa.array(tokens, pa.int64()),
            "level": pa.array(level, pa.int32()),
        }
    )


def by_id(tables: list[pa.Table], decisions: list[pa.RecordBatch]) -> dict[str, dict[str, Any]]:
    """Decisions by doc_id."""
    pairs = zip(tables, decisions, strict=True)
    return {d: row for t, b in pairs for d, row in zip(t["doc_id"].to_pylist(), b.to_pylist(), strict=True)}


@pytest.mark.parametrize(
    "weights",
    [
        None,
        {"factors": [{"kind": "column", "column": "level"}], "budget_tokens": 30, "materialise": True, "cap": 9},
        {"factors": [SEGMENTS, {**SEGMENTS, "column": "level", "segments": 2}]},
        {"factors": [SEGMENTS], "budget_tokens": 30, "cap": 9},
    ],
)
@settings(max_examples=60, deadline=None)
@given(documents=DOCUMENTS, random=st.randoms(use_true_random=False), limit=st.sampled_from([16, 17, 1 << 18]))
def test_any_partition_order_and_entry_limit_decide_alike(weights, documents, random, limit) -> None:
    """Shuffled rows in random shards, histograms of any size, plans and statistics pickled: the same decisions."""
    documents = [*documents, (1.0, "a.com", 500, 1)]  # so that the budget can be met where all rules keep this one
    tree = {"rules": RULES[:1] if weights else RULES, "tokens": "tokens", "weights": weights}
    table = corpus(documents)
    expected = by_id([table], select([table], SelectSettings.model_validate(tree)))
    rows = list(range(len(documents)))
    random.shuffle(rows)
    cuts = sorted(random.randrange(len(rows) + 1) for _ in range(3))
    spans = zip([0, *cuts], [*cuts, len(rows)], strict=True)
    shards = [table.take(pa.array(rows[a:b], pa.int64())) for a, b in spans]
    selection = Selection(SelectSettings.model_validate(tree | {"entry_limit": limit}))
    plan = selection.begin()
    while not plan.done:
        parts = [pickle.loads(pickle.dumps(selection.observe(shard, plan))) for shard in shards]
        random.shuffle(parts)
        middle = random.randrange(1, len(parts))
        plan = selection.settle(plan, merged([merged(parts[:middle]), merged(parts[middle:])]))
        plan = pickle.loads(pickle.dumps(plan))
    assert by_id(shards, [selection.decide(shard, plan) for shard in shards]) == expected


@settings(max_examples=40, deadline=None)
@given(documents=DOCUMENTS)
def test_every_row_is_kept_or_dropped_with_a_reason(documents) -> None:
    """Nothing is lost, and a kept row has weight and one copy."""
    (decision,) = select([corpus(documents)], SelectSettings.model_validate({"rules": RULES, "tokens": "tokens"}))
    assert decision.schema == DECISION_SCHEMA
    for row in decision.to_pylist():
        kept = {"kept": True, "reason": None, "weight": 1.0, "copies": 1, "dropped_by": None}
        dropped = {"kept": False, "reason": row["reason"], "weight": None, "copies": 0, "dropped_by": row["dropped_by"]}
        assert row == (kept if row["kept"] else dropped)
        assert row["kept"] or row["reason"]
        assert row["kept"] or row["dropped_by"] in [f"select.rules.{n}" for n in range(len(RULES))]


def test_rows_that_come_in_dropped_keep_their_reason_and_count_for_nothing() -> None:
    """A duplicate is no part of the percentiles."""
    table = corpus([(float(i), "a.com", 10, 1) for i in range(10)])
    reasons = ["exact_duplicate"] * 5 + [None] * 5
    table = table.append_column("dropped_reason", pa.array(reasons, pa.string()))
    table = table.append_column("dropped_before_by", pa.array(["dedup"] * 5 + [None] * 5, pa.string()))
    rule = {"kind": "band", "column": "score", "criterion": "low", "rate": 0.4}
    (decision,) = select([table], SelectSettings.model_validate({"rules": [rule]}))
    assert decision["reason"].to_pylist() == ["exact_duplicate"] * 5 + [None] * 2 + ["score_outside_low_band"] * 3
    assert decision["dropped_by"].to_pylist() == ["dedup"] * 5 + [None] * 2 + ["select.rules.0"] * 3


def test_a_ranked_rule_ranks_what_the_rules_above_it_keep() -> None:
    """Half of the half: the order of the rules matters, and percentiles are of the rows still kept."""
    table = corpus([(float(i), "a.com", 10, i % 2) for i in range(100)])
    half = {"kind": "band", "column": "score", "criterion": "low", "rate": 0.5}
    odd = {"kind": "threshold", "column": "level", "min": 1}
    (first,) = select([table], SelectSettings.model_validate({"rules": [half, half]}))
    assert np.flatnonzero(np.asarray(first["kept"])).tolist() == list(range(25))
    (second,) = select([table], SelectSettings.model_validate({"rules": [odd, half]}))
    assert np.flatnonzero(np.asarray(second["kept"])).tolist() == list(range(1, 50, 2))


def test_rules_on_rows_alone_need_no_pass() -> None:
    """A plan of thresholds and samples is done at once; each ranked rule takes one pass on a small corpus."""
    tree = {"rules": [RULES[0], RULES[2]], "tokens": "tokens"}
    assert Selection(SelectSettings.model_validate(tree)).begin().done
    selection = Selection(SelectSettings.model_validate({"rules": RULES, "tokens": "tokens"}))
    table = corpus([(float(i), "a.com", 10, 1) for i in range(50)])
    assert resolve([table], selection).passes == 3


def test_no_rules_keep_everything() -> None:
    """The default selection is the whole corpus."""
    (decision,) = select([corpus([(1.0, None, 5, 0)] * 3)], SelectSettings())
    assert decision["kept"].to_pylist() == [True] * 3


def test_a_record_batch_and_a_chunked_table_decide_alike() -> None:
    """How Arrow holds the columns is of no consequence."""
    table = corpus([(float(i % 7), "a.com", i, i % 3) for i in range(40)])
    chunked = pa.concat_tables([table.slice(0, 13), table.slice(13)])
    batch = table.combine_chunks().to_batches()[0]
    chosen = SelectSettings.model_validate({"rules": RULES, "tokens": "tokens"})
    assert select([chunked], chosen)[0].equals(select([batch], chosen)[0])


def test_a_rule_tells_what_it_found_in_the_units_of_its_column() -> None:
    """The ends of a band and the value at a budget; an open end is None."""
    table = corpus([(float(i), "a.com", 10, i) for i in range(100)])
    rules = [
        {"kind": "band", "column": "score", "criterion": "medium", "rate": 0.5},
        {"kind": "threshold", "column": "level", "min": 0},
        {"kind": "top", "column": "level", "budget_tokens": 100},
        {"kind": "band", "column": "score", "criterion": "high", "rate": 0.5, "within": "domain"},
    ]
    selection = Selection(SelectSettings.model_validate({"rules": rules, "tokens": "tokens"}))
    plan = resolve([table], selection)
    kept = np.flatnonzero(np.asarray(selection.decide(table, plan)["kept"])).tolist()
    assert kept == list(range(70, 75))
    assert plan.passes == 3
    found = [
        rule.outcome(state, table.schema) for rule, state in zip(selection.settings.rules, plan.states, strict=True)
    ]
    assert found == [
        {
            "kind": "band",
            "groups": 1,
            "documents": 100,
            "mass": 100,
            "column": "score",
            "cuts": [24.0, 74.0],
        },
        {},
        {
            "kind": "top",
            "groups": 1,
            "documents": 50,
            "mass": 500,
            "end": "highest",
            "by": "level",
            "within": "global",
            "unit": "tokens",
            "budget": 100,
            "short": 0,
            "groups_short": 0,
            "column": "level",
            "cuts": [65],
        },
        {
            "kind": "band",
            "groups": 1,
            "documents": 10,
            "mass": 10,
            "column": "score",
            "cuts": [69.0, None],
        },
    ]
