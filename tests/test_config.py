"""The configuration: strict, and its errors name the key and the nearest one."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siftlm.config import RunConfig, apply_override, load, parse
from siftlm.errors import UserError

CONF = Path(__file__).parents[1] / "conf"
MINIMAL: dict[str, Any] = {
    "name": "minimal",
    "input": [{"source": "web", "paths": ["web/*.jsonl"]}],
    "output": {"folder": "runs/minimal"},
}


def with_keys(**keys: object) -> dict[str, Any]:
    return {**copy.deepcopy(MINIMAL), **keys}


def error_of(tree: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(tree, list(overrides), "run.toml")
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_every_file_in_conf_is_a_valid_run(path: Path) -> None:
    """What we ship runs as written."""
    assert isinstance(load(str(path)), RunConfig)


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    """A typo costs seconds, not a run."""
    tree = with_keys(dedup={"shingles": {"bandz": 3}})
    assert error_of(tree) == "run.toml: dedup.shingles.bandz: must be a known key, got 'bandz'; did you mean 'bands'?"


def test_an_unknown_key_in_a_rule_is_told_at_its_path_in_the_file() -> None:
    """The path is the one in TOML, without what the validator adds."""
    tree = with_keys(select={"rules": [{"kind": "threshold", "column": "word_count", "mni": 3}]})
    message = error_of(tree)
    assert message.startswith("run.toml: select.rules.0.mni: must be a known key")
    assert "did you mean 'min'?" in message


def test_a_missing_key_is_named() -> None:
    """Required keys are asked for by path."""
    tree = with_keys()
    del tree["output"]["folder"]
    assert error_of(tree) == "run.toml: output.folder: must be set, got nothing"


def test_text_is_never_a_number() -> None:
    """Strict types: the value that was given is shown."""
    message = error_of(with_keys(seed="3"))
    assert message.startswith("run.toml: seed: must be a valid integer")
    assert message.endswith("got '3'")


def test_every_mistake_is_told_at_once() -> None:
    """One run of validate shows all of them, a line each."""
    assert len(error_of(with_keys(seed=-1, nmae="x")).splitlines()) == 2


def test_a_trained_model_needs_a_reference_table() -> None:
    """Keys that need each other are checked together."""
    tree = with_keys(score=[{"name": "reference", "model": "trained"}])
    assert "needs a [reference] table" in error_of(tree)


def test_sources_must_differ() -> None:
    """A document's source says where it came from."""
    assert "sources must differ" in error_of(with_keys(input=MINIMAL["input"] * 2))


def test_overrides_reach_tables_lists_and_names() -> None:
    """`--set` takes the same path as an error prints; elements of a list also go by name."""
    tree = with_keys(select={"rules": [{"kind": "threshold", "column": "word_count", "min": 3}]})
    config = parse(tree, ["select.rules.0.min=5", "input.web.paths=['a', 'b']", "output.folder=elsewhere", "seed=7"])
    rule = config.select.rules[0]
    assert rule.model_dump()["min"] == 5
    assert config.input[0].paths == ["a", "b"]
    assert (config.output.folder, config.seed) == ("elsewhere", 7)


@pytest.mark.parametrize("override", ["seed", "=3", "input.7.source=x", "input.nowhere.source=x", "seed.deep=3"])
def test_an_override_that_leads_nowhere_is_an_error(override: str) -> None:
    """A mistyped override never passes silently."""
    with pytest.raises(UserError, match="--set"):
        apply_override(copy.deepcopy(MINIMAL) | {"seed": 1}, override)


def test_language_and_signals_can_be_left_out() -> None:
    """`language = false` computes no language; a run that names neither has both."""
    assert len(parse(with_keys(), []).scorers()) == 2
    assert parse(with_keys(annotate={"language": False, "signals": False}), []).scorers() == ()


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """The line and column are the parser's."""
    path = tmp_path / "run.toml"
    path.write_text("name = \n")
    with pytest.raises(UserError, match=r"must be TOML, got .*line 1"):
        load(str(path))


def test_a_file_that_is_not_there_is_one_line() -> None:
    """No traceback for a wrong path."""
    with pytest.raises(UserError, match=r"nowhere\.toml: must be a configuration file, got nothing there"):
        load("nowhere.toml")


def test_checking_a_configuration_loads_no_model_code() -> None:
    """Reading a configuration stays quick: neither torch, transformers nor Beam is imported for it."""
    heavy = ("torch", "transformers", "apache_beam", "numba")
    code = f"import sys, siftlm.config; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
