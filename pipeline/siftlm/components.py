"""Lists every method that a configuration can name, with its description, columns and reasons."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from siftlm.edits import AnyEdit, EditSettings, edit_schema
from siftlm.mixtures.settings import METHODS as MIXTURE_METHODS
from siftlm.readers import FORMATS
from siftlm.scorers import AnyAnnotator, AnyScore, ScorerSettings
from siftlm.selectors import AnyFactor, AnyRule
from siftlm.selectors.component import Component
from siftlm.selectors.lists.union import AnyList

MIXTURE = "mixture method"
"""The kind of a method that finds shares of domains, which `siftlm mix` runs and no run of a selection names."""


UNPUBLISHED = "common practice"
"""The source of a method that nobody has to be cited for."""
TEXT = "the text"
"""What a method needs that needs nothing else."""


@dataclass(frozen=True)
class Method:
    """Describes one method that a configuration can name, as a row of the methods page."""

    kind: str  # what it is: reader, edit, annotator, score, rule, list, factor, mixture method
    name: str  # its `kind` in a configuration, its `format`, or its `method`
    words: str  # what it does, in a sentence
    columns: tuple[str, ...] = ()  # that rules can name, of the example's names
    reasons: tuple[str, ...] = ()  # for which it drops documents
    paper: str = UNPUBLISHED
    needs: str = TEXT  # what a configuration must name or have
    cost: str = "reads"  # what is done with every document, or what a mixture costs beside what it reads
    unchecked: str = ""  # what of its source could not be read
    example: Mapping[str, Any] = field(default_factory=dict)  # of its table in a configuration


def methods() -> list[Method]:
    """Returns a description of every method, readers first, in the order in which a document meets them."""
    readers = [
        Method("reader", name, of.words, paper=of.paper or UNPUBLISHED, needs="files", example={"format": name})
        for name, of in FORMATS.items()
        if of.words
    ]
    scorers = [*_scorers("annotator", AnyAnnotator), *_scorers("score", AnyScore)]
    selectors = [*_selectors("rule", AnyRule), *_lists(), *_selectors("factor", AnyFactor)]
    return [*readers, *_edits(), *scorers, *selectors, *_mixture_methods()]


def members(union: Any) -> list[Any]:
    """Returns the settings classes in a union type, in their order, without its annotations."""
    if isinstance(union, type):
        return [union]
    return [member for argument in get_args(union) for member in members(argument)]


def _edits() -> Iterator[Method]:
    for of in members(AnyEdit):
        example: EditSettings = of.model_validate(of.example)
        columns, told = tuple(edit_schema(example).names), _told(of, {"kind": example.kind, **of.example})
        yield Method("edit", example.kind, first_line(of), columns, **told)


def _scorers(kind: str, union: Any) -> Iterator[Method]:
    for of in members(union):
        example: ScorerSettings = of.model_validate(of.example)
        columns, told = (
            tuple(field.name for field in example.columns()),
            _told(of, {"kind": example.kind, **of.example}),
        )
        yield Method(kind, example.kind, first_line(of), columns, needs=of.needs or TEXT, cost=of.cost, **told)


def _selectors(kind: str, union: Any) -> Iterator[Method]:
    for of in members(union):
        example: Component = of.model_validate(of.example)
        needs = ", ".join(f"`{name}`" for name in sorted(example.columns())) or "nothing"
        cost = {0: "a column", 1: "a column, twice"}.get(example.passes, f"a column, {example.passes + 1} times")
        told = _told(of, of.example)
        yield Method(kind, example.kind, first_line(of), (), example.reasons(), needs=needs, cost=cost, **told)


def _lists() -> Iterator[Method]:
    for of in members(AnyList):
        name = of.model_fields["kind"].default
        told = _told(of, {"kind": name, **of.example})
        yield Method("list", name, first_line(of), needs="entries, or a file of them", cost="a column", **told)


def _mixture_methods() -> Iterator[Method]:
    for name, of in MIXTURE_METHODS.items():
        told = _told(of, {"method": name, **of.example})
        yield Method(MIXTURE, name, first_line(of), needs=of.needs, cost=of.cost, **told)


def _told(of: Any, example: Mapping[str, Any]) -> dict[str, Any]:
    """What all kinds of methods say of themselves alike."""
    paper = getattr(of, "paper", "") or UNPUBLISHED
    return {"paper": paper, "unchecked": of.unchecked, "example": example}


def first_line(settings: type) -> str:
    """Returns the first line of a docstring."""
    return inspect.cleandoc(settings.__doc__ or "").partition("\n")[0]
