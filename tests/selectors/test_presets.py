"""Rules of published recipes: the same decisions as one threshold a column, in the order of the recipe."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy.stats import rankdata

from siftlm.config import RunConfig, parse
from siftlm.derived.formula import Program
from siftlm.errors import UserError
from siftlm.selectors import SelectSettings, select
from siftlm.steps import steps

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


@pytest.mark.parametrize("name", ["c4", "fineweb", "gopher"])
def test_the_rules_of_a_preset_come_before_others_and_say_where_they_stand(name: str) -> None:
    settings = SelectSettings.model_validate(
        {"preset": name, "rules": [{"kind": "threshold", "column": "word_count", "min": 60}]}
    )
    places = [place for place, _ in settings.placed()]
    assert places[-1] == "select.rules.0"
    assert all(place.startswith(f"select.preset.{name}.") for place in places[:-1])
    assert len(set(places)) == len(places) > 3
    assert settings.columns() <= {"doc_id", *FINEWEB}


def with_preset(preset: Any, **more: Any) -> RunConfig:
    tree = {"name": "p", "input": [{"source": "s", "paths": ["x"]}], "output": {"folder": "out"}, **more}
    return parse({**tree, "select": {"preset": preset}}, [])


def score(name: str) -> dict[str, str]:
    return {"name": name, "model": "m"}


CLASSIFIER = {"name": "good", "path": "good.bin", "label": "good"}


@pytest.mark.parametrize(
    ("preset", "more", "expr"),
    [
        (
            "quality",
            {"score": [score("lm")]},
            "(1 - rank(lm_bits_per_byte, within=language) + 1 - rank(uppercase_fraction, within=language)"
            " + rank(terminal_line_fraction, within=language)) / 3",
        ),
        (
            {"name": "quality", "score": "b", "rate": 0.2},
            {
                "score": [score("a"), score("b")],
                "annotate": {"language": False, "classifiers": [CLASSIFIER]},
            },
            "(1 - rank(b_bits_per_byte) + 1 - rank(uppercase_fraction)"
            " + rank(terminal_line_fraction) + rank(good)) / 4",
        ),
    ],
)
def test_quality_is_a_mean_of_ranks(preset: Any, more: dict[str, Any], expr: str) -> None:
    config = with_preset(preset, **more)
    ((place, column),) = config.formulas()
    assert (place, column.name, column.expr) == ("select.preset", "quality_rank", expr)
    ((rule_place, rule),) = config.selection().placed()
    assert rule_place == "select.preset.quality.0"
    assert rule.describe().startswith("quality_rank among the highest")


@pytest.mark.parametrize(
    ("preset", "more", "message"),
    [
        ("quality", {}, r"select.preset: quality must have a \[\[score\]\], whose bits per byte it ranks, got none"),
        (
            "quality",
            {"score": [score("a"), score("b")]},
            "select.preset.score: must name one of several, got nothing; there are a, b",
        ),
        (
            {"name": "quality", "score": "lm"},
            {"score": [score("lm")], "annotate": {"classifiers": [CLASSIFIER, {**CLASSIFIER, "name": "other"}]}},
            "select.preset.classifier: must name one of several, got nothing; there are good, other",
        ),
    ],
)
def test_quality_says_what_it_lacks(preset: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_preset(preset, **more).formulas()


def test_a_column_that_a_preset_ranks_and_the_run_lacks_is_named_with_the_preset(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("some text")
    config = with_preset(
        {"name": "quality", "score": "nothing"}, input=[{"source": "s", "paths": [str(text)], "format": "text"}]
    )
    with pytest.raises(UserError, match=r"select\.preset\.expr: must name columns of the run, got 'nothing_bits"):
        steps(config)


def test_quality_keeps_the_half_that_its_ranks_say() -> None:
    """Against the same mean computed by scipy, in three languages, with ties."""
    languages = np.array(["en", "de", "fr"])[RANDOM.integers(0, 3, N)]
    values = {name: np.round(RANDOM.random(N), 2) for name in ("lm_bits_per_byte", "uppercase_fraction", "good")}
    values["terminal_line_fraction"] = np.round(RANDOM.random(N), 1)
    table = pa.table({"doc_id": [f"d{n}" for n in range(N)], "language": languages, **values})
    config = with_preset("quality", score=[score("lm")], annotate={"classifiers": [CLASSIFIER]})
    expected = np.zeros(N)
    for name, ranked in values.items():
        for language in np.unique(languages):
            rows = languages == language
            rank = (rankdata(ranked[rows]) - 0.5) / rows.sum()
            expected[rows] += rank if name in ("good", "terminal_line_fraction") else 1 - rank
    program = Program([column for _, column in config.formulas()], {f.name: f.type for f in table.schema})
    states: dict[str, Any] = {}
    for name, call in program.asked(1):
        rows = program.measured(call, table, {}, np.ones(N, np.bool_))
        state = call.statistic.begin(1 << 20)
        states[name] = call.statistic.settle(state, call.statistic.observe(rows, state))
    ranks = program.compute(table, states)["quality_rank"]
    np.testing.assert_allclose(ranks.to_numpy(), expected / 4, atol=1e-12)
    (made,) = select([table.append_column("quality_rank", ranks)], config.selection())
    kept = made["kept"].to_numpy(zero_copy_only=False)
    assert kept.sum() == N // 2
    assert expected[kept].min() >= expected[~kept].max() - 1e-9


def test_limits_of_a_preset_are_changed_and_left_out_by_column() -> None:
    """In their place among the rules; everything else stays."""
    limits = {**FINEWEB, "language": {"in": ["de"]}, "word_count": {"min": 20}}
    del limits["curly_brace_count"], limits["language_score"]
    apart = decided({"rules": [{"kind": "threshold", "column": name, **b} for name, b in limits.items()]})
    changes = {name: limits[name] for name in ("language", "word_count")}
    preset = {"name": "fineweb", "limits": changes, "without": ["curly_brace_count", "language_score"]}
    made = decided({"preset": preset})
    for name in ("kept", "reason", "weight", "copies"):
        assert made[name].equals(apart[name])
    assert sum(made["kept"].to_pylist()) > 0
    assert decided({"preset": "fineweb"}) == decided({"preset": {"name": "fineweb", "limits": {}}})


@pytest.mark.parametrize(
    ("preset", "told"),
    [
        (
            {"name": "c4", "limits": {"word_count": {"min": 1}}},
            "limits must name columns of the preset c4, got 'word_c",
        ),
        ({"name": "c4", "without": ["sentence_cont"]}, "got 'sentence_cont'; did you mean 'sentence_count'?"),
    ],
)
def test_a_change_of_what_no_preset_limits_is_refused(preset: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        SelectSettings.model_validate({"preset": preset})


def test_a_column_that_preset_and_rules_limit_is_told() -> None:
    own = {"kind": "thresholds", "columns": {"word_count": {"min": 60}, "n": {"min": 1}}}
    assert SelectSettings.model_validate({"preset": "gopher", "rules": [own]}).warnings() == [
        "select.rules.0.columns.word_count: word_count has limits of the preset too, and a document must be within "
        "both; preset.limits has others instead"
    ]
    assert SelectSettings.model_validate({"preset": "c4", "rules": [own]}).warnings() == []
