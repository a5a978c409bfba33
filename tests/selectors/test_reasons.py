"""What a rule may give as its reason, and which end of a column it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from siftlm.checks.validate import check_config
from siftlm.config import RunConfig, parse
from siftlm.errors import UserError
from siftlm.selectors import select
from siftlm.selectors.reasons import OURS

REFUSED = [
    "", " ", "too short", "a\nb", "a\x00b", "\x1b[31m", "<script>", "a|b", "`a`", "a/b", "\u202eabc", "x" * 101,
    "kept", "Kept", "NULL", "nan", "exact_duplicate", "held_out_for_reference", "zero_weight", "no_copy_drawn",
    "non_finite_nll_lm_error", "_error", "ｋｅｐｔ", *sorted(OURS),
]  # fmt: skip
TAKEN = ["too_short", "x", "gopher-2.1", "zu_kürz", "短い", "e\u0301", "keptness", "error_rate", "X" * 100, "nulls"]


def tree(**rest: Any) -> dict[str, Any]:
    return {
        "name": "r",
        "input": [{"source": "web", "paths": ["in"]}],
        "annotate": {"language": False},
        "output": {"folder": "out"},
        **rest,
    }


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("place", ["select.rules", "preselect"])
def test_a_reason_that_is_no_word_or_ours_is_one_line(place: str, reason: str) -> None:
    """Wherever a rule stands; the line has no control character of the reason's."""
    rule = {"kind": "threshold", "column": "byte_count", "min": 1, "reason": reason}
    rules = {"preselect": [rule]} if place == "preselect" else {"select": {"rules": [rule]}}
    with pytest.raises(UserError) as told:
        parse(tree(**rules), [])
    assert str(told.value).startswith(f"configuration: {place}.0.reason: ")
    assert str(told.value).isprintable()


@pytest.mark.parametrize("reason", TAKEN)
def test_other_words_are_taken_as_they_are(reason: str) -> None:
    """Letters and digits of any script."""
    rule = {"kind": "threshold", "column": "byte_count", "min": 1, "reason": reason}
    assert parse(tree(select={"rules": [rule]}), []).select.rules[0].reason == reason


def columns_of(**rest: Any) -> RunConfig:
    """A configuration with a model, a classifier and a benchmark, none of which is opened."""
    annotate = {
        "language": False,
        "classifiers": [{"name": "good", "path": "x.bin", "label": "yes"}],
        "contamination": [{"name": "quiz", "path": "quiz.jsonl"}],
        "dsir": [{"name": "dsir", "path": "dsir.npz"}],
    }
    score = [{"name": "lm", "model": "gpt2"}]
    return parse(tree(score=score, dedup={"commonness": {}}, **rest) | {"annotate": annotate}, [])


ENDS = {
    "lm_perplexity": "lowest",
    "lm_bits_per_byte": "lowest",
    "lm_nll_sum": "lowest",
    "lm_nll_head": "lowest",
    "quiz_overlap": "lowest",
    "commonness": "lowest",
    "good": "highest",
    "dsir_sampled": "highest",
    "lm_token_count": "highest",
    "word_count": "highest",
    "byte_count": "highest",
}


@pytest.mark.parametrize(("column", "end"), ENDS.items())
def test_top_follows_the_good_end_of_its_column(column: str, end: str) -> None:
    """Where the maker of a column knows it; else the highest. What the user wrote is taken as it is."""
    rules = [
        {"kind": "top", "column": column, "rate": 0.5, **d}
        for d in ({}, {"direction": "highest"}, {"direction": "lowest"})
    ]
    chosen = columns_of(select={"rules": rules}).selection()
    assert [rule.direction for rule in chosen.rules if rule.kind == "top"] == [end, "highest", "lowest"]


def test_the_lowest_perplexities_are_kept_with_a_reason_that_says_so() -> None:
    """The rows of the smallest values of a sorted copy."""
    values = np.random.default_rng(1).permutation(100).astype(float)
    table = pa.table({"doc_id": [f"d{n}" for n in range(100)], "lm_perplexity": values})
    chosen = columns_of(select={"rules": [{"kind": "top", "column": "lm_perplexity", "rate": 0.3}]}).selection()
    (decision,) = select([table], chosen)
    np.testing.assert_array_equal(np.asarray(decision["kept"]), values < 30)
    assert set(decision["reason"].to_pylist()) == {None, "above_bottom_lm_perplexity"}


@pytest.mark.parametrize("column", ["commonness", "byte_count"])
@pytest.mark.parametrize("inverse", [None, True, False])
def test_weights_by_a_column_whose_low_values_are_good_say_which_way(column: str, inverse: bool | None) -> None:
    """Expected copies that grow with perplexity would favour the worst; one line asks for `inverse`."""
    factor = {"kind": "column", "column": column} | ({} if inverse is None else {"inverse": inverse})
    config = parse(tree(dedup={"near": False, "commonness": {}}, select={"weights": {"factors": [factor]}}), [])
    if column == "commonness" and inverse is None:
        with pytest.raises(UserError, match=r"^select\.weights\.factors\.0\.inverse: must be written for commonness"):
            check_config(config)
    else:
        check_config(config)
