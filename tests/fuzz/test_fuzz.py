"""A slice of the fuzzing: every target on its seeds and on some changes of them, and what was found before."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from targets import TARGETS

INPUTS = 25


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_changed_inputs_raise_nothing(name: str) -> None:
    """`python tests/fuzz` does the same for hours, with a watch over crashes and hangs."""
    target = TARGETS[name]
    seeds = target.seeds()
    for content in seeds:
        target.check(content)
    for number in range(INPUTS):
        target.check(target.change(random.Random(f"1:{name}:{number}"), seeds))


RUN = {"name": "x", "input": [{"source": "a", "paths": ["in"]}], "output": {"folder": "out"}}
FOUND = [
    ("config", [{**RUN, "matrix": []}, "seed=3"]),
    ("config", [{**RUN, "correlate": {"matrix": 3}}, "seed=3"]),
    ("config", [{**RUN, "output": "x"}, "seed=3"]),
    ("config", [{**RUN, "score": [3]}, "score.0.x=3"]),
    ("config", [RUN, "input.².x=3"]),
    ("config", [RUN, "seed=" + "9" * 10_001]),
    ("config", [RUN, "seed=" + "[" * 10_000]),
]


@pytest.mark.parametrize(("name", "tree"), FOUND)
def test_what_was_found_in_configurations_stays_mended(name: str, tree: object) -> None:
    """Tables that are none, a digit that is no decimal, numbers and brackets beyond Python's limits."""
    TARGETS[name].check(json.dumps(tree).encode())


@pytest.mark.parametrize("text", ["kept_tokens < " + "9" * 400, "kept_tokens < 1e999", "-1e999 < 1"])
def test_what_was_found_in_conditions_stays_mended(text: str) -> None:
    """Numbers that no float holds."""
    TARGETS["expression"].check(text.encode())


@pytest.mark.parametrize("path", sorted((Path(__file__).parent / "found").iterdir()), ids=lambda path: path.stem)
def test_what_was_found_in_files_stays_mended(path: Path) -> None:
    """Parquet whose column metadata pyarrow ends the process over, where it is asked for it."""
    TARGETS[path.name.partition("-")[0]].check(path.read_bytes())
