"""The list of steps: its order is written once, and nobody else spells a step's name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from siftlm.config import RunConfig, parse
from siftlm.engine.audit import WRITTEN
from siftlm.steps import losses, steps

SOURCE = Path(__file__).parents[1] / "pipeline" / "siftlm"
READ = {"inputs", "outputs", "shared", "markers", "keys"}  # mappings by step
OF_STORE = {
    "batches", "committed", "done", "find", "is_done", "marker", "markers", "open", "opened", "path", "row_range",
    "rows", "schema", "table", "writer",
}  # fmt: skip
EVERYTHING = {
    "name": "all",
    "input": [{"source": "web", "paths": ["in"]}],
    "edit": [{"kind": "repair"}, {"kind": "pii"}],
    "dedup": {"paragraphs": {}, "commonness": {}},
    "reference": {},
    "preselect": [{"kind": "threshold", "column": "byte_count", "min": 1}],
    "score": [{"name": "own", "model": "trained"}],
    "select": {"rules": [{"kind": "sample", "rate": 0.5}], "weights": {}},
    "output": {"folder": "out"},
}


def config(**changes: object) -> RunConfig:
    return parse({**EVERYTHING, **changes}, [])


def test_steps_come_after_what_they_read() -> None:
    """Whatever is switched off: a step reads only steps before it, or such as are left out."""
    for left_out in ({}, {"dedup": None}, {"reference": None, "score": []}, {"duplicate_ids": "refuse"}):
        made = steps(config(**left_out))
        names = [step.name for step in made]
        assert len(set(names)) == len(names)
        for position, step in enumerate(made):
            assert not set(step.reads) & set(names[position:]), step.name


def test_documents_are_lost_in_the_order_of_the_steps() -> None:
    assert [loss.place for loss in losses(steps(config()))] == [
        "dedup", "dedup.paragraphs", "reference", "preselect.0", "score.own", "select.rules.0", "select.weights",
    ]  # fmt: skip


def spelled(tree: ast.AST, names: set[str]) -> Iterator[ast.Constant]:
    """Names of steps as strings, where they stand for steps: keys of outputs and markers, and what a store is asked."""
    for node in ast.walk(tree):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr in READ:
            asked = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OF_STORE:
            asked = node.args[:1]
        elif isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Attribute):
            asked = [node.left] if node.comparators[0].attr in READ else []
        for part in asked:
            if isinstance(part, ast.Constant) and part.value in names:
                yield part


def test_a_step_is_named_by_its_constant() -> None:
    """A name that is spelled elsewhere is forgotten when a step gets another one, or another step comes between."""
    names = {*(step.name for step in steps(config())), "ids", *WRITTEN}
    findings = [
        f"{file.relative_to(SOURCE)}:{constant.lineno}: {constant.value!r}"
        for file in sorted(SOURCE.rglob("*.py"))
        for constant in spelled(ast.parse(file.read_text("utf-8")), names)
    ]
    assert not findings, "\n".join(findings)


def test_a_spelled_name_is_found() -> None:
    code = 'task.inputs["documents"]; store.table("signals", key); "clusters" in shard.outputs; facts["documents"]'
    assert [part.value for part in spelled(ast.parse(code), {"documents", "signals", "clusters"})] == [
        "documents",
        "signals",
        "clusters",
    ]
