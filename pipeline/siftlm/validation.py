"""Explains what pydantic finds wrong with settings, one line for each mistake, by its place in the TOML file."""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from siftlm.errors import nearest

SHORT = 80  # characters of a value in a message
_SUBJECT = re.compile(r"^[A-Z]\w* should ")
_COUNTED = re.compile(r" after validation, not \d+$")
SCALARS = {"str": "text", "bool": "true or false", "int": "a whole number", "float": "a number"}
"""How pydantic tags the members of a union of plain values."""

SHAPES = ("list", "table")
"""How unions of a list and a table tag them."""


def explain(error: ValidationError, model: type[BaseModel], place: str) -> list[str]:
    """Returns one line for each mistake that pydantic has found.

    It reads `<file>: <dotted place>: <what must hold>, got <value>; hint`.
    """
    return [f"{place}: {_explain_one(problem, model)}" for problem in _merged(error)[:20]]


def _merged(error: ValidationError) -> list[dict[str, Any]]:
    """The problems; those with every member of a union of plain values are one, for there is one value."""
    merged: dict[tuple[int | str, ...], dict[str, Any]] = {}
    for problem in error.errors():
        *before, last = problem["loc"] or ("",)
        union = last in SCALARS and problem["type"].endswith("_type")
        one = merged.setdefault(tuple(before) if union else problem["loc"], {**problem})
        if union:
            one["members"] = [*one.get("members", []), SCALARS[str(last)]]
            one["msg"] = f"Input should be {', '.join(one['members'])}"
            one["loc"] = tuple(before)
    return list(merged.values())


def _explain_one(problem: dict[str, Any], model: type[BaseModel]) -> str:
    location = problem["loc"]
    where = ".".join(map(str, followed(location, model)[0])) or "the run"
    if problem["type"] == "extra_forbidden":
        known = sorted({name for kind in followed(location[:-1], model)[1] for name in _fields(kind)})
        if location[-1] in known:
            return f"{where}: must be left out there, got {location[-1]!r}, which goes with another kind of table"
        near = nearest(str(location[-1]), known, 0.5)
        hint = f"; did you mean {near!r}?" if near else f"; known here: {', '.join(known)}"
        return f"{where}: must be a known key, got {location[-1]!r}{hint}"
    if problem["type"] == "missing":
        return f"{where}: must be set, got nothing"
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return _explain_kind(problem, where)
    must = _must(problem)
    return f"{where}: {must[0].lower()}{must[1:]}{_got(must, problem.get('input'))}"


def _must(problem: dict[str, Any]) -> str:
    """What must hold, in our words: `String should have at least 1 character` has a subject that the key is."""
    if problem["type"] == "value_error":
        return str(problem["msg"].removeprefix("Value error, "))
    if problem["type"] in ("model_type", "dict_type"):
        return "must be a table"
    return _COUNTED.sub("", _SUBJECT.sub("must ", problem["msg"]))


def _got(must: str, value: object) -> str:
    """What was found, unless that is said, or is a table too large to be read."""
    text = repr(value)
    if ", got " in must or (isinstance(value, dict) and len(text) > SHORT):
        return ""
    return f", got {text if len(text) <= SHORT else f'{text[: SHORT - 3]}...'}"


def _explain_kind(problem: dict[str, Any], where: str) -> str:
    """A table whose key `kind` says what it is, and that has none or an unknown one."""
    facts = problem["ctx"]
    key = facts["discriminator"].strip("'")
    if "tag" not in facts:
        return f"{where}.{key}: must be set, got nothing"
    near = nearest(facts["tag"], facts["expected_tags"].replace("'", "").split(", "))
    hint = f"; did you mean {near!r}?" if near else ""
    return f"{where}.{key}: must be one of {facts['expected_tags']}, got {facts['tag']!r}{hint}"


def followed(location: Sequence[int | str], model: type[BaseModel]) -> tuple[list[int | str], list[Any]]:
    """Returns the key path in TOML, without the tags of unions that pydantic adds, and where it leads."""
    public: list[int | str] = []
    kinds: list[Any] = [model]
    for part in location:
        step = _step(kinds, part)
        tagged = [kind for kind in kinds if _is_tag(kind, part)] if step is None else []
        public += [] if tagged or (step is None and part in SHAPES) else [part]
        kinds = (tagged or kinds) if step is None else step  # a key of a table of tables leads to what these are
    return public, kinds


def _fields(kind: type[BaseModel]) -> dict[str, Any]:
    """The fields of a model by their keys in TOML: `in` for `in_`, which Python would not take."""
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _is_tag(kind: Any, part: int | str) -> bool:
    fields = [kind.model_fields[name] for name in ("kind", "method") if name in kind.model_fields]
    return any(part in typing.get_args(field.annotation) for field in fields)


def _step(kinds: list[Any], part: int | str) -> list[Any] | None:
    """The models that a key or an index leads to; None when it leads nowhere."""
    if isinstance(part, int):
        return kinds
    fields = [fields[part] for kind in kinds if part in (fields := _fields(kind))]
    return [model for field in fields for model in _models(field.annotation)] if fields else None


def _models(annotation: Any) -> list[Any]:
    """The settings classes inside an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in _models(argument)]
