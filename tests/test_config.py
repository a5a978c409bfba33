"""The configuration: strict, and its errors name the key and the nearest one."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siftlm.config import RunConfig, apply_override, load, parse, read_toml, validated
from siftlm.errors import UserError
from siftlm.mixtures.settings import MixConfig
from siftlm.proving.settings import load as load_proof

CONF = Path(__file__).parents[1] / "conf"
MINIMAL: dict[str, Any] = {
    "name": "minimal",
    "input": [{"source": "web", "paths": ["web/*.jsonl"]}],
    "output": {"folder": "runs/minimal"},
}


def with_keys(**keys: object) -> dict[str, Any]:
    return copy.deepcopy({**MINIMAL, **keys})


def error_of(tree: dict[str, Any], *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(tree, list(overrides), "run.toml")
    return str(caught.value)


@pytest.mark.parametrize("path", sorted(CONF.glob("*.toml")), ids=lambda path: path.name)
def test_every_file_in_conf_is_a_valid_run(path: Path) -> None:
    """What we ship runs as written, or is proved as written; texts for mixtures are valid with a method."""
    if path.stem.startswith("mix_"):
        tree = read_toml(str(path)) | {"mix": {"method": "doremi"}}
        assert validated(MixConfig, tree, [], str(path)).train is not None
        return
    assert isinstance(load_proof(str(path)).config if path.stem.startswith("prove_") else load(str(path)), RunConfig)


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


def test_a_key_of_another_preset_is_not_offered_again() -> None:
    """`without` is a key of published presets; quality has none."""
    message = error_of(with_keys(select={"preset": {"name": "quality", "without": ["uppercase_fraction"]}}))
    assert "select.preset.quality.without: must be left out there, got 'without'" in message


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ({}, "must be set, got nothing"),
        (
            {"kind": "treshold"},
            "must be one of 'threshold', 'thresholds', 'fineweb2', 'ccnet', 'band', 'top', 'diverse', 'sample', "
            "'gaussian', 'stepwise', 'any', "
            "got 'treshold'; "
            "did you mean 'threshold'?",
        ),
    ],
)
def test_a_rule_without_a_known_kind_is_told_the_kinds(kind: dict[str, str], told: str) -> None:
    """At the key that says it, which pydantic does not name."""
    tree = with_keys(select={"rules": [{**kind, "column": "word_count", "min": 3}]})
    assert error_of(tree) == f"run.toml: select.rules.0.kind: {told}"


def test_two_models_of_one_name_are_told_by_their_names_alone() -> None:
    """Not by the whole configuration, which is what the check was given."""
    model = {"name": "small", "model": "gpt2"}
    message = error_of(with_keys(score=[model, model]))
    assert message == (
        "run.toml: the run: names of models, classifiers, benchmarks and priors must differ, got ['small', 'small']"
    )


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
        apply_override(copy.deepcopy(MINIMAL) | {"seed": 1}, override, RunConfig)


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("name=2024-05-01", "2024-05-01"),
        ("name=true", "true"),
        ("name=1e5", "1e5"),
        ("seed=1e3", 1000),
        ("seed=0x1f", 31),
        ("output.shuffle=True", True),
        ("output.shuffle=false", False),
        ("store=True", "True"),
        ("input.web.paths=2024", ["2024"]),
    ],
)
def test_the_type_of_the_key_decides_what_an_override_means(override: str, read: object) -> None:
    """A date is a name where a name is wanted; a whole number may be written as a float."""
    found: Any = parse(copy.deepcopy(MINIMAL), [override])
    for key in override.partition("=")[0].split("."):
        found = found[0] if isinstance(found, list) else getattr(found, key)
    assert (found.paths if hasattr(found, "paths") else found) == read


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_configuration_is_read_in_what_its_mark_says(tmp_path: Path, encoding: str) -> None:
    """PowerShell writes UTF-16 with a mark."""
    path = tmp_path / "run.toml"
    path.write_bytes('name = "é"\n'.encode(encoding))
    assert read_toml(str(path)) == {"name": "é"}


def test_a_tilde_is_a_home_folder_in_the_name_of_a_configuration_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quoted one reaches siftlm as it is; what is no path at all is one line."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.toml").write_text("seed = 3")
    assert read_toml("~/run.toml") == {"seed": 3}
    with pytest.raises(UserError, match="command line: CONF: must name a file or a folder, not nothing, got ''"):
        read_toml("")


def test_a_configuration_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    """The line says what the bytes look like."""
    path = tmp_path / "run.toml"
    path.write_bytes('name = "é"\n'.encode("latin-1"))
    with pytest.raises(UserError, match="must be text in UTF-8; byte 8 of the file, which looks like Latin-1"):
        read_toml(str(path))


@pytest.mark.parametrize("path", ["", " ", "/", "/..", "file:///", "gs://bucket", "http://x/y"])
@pytest.mark.parametrize("key", ["output.folder", "store", "metrics_file"])
def test_quotes_do_not_carry_a_value_past_its_rule(key: str, path: str) -> None:
    """What is refused in quotes is no folder whose name has quotes in it."""
    with pytest.raises(UserError, match=key):
        parse(copy.deepcopy(MINIMAL), [f'{key}="{path}"'])


def test_a_mistake_is_a_line_whatever_its_value_has_in_it(tmp_path: Path) -> None:
    """Line ends in names of files are shown, and two mistakes are two lines."""
    path = tmp_path / "two\nlines.toml"
    path.write_text('name = "bad name"\nseed = -1\n')
    with pytest.raises(UserError) as told:
        load(str(path), [])
    lines = str(told.value).splitlines()
    assert len(lines) == 4
    assert all("two\u240alines.toml: " in line for line in lines)
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


RULES = [{"kind": "threshold", "column": "language", "in": ["x"]}]


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("name=2024-05-01", ("name",), "2024-05-01"),
        ("name=123", ("name",), "123"),
        ("name=true", ("name",), "true"),
        ('name="quoted"', ("name",), "quoted"),
        ("store=1e3", ("store",), "1e3"),
        ("store=07:30:00", ("store",), "07:30:00"),
        ("output.folder=[x]", ("output", "folder"), "[x]"),
        ("input.web.text_field=2024", ("input", 0, "text_field"), "2024"),
        ("input.0.paths=a,b", ("input", 0, "paths"), ["a,b"]),
        ("input.0.paths=2024", ("input", 0, "paths"), ["2024"]),
        ("input.0.paths=['a', 'b']", ("input", 0, "paths"), ["a", "b"]),
        ("select.rules.0.in=eng", ("select", "rules", 0, "in"), ["eng"]),
        ("select.rules.0.in=5", ("select", "rules", 0, "in"), [5]),
        ("runner.options.parallelism=4", ("runner", "options", "parallelism"), 4),
        ("runner.options.job_name=2024-01-01", ("runner", "options", "job_name"), "2024-01-01"),
        ("annotate.language=false", ("annotate", "language"), None),
        ("seed=1_000", ("seed",), 1000),
    ],
)
def test_the_type_of_a_key_decides_what_an_override_means(override: str, place: tuple[Any, ...], value: object) -> None:
    """Text that looks like a date, a number or a list is text where text is wanted; TOML's quotes still quote."""
    found: Any = parse(with_keys(select={"rules": RULES}), [override]).model_dump(by_alias=True)
    for part in place:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed=0123", "seed: must be a valid integer, got '0123'"),
        ("seed=", "seed: must be a valid integer, got ''"),
        ("seed=1.5", "seed: must be a valid integer, got 1.5"),
        ("seed=-1", "seed: must be greater than or equal to 0, got -1"),
        ("seed=5\nname='x'", "seed: must be a valid integer, got \"5\\nname='x'\""),
        ("name=[1]", "name: must match pattern '^[A-Za-z0-9][A-Za-z0-9_.-]*$', got '[1]'"),
        ("select.rules.0.max=high", "select.rules.0.max: must be a valid number, got 'high'"),
        ("select.rules.0.in_=5", "select.rules.0.in_: must be a known key, got 'in_'; did you mean 'in'?"),
        ("select.rules.0.inn=5", "select.rules.0.inn: must be a known key, got 'inn'; did you mean 'in'?"),
        ("select.rules.0.in=[1.5]", "select.rules.0.in.0: must be text, true or false, a whole number, got 1.5"),
        ("select.rules.0.min.deep=5", "select.rules.0.min: must be a valid number, got {'deep': 5}"),
    ],
)
def test_an_override_that_no_reading_fits_is_one_line(override: str, told: str) -> None:
    """At the key's place in TOML: `in`, as it is written there."""
    assert error_of(with_keys(select={"rules": RULES}), override) == f"run.toml: {told}"


def test_the_last_of_two_overrides_counts() -> None:
    """As with every option that is given twice."""
    assert parse(with_keys(), ["seed=1", "seed=2"]).seed == 2


def test_language_and_signals_can_be_left_out() -> None:
    """`language = false` computes no language; a run that names neither has both."""
    assert len(parse(with_keys(), []).scorers()) == 2
    assert parse(with_keys(annotate={"language": False, "signals": False}), []).scorers() == ()


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    """The line and column are the parser's."""
    path = tmp_path / "run.toml"
    path.write_text("name = \n")
    with pytest.raises(UserError, match=r"must be TOML; invalid value .*line 1"):
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
