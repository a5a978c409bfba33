"""The catalogue of methods: each has all that is said of one, and a configuration that runs."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.examples import example_files
from tests.models import Models
from tests.runs.conftest import siftlm

from siftlm.components import MIXTURE, UNPUBLISHED, Method, members
from siftlm.config import parse, validated
from siftlm.edits import AnyEdit
from siftlm.methods import KINDS, configuration, every_method, in_toml
from siftlm.mixtures.settings import MixConfig
from siftlm.scorers import AnyAnnotator, AnyScore
from siftlm.selectors import AnyFactor, AnyRule
from siftlm.selectors.lists.union import AnyList

METHODS = every_method()
IDS = [f"{method.kind} {method.name}" for method in METHODS]
SETTINGS = [of for union in (AnyEdit, AnyAnnotator, AnyScore, AnyRule, AnyList, AnyFactor) for of in members(union)]
RUNS = [method for method in METHODS if method.kind in ("edit", "corpus", "list") or method.name in ("band", "mixture")]
HUB = {"sequence_classifier", "prior"}  # whose examples name models of the hub


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_method_says_all_that_is_said_of_one(method: Method) -> None:
    assert method.words.endswith(".")
    assert method.needs
    assert method.cost
    assert method.paper == UNPUBLISHED or re.search(r"\d{4}|ISO", method.paper), method.paper
    assert in_toml(method)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_is_unchecked_is_said_by_every_method_itself(settings: type[Any]) -> None:
    """Empty where all was read; not inherited, so that whoever adds a method thinks of it."""
    assert isinstance(vars(settings).get("unchecked"), str)


def test_kinds_and_names_are_those_of_the_unions() -> None:
    assert {method.kind for method in METHODS} == set(KINDS)
    names = {(method.kind, method.name) for method in METHODS}
    assert len(names) == len(METHODS)
    assert {of.model_fields["kind"].default for of in SETTINGS} <= {name for _, name in names}


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_the_configuration_of_a_method_is_one(method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As TOML, and as the command or the run reads it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blacklists/adult").mkdir(parents=True)
    (tmp_path / "blacklists/adult/domains").write_text("bad.example\n")
    tree = tomllib.loads(in_toml(method))
    assert tree == json.loads(json.dumps(configuration(method)))
    if method.kind == MIXTURE:
        validated(MixConfig, tree, [], "example")
    else:
        parse(tree, [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Models) -> Path:
    """A folder with every file that a configuration names."""
    made = tmp_path_factory.mktemp("methods")
    example_files(made, tiny_model)
    rows = [
        {"id": f"d{n}", "text": f"the rain number {n} stays " * (n + 3), "url": f"https://h{n % 3}.org/{n}",
         "perplexity": 10.0 + n, "quality": n / 9}
        for n in range(9)
    ]  # fmt: skip
    for name, some in {"corpus": rows[:6], "books": rows[6:]}.items():
        (made / name).mkdir()
        (made / name / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (made / "blacklists/adult").mkdir(parents=True)
    (made / "blacklists/adult/domains").write_text("bad.example\n")
    return made


@pytest.mark.parametrize("method", RUNS, ids=[f"{method.kind} {method.name}" for method in RUNS])
def test_the_configuration_of_a_method_runs(method: Method, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a few documents. Scorers, rules, factors and readers are all run in the tests of their contracts."""
    pytest.importorskip("apache_beam")
    from siftlm import job
    from siftlm.engine.progress import Progress

    if method.name in HUB:
        pytest.skip(f"the example of {method.name} names a model of the hub, which tests do not fetch")
    monkeypatch.chdir(folder)
    tree = configuration(method)
    tree["output"] = {"folder": "runs/example", "allow_empty": True}
    try:
        made = job.run(parse(tree, []), Progress(quiet=True))
        assert made.manifest["counts"]["documents"]["rows_out"] == (9 if len(tree["input"]) == 2 else 6)
    finally:
        shutil.rmtree(folder / "runs", ignore_errors=True)


def test_the_command_shows_all_one_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = siftlm(capsys, "methods")
    assert code == 0
    assert all(method.name in out for method in METHODS)
    code, out, _ = siftlm(capsys, "methods", "band")
    assert tomllib.loads(out[out.index("name = ") :])["select"]["rules"][0]["kind"] == "band"
    assert "unchecked  the edges of the bands" in out
    code, out, _ = siftlm(capsys, "methods", "--kind", "score", "--json")
    assert [row["name"] for row in json.loads(out)] == [method.name for method in METHODS if method.kind == "score"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bnad"], "command line: NAME must be a method, got 'bnad'; did you mean 'band'?"),
        (["qq"], "command line: NAME must be a method, got 'qq'; siftlm methods shows all of them"),
        (["--kind", "ruels"], "--kind: must be one of reader, edit, annotator"),
    ],
)
def test_a_method_that_is_none(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    code, _, error = siftlm(capsys, "methods", *words)
    assert code == 2
    assert error.startswith(f"siftlm: {told}")
