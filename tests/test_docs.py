"""The README and the guides: their examples are valid, their names exist, their generated pages are up to date."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main

from siftlm import reference_pages
from siftlm.cli.commands import app
from siftlm.components import MIXTURE, methods
from siftlm.config import RunConfig, parse, validated
from siftlm.engine.beam_options import of_arguments
from siftlm.mixtures.settings import MixConfig
from siftlm.proving.settings import proof_plan

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "pipeline" / "docs"
REFERENCE = DOCS / "reference"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
SCORE: dict[str, Any] = {"name": "reference", "model": "model"}
SELECT: dict[str, Any] = {"rules": [{"kind": "top", "column": "reference_perplexity", "rate": 0.5}]}
FRAGMENT = "<!-- a fragment -->"
"""Stands in the line before a block of TOML that is no table of a run."""
BASE: dict[str, Any] = {
    "name": "base",
    "input": [{"source": "web", "paths": ["web/*.jsonl"]}],
    "output": {"folder": "runs/base"},
}
NEWCOMER_BYTES = 8192


def blocks(language: str) -> list[Any]:
    """Every code block in a language, with the page and the line that it begins at."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^(.*)\n```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start(2))
            if FRAGMENT not in match[1].splitlines()[-1:]:
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def commands() -> list[Any]:
    """Every call of siftlm in code, as words without the name of the program."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        calls = re.findall(r"`siftlm ([a-z-]+[^`\n]*)`", text)
        for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            calls += re.findall(r"^(?:.*&& )?(?:\.venv/bin/)?siftlm ([a-z-]+.*)$", block, re.MULTILINE)
        where = page.relative_to(ROOT)
        found += [pytest.param(shlex.split(call, comments=True), id=f"{where}: {call[:60]}") for call in calls]
    return found


@pytest.mark.parametrize("block", blocks("toml"))
def test_an_example_of_a_configuration_is_one(block: str) -> None:
    """Tables alone are laid over a run that lacks them, those of a proof over a run with its selection.

    Those of mixtures stand alone.
    """
    tree = {**BASE, **tomllib.loads(block)}
    if "mix" in tree:
        assert isinstance(validated(MixConfig, tomllib.loads(block), [], "guide"), MixConfig)
    elif "prove" in tree:
        assert proof_plan({**tree, "select": SELECT, "score": [SCORE]}, [], "guide").arms
    else:
        assert isinstance(parse(tree, []), RunConfig)


@pytest.mark.parametrize("words", commands())
def test_a_command_exists_with_its_options(words: list[str]) -> None:
    """Options that are not siftlm's are Beam's, where the command lets them through."""
    name, *arguments = words
    command = COMMANDS[name]
    if hasattr(command, "commands"):  # a group of commands
        command = command.commands[arguments.pop(0)]
    own = {option for parameter in command.params for option in parameter.opts}
    others = [word for word in arguments if word.startswith("-") and word.partition("=")[0] not in own]
    if command.context_settings.get("ignore_unknown_options"):
        options, _ = of_arguments(others, sorted(own))
        assert len(options) == len(others)
    else:
        assert not others


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    """Links lead from the page, paths in code from the root of the repository."""
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = re.findall(r"`((?:tests|conf|docker|pipeline|kernels)/[\w./-]+)`", text)
    missing = [str(path) for path in [*links, *(ROOT / path for path in named)] if not path.exists()]
    assert not missing


def test_the_reference_pages_are_up_to_date() -> None:
    """`python -m siftlm.reference_pages pipeline/docs/reference` writes them again."""
    written = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
    assert written == reference_pages.pages()


def test_every_key_of_a_run_stands_in_the_reference() -> None:
    """Also those deep in the tree, which pydantic's own schema lists by class."""
    text = (REFERENCE / "configuration.md").read_text(encoding="utf-8")
    schema = RunConfig.model_json_schema()
    keys = {key for table in (schema, *schema["$defs"].values()) for key in table.get("properties", {})}
    assert not {key for key in keys - {"kind"} if f"| `{key}` |" not in text}


def test_every_kind_that_a_run_can_name_is_a_method() -> None:
    """But that of shingles, which no configuration has to name; methods of mixtures are no part of a run."""
    kinds = [table["properties"].get("kind", {}) for table in RunConfig.model_json_schema()["$defs"].values()]
    named = {kind["const"] for kind in kinds if "const" in kind}
    of_runs = {method.name for method in methods() if method.kind not in ("reader", MIXTURE)}
    assert named - {"shingles"} == of_runs


def test_the_readme_is_short_enough_for_a_newcomer() -> None:
    """What else there is to say stands in the guides."""
    assert len((ROOT / "README.md").read_bytes()) <= NEWCOMER_BYTES
