"""Rules that combine others: thresholds in one table, limits by another column, the union of rules."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.selectors import SelectSettings, select
from siftlm.selectors.rows import Rows
from siftlm.selectors.rules.threshold import Threshold

RANDOM = np.random.default_rng(5)
N = 2000
CORPUS = pa.table(
    {
        "doc_id": [f"doc-{i}" for i in range(N)],
        "language": [("en", "de", "fr", None)[i % 4] for i in range(N)],
        "a": RANDOM.normal(size=N),
        "b": pa.array([None if i % 7 == 0 else float(i % 13) for i in range(N)]),
        "n": pa.array(RANDOM.integers(0, 100, N)),
        "tokens": pa.array(RANDOM.integers(1, 50, N)),
    }
)


def decided(*rules: dict[str, Any], shards: int = 1, **more: Any) -> pa.Table:
    settings = SelectSettings.model_validate({"rules": list(rules), **more})
    size = -(-N // shards)
    return pa.Table.from_batches(select([CORPUS.slice(at, size) for at in range(0, N, size)], settings))


def kept(*rules: dict[str, Any], **more: Any) -> np.ndarray:
    return np.asarray(decided(*rules, **more)["kept"])


def test_thresholds_decide_as_one_threshold_a_column() -> None:
    bounds = {"a": {"min": -1.0}, "b": {"max": 6}, "language": {"in": ["en", "de"]}, "n": {"min": 5, "max": 95}}
    scope = {"missing": "keep", "when": {"language": ["en", "fr"]}}
    together = decided({"kind": "thresholds", "columns": bounds, **scope})
    apart = decided(*({"kind": "threshold", "column": column, **each, **scope} for column, each in bounds.items()))
    for name in ("kept", "reason", "weight", "copies"):
        assert together[name].equals(apart[name])
    assert set(together["dropped_by"].to_pylist()) == {None, *(f"select.rules.0.columns.{column}" for column in bounds)}


def test_limits_by_another_column_are_those_of_its_value() -> None:
    rule = {
        "kind": "threshold", "column": "a", "min": 0.0, "by": "language",
        "table": {"en": {"min": 1.0}, "de": {"max": -1.0}},
    }  # fmt: skip
    a, language = np.asarray(CORPUS["a"]), np.array(CORPUS["language"].to_pylist(), object)
    expected = np.where(language == "en", a >= 1.0, np.where(language == "de", a <= -1.0, a >= 0.0))
    made = decided(rule)
    assert (np.asarray(made["kept"]) == expected).all()
    german = made.filter(pa.array((language == "de") & ~expected))
    assert set(german["reason"].to_pylist()) == {"a_above_max"}


def test_the_union_keeps_what_one_of_its_rules_keeps_over_all_documents() -> None:
    """Ranked rules in it rank all documents that it sees, not what the others leave, however the corpus is cut."""
    top = {"kind": "top", "column": "a", "rate": 0.1, "direction": "lowest"}
    band = {"kind": "band", "column": "n", "criterion": "high", "rate": 0.2}
    table = {"kind": "thresholds", "columns": {"b": {"min": 12}, "n": {"max": 50}}}
    expected = kept(top) | kept(band) | kept(table)
    union = {"kind": "any", "rules": [top, band, table]}
    values = np.asarray(CORPUS["n"])
    for shards in (1, 3):
        made = decided(union, shards=shards)
        differ = np.asarray(made["kept"]) != expected
        assert set(values[differ]) <= {np.quantile(values, 0.8)}, "equal values are drawn for, by names of their own"
    assert set(made["reason"].to_pylist()) == {None, "kept_by_no_rule"}


def test_the_union_comes_after_the_rules_above_it() -> None:
    above = {"kind": "threshold", "column": "n", "min": 50}
    top = {"kind": "top", "column": "a", "rate": 0.1, "direction": "lowest"}
    never = {"kind": "threshold", "column": "a", "min": 1e9}
    assert (kept(above, {"kind": "any", "rules": [top, never]}) == kept(above, top)).all()


def test_a_rule_of_the_union_speaks_for_its_scope_alone() -> None:
    union = {
        "kind": "any",
        "rules": [
            {"kind": "threshold", "column": "a", "min": 0.0, "when": {"language": ["en"]}},
            {"kind": "threshold", "column": "n", "min": 50, "when": {"language": ["en", "de"]}},
        ],
    }
    a, n, language = np.asarray(CORPUS["a"]), np.asarray(CORPUS["n"]), np.array(CORPUS["language"].to_pylist(), object)
    expected = np.where(language == "en", (a >= 0) | (n >= 50), np.where(language == "de", n >= 50, True))
    assert (kept(union) == expected).all()


def test_a_union_of_rules_by_tokens_needs_the_column_of_tokens() -> None:
    top = {"kind": "top", "column": "a", "budget_tokens": 1000, "direction": "lowest"}
    union = {"kind": "any", "rules": [top, {"kind": "threshold", "column": "n", "min": 99}]}
    with pytest.raises(ValidationError, match="tokens must name a column"):
        SelectSettings.model_validate({"rules": [union]})
    assert kept(union, tokens="tokens").sum() > 0


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"column": "language", "min": 1.0, "table": {"en": {"max": 2.0}}}, "column: must be a column of numbers"),
        ({"column": "language", "table": {"en": {"max": 2.0}}}, "table.en.column: must be a column of numbers"),
        ({"column": "a", "by": "b", "table": {"en": {"max": 2.0}}}, "column: must be of strings, booleans or integers"),
        (
            {"column": "language", "table": {"en": {"in": {"kind": "hashes", "entries": ["x"]}}}},
            "table.en.in.entries: must be a digest",
        ),
    ],
)
def test_a_rehearsal_without_rows_tries_the_limits_of_every_value(rule: dict[str, Any], message: str) -> None:
    threshold = Threshold.model_validate({"kind": "threshold", "by": "language", **rule})
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        threshold.rehearse(Rows.of(CORPUS.slice(0, 0), 0, None))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "thresholds", "columns": {}}, "at least 1 item"),
        ({"kind": "thresholds", "columns": {"a": {}}}, "at least one of min, max, in and not_in"),
        ({"kind": "thresholds", "columns": {"a": {"min": 2, "max": 1}}}, "min must not be above max"),
        ({"kind": "threshold", "column": "a", "min": 1, "by": "language"}, "by and table must be set together"),
        ({"kind": "any", "rules": [{"kind": "threshold", "column": "a", "min": 1}]}, "at least 2 items"),
    ],
)
def test_what_says_nothing_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SelectSettings.model_validate({"rules": [rule]})
