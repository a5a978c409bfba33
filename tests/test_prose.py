"""The first line of a docstring is a short sentence that a reader understands without the file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [file for root in ("pipeline", "kernels") for file in sorted((ROOT / root).rglob("*.py"))]
WORDS = 20
Documented = ast.Module | ast.ClassDef | ast.FunctionDef


def documented(module: ast.Module) -> Iterator[tuple[str, Documented]]:
    """(name, node) of a module with anything in it, and of its public classes, functions and methods."""
    if module.body:
        yield "module", module
    for node in module.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
            methods = node.body if isinstance(node, ast.ClassDef) else []
            for method in methods:
                # A method that says nothing does what the one that it overrides says.
                if isinstance(method, ast.FunctionDef) and ast.get_docstring(method) and method.name[0] != "_":
                    yield f"{node.name}.{method.name}", method


def fault(node: Documented) -> str:
    """What is wrong with the docstring of a node; empty where nothing is."""
    first, *more = (ast.get_docstring(node) or "").splitlines() or [""]
    if not first:
        return "has none"
    if len(first.split()) > WORDS:
        return f"has {len(first.split())} words: {first}"
    return f"goes on in the second line: {first}" if more and more[0] else ""


def faults(source: str) -> list[str]:
    """The faults of all docstrings of a source, a line each."""
    return [f"{name} {told}" for name, node in documented(ast.parse(source)) if (told := fault(node))]


def test_docstrings_begin_with_one_short_line() -> None:
    """Those of modules, and of classes and functions that others use."""
    found = [f"{file.relative_to(ROOT)}: {told}" for file in FILES for told in faults(file.read_text("utf-8"))]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("x = 1", "module has none"),
        ('"""Reads."""\ndef f(): ...', "f has none"),
        (
            '"""Reads."""\nclass C:\n    """Holds."""\n    def m(self):\n        """' + "word " * 21 + '"""',
            "C.m has 21",
        ),
        ('"""Reads\nmore."""', "module goes on"),
        ('"""Reads."""\ndef _f(): ...', ""),
        ("", ""),
    ],
)
def test_a_docstring_that_breaks_the_rule_is_told(source: str, told: str) -> None:
    """Private names and empty files are let through."""
    assert [line[: len(told)] for line in faults(source)] == ([told] if told else [])
