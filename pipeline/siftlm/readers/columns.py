"""Converts fields of documents to typed columns; a value that does not convert is null, and counted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
import pyarrow as pa

from siftlm.documents import COLUMN_TYPES, ColumnType
from siftlm.readers.settings import InputSettings, column_name

_EPOCH = datetime(1970, 1, 1)  # columns hold UTC without saying so
_CAPTURED = re.compile(r"[0-9]{14}")  # as indexes of web archives write times
_WORDS = {"true": True, "false": False, "1": True, "0": False}


class Columns(NamedTuple):
    """Holds the columns of some documents, and how many values of each field did and did not convert."""

    table: pa.Table
    values: Counter[str]
    unusable: Counter[str]


def schema(inputs: Iterable[InputSettings]) -> pa.Schema:
    """Returns the schema of the columns that several inputs name, sorted by name.

    All columns of one name have one type.
    """
    kinds = {column_name(path): kind for settings in inputs for path, kind in settings.columns.items()}
    return pa.schema([pa.field(name, COLUMN_TYPES[kind]) for name, kind in sorted(kinds.items())])


def typed(packed: pa.Array, settings: InputSettings, wanted: pa.Schema) -> Columns:
    """Returns typed columns of documents whose fields are packed as JSON objects.

    A document that lacks a field has null there. Columns that other inputs give are null. Values and misfits are
    counted by their place in the settings.
    """
    rows = [orjson.loads(row) if row else {} for row in packed.to_pylist()]
    values: Counter[str] = Counter()
    unusable: Counter[str] = Counter()
    made: dict[str, pa.Array] = {}
    for path, kind in settings.columns.items():
        raw = [row.get(path) for row in rows]
        converted = [None if value is None else _converted(value, kind) for value in raw]
        there = sum(value is not None for value in raw)
        values[f"columns.{path}"] = there - converted.count(_MISFIT)
        unusable[f"columns.{path}"] = converted.count(_MISFIT)
        column = [None if value is _MISFIT else value for value in converted]
        made[column_name(path)] = pa.array(column, COLUMN_TYPES[kind])
    columns = [made.get(field.name, pa.nulls(len(rows), field.type)) for field in wanted]
    return Columns(pa.table(columns, schema=wanted), +values, +unusable)


class _Misfit:
    """Stands for a value that does not convert."""


_MISFIT: Any = _Misfit()


def _converted(value: Any, kind: ColumnType) -> Any:
    try:
        return _CONVERSIONS[kind](value)
    except (KeyError, TypeError, ValueError, OverflowError):
        return _MISFIT


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise TypeError


def _int(value: Any) -> int:
    whole = int(_digits(value)) if isinstance(value, str) else int(_number(value))
    if (isinstance(value, float) and whole != value) or not -(1 << 63) <= whole < 1 << 63:
        raise ValueError
    return whole


def _float(value: Any) -> float:
    made = float(_digits(value)) if isinstance(value, str) else float(_number(value))
    if not math.isfinite(made):
        raise ValueError
    return made


def _digits(text: str) -> str:
    """A number in text, of which Python would take more forms than JSON and CSV have: 1_000, other scripts' digits."""
    if "_" in text or not text.isascii():
        raise ValueError
    return text.strip()


def _number(value: Any) -> int | float:
    if isinstance(value, int | float):
        return value
    raise TypeError


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return _WORDS[(value if isinstance(value, str) else str(_int(value))).strip().lower()]


def _timestamp(value: Any) -> datetime:
    if isinstance(value, bool):
        raise TypeError
    if not isinstance(value, str):
        return _EPOCH + timedelta(seconds=_float(value))
    text = value.strip()
    if _CAPTURED.fullmatch(text):
        return datetime.strptime(text, "%Y%m%d%H%M%S")
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


_CONVERSIONS: Mapping[ColumnType, Callable[[Any], Any]] = {
    "string": _string,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "timestamp": _timestamp,
}
