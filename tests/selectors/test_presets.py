"""Rules of published recipes: the same decisions as one threshold a column, in the order of the recipe."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from siftlm.selectors import SelectSettings, select
from siftlm.selectors.settings import Preset

CONF = Path(__file__).parents[2] / "conf"
FINEWEB: dict[str, dict[str, Any]] = {
    "language": {"in": ["en"]},
    "language_score": {"min": 0.65},
    "word_count": {"min": 50, "max": 100000},
    "mean_word_length": {"min": 3.0, "max": 10.0},
    "hash_word_ratio": {"max": 0.1},
    "ellipsis_word_ratio": {"max": 0.1},
    "bullet_line_fraction": {"max": 0.9},
    "ellipsis_line_fraction": {"max": 0.3},
    "alpha_word_fraction": {"min": 0.8},
    "stop_word_count": {"min": 2},
    "duplicate_line_fraction": {"max": 0.3},
    "duplicate_paragraph_fraction": {"max": 0.3},
    "duplicate_line_char_fraction": {"max": 0.2},
    "duplicate_paragraph_char_fraction": {"max": 0.2},
    "top_2_gram_char_fraction": {"max": 0.2},
    "top_3_gram_char_fraction": {"max": 0.18},
    "top_4_gram_char_fraction": {"max": 0.16},
    "duplicate_5_gram_char_fraction": {"max": 0.15},
    "duplicate_6_gram_char_fraction": {"max": 0.14},
    "duplicate_7_gram_char_fraction": {"max": 0.13},
    "duplicate_8_gram_char_fraction": {"max": 0.12},
    "duplicate_9_gram_char_fraction": {"max": 0.11},
    "duplicate_10_gram_char_fraction": {"max": 0.1},
    "lorem_ipsum_count": {"max": 0},
    "curly_brace_count": {"max": 0},
    "sentence_count": {"min": 5},
    "terminal_line_fraction": {"min": 0.12},
    "short_line_fraction": {"max": 0.67},
    "duplicate_char_fraction": {"max": 0.01},
    "newline_word_ratio": {"max": 0.3},
}
"""The thresholds of FineWeb's filters, a column each."""
RANDOM = np.random.default_rng(3)
N = 4000


def around(bounds: dict[str, Any]) -> np.ndarray:
    """Values of which about one in forty lies outside, some at the bounds themselves."""
    low, high = bounds.get("min", 0.0), bounds.get("max", max(1.0, 3 * bounds.get("min", 0.0)))
    values = low + (high - low) * RANDOM.random(N)
    out = RANDOM.random(N) < 0.025
    values[out] = np.where(RANDOM.random(out.sum()) < 0.5, high * 1.5 + 1, low - 1)
    values[RANDOM.random(N) < 0.02] = low
    return values


CORPUS = pa.table(
    {
        "doc_id": [f"d{n}" for n in range(N)],
        "language": [("en", "en", "en", "de")[n % 4] for n in range(N)],
        **{name: around(bounds) for name, bounds in FINEWEB.items() if name != "language"},
    }
)


def decided(tree: dict[str, Any]) -> pa.RecordBatch:
    (made,) = select([CORPUS], SelectSettings.model_validate(tree))
    return made


def test_fineweb_is_what_its_thresholds_are_column_by_column() -> None:
    """As a preset, and as conf/fineweb.toml writes it out."""
    apart = decided({"rules": [{"kind": "threshold", "column": name, **b} for name, b in FINEWEB.items()]})
    assert 0.1 * N < sum(apart["kept"].to_pylist()) < 0.7 * N
    written = tomllib.loads((CONF / "fineweb.toml").read_text())["select"]
    for tree in ({"preset": "fineweb"}, written):
        made = decided(tree)
        for name in ("kept", "reason", "weight", "copies"):
            assert made[name].equals(apart[name])


@pytest.mark.parametrize("name", get_args(Preset))
def test_the_rules_of_a_preset_come_before_others_and_say_where_they_stand(name: str) -> None:
    settings = SelectSettings.model_validate(
        {"preset": name, "rules": [{"kind": "threshold", "column": "word_count", "min": 60}]}
    )
    places = [place for place, _ in settings.placed()]
    assert places[-1] == "select.rules.0"
    assert all(place.startswith(f"select.preset.{name}.") for place in places[:-1])
    assert len(set(places)) == len(places) > 3
    assert settings.columns() <= {"doc_id", *FINEWEB}


def test_limits_of_a_preset_are_changed_and_left_out_by_column() -> None:
    """In their place among the rules; everything else stays."""
    limits = {**FINEWEB, "language": {"in": ["de"]}, "word_count": {"min": 20}}
    del limits["curly_brace_count"], limits["language_score"]
    apart = decided({"rules": [{"kind": "threshold", "column": name, **b} for name, b in limits.items()]})
    changes = {name: limits[name] for name in ("language", "word_count")}
    changed = {
        "preset": "fineweb", "preset_limits": changes, "preset_without": ["curly_brace_count", "language_score"],
    }  # fmt: skip
    made = decided(changed)
    for name in ("kept", "reason", "weight", "copies"):
        assert made[name].equals(apart[name])
    assert sum(made["kept"].to_pylist()) > 0
    assert decided({"preset": "fineweb"}) == decided({"preset": "fineweb", "preset_limits": {}})


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"preset_limits": {"word_count": {"min": 1}}}, "preset_limits must name columns of the preset None"),
        ({"preset": "c4", "preset_without": ["sentence_cont"]}, "got 'sentence_cont'; did you mean 'sentence_count'?"),
    ],
)
def test_a_change_of_what_no_preset_limits_is_refused(tree: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        SelectSettings.model_validate(tree)


def test_a_column_that_preset_and_rules_limit_is_told() -> None:
    own = {"kind": "thresholds", "columns": {"word_count": {"min": 60}, "n": {"min": 1}}}
    assert SelectSettings.model_validate({"preset": "gopher", "rules": [own]}).warnings() == [
        "select.rules.0.columns.word_count: word_count has limits of the preset gopher too, and a document must be "
        "within both; preset_limits has others instead"
    ]
    assert SelectSettings.model_validate({"preset": "c4", "rules": [own]}).warnings() == []
