"""Lists every method that a configuration can name, with its description, columns and reasons."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Method:
    """Describes one method that a configuration can name, as a row of the methods page."""

    kind: str  # what it is: reader, edit, annotator, score, rule, list, factor, mixture method
    name: str  # its `kind` in a configuration, its `format`, or its `method`
    words: str  # what it does, in a sentence
    columns: tuple[str, ...] = ()  # that rules can name, of the example's names
    reasons: tuple[str, ...] = ()  # for which it drops documents
    paper: str = ""
    needs: str = ""  # what a configuration must name beside the text
    cost: str = ""  # what is done with every document, or what a mixture costs beside what it reads
    unchecked: str = ""  # what of its source could not be read


def methods() -> list[Method]:
    """Returns a description of every method, readers first, in the order in which a document meets them."""
    readers = [Method("reader", name, of.words, paper=of.paper) for name, of in FORMATS.items() if of.words]
    scorers = [*_scorers("annotator", AnyAnnotator), *_scorers("score", AnyScore)]
    lists = [Method("list", kind.model_fields["kind"].default, first_line(kind)) for kind in members(AnyList)]
    selectors = [*_selectors("rule", AnyRule), *lists, *_selectors("factor", AnyFactor)]
    return [*readers, *_edits(), *scorers, *selectors, *_mixture_methods()]


def members(union: Any) -> list[Any]:
    """Returns the settings classes in a union type, in their order, without its annotations."""
    if isinstance(union, type):
        return [union]
    return [member for argument in get_args(union) for member in members(argument)]


def _edits() -> Iterator[Method]:
    for settings in members(AnyEdit):
        example: EditSettings = settings.model_validate(settings.example)
        columns = tuple(edit_schema(example).names)
        yield Method("edit", example.kind, first_line(settings), columns, paper=settings.paper)


def _scorers(kind: str, union: Any) -> Iterator[Method]:
    for settings in members(union):
        example: ScorerSettings = settings.model_validate(settings.example)
        columns = tuple(field.name for field in example.columns())
        needs, cost = settings.needs, settings.cost
        yield Method(kind, example.kind, first_line(settings), columns, paper=settings.paper, needs=needs, cost=cost)


def _selectors(kind: str, union: Any) -> Iterator[Method]:
    for settings in members(union):
        example: Component = settings.model_validate(settings.example)
        yield Method(kind, example.kind, first_line(settings), reasons=example.reasons(), paper=settings.paper)


def _mixture_methods() -> Iterator[Method]:
    for name, of in MIXTURE_METHODS.items():
        yield Method(
            MIXTURE, name, first_line(of), paper=of.paper, needs=of.needs, cost=of.cost, unchecked=of.unchecked
        )


def first_line(settings: type) -> str:
    """Returns the first line of a docstring."""
    return inspect.cleandoc(settings.__doc__ or "").partition("\n")[0]
