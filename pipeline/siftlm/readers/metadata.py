"""Writes values of any kind as JSON, with null for a value that JSON cannot carry."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import orjson

from siftlm.readers.records import UNREADABLE, TooLong

MOST_VALUE_BYTES = 1 << 20  # of a metadata value as JSON: they go beside every document, through every stage
_DEEPEST = 250  # objects and lists in one another; orjson and others read no more than 254


def pack(values: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Returns the values as a JSON object, and the names of those that JSON cannot carry.

    Those are null in the object.
    """
    try:
        packed = orjson.dumps(values, default=_plain)
    except TypeError:
        return _one_by_one(values)
    return (packed.decode(), []) if len(packed) <= MOST_VALUE_BYTES else _one_by_one(values)


def _one_by_one(values: Mapping[str, Any]) -> tuple[str, list[str]]:
    parts: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in values.items():
        try:
            parts[name] = orjson.Fragment(_fragment(value))
        except ValueError:
            parts[name] = None
            lost.append(name)
    return orjson.dumps(parts).decode(), lost


def _fragment(value: Any) -> bytes:
    """A value as JSON; raises ValueError where it has no such form, as a lone surrogate has none in UTF-8."""
    try:
        made = orjson.dumps(value, default=_plain)
    except TypeError:  # integers above 64 bits, or nothing that JSON has
        made = json.dumps(_clean(value, 0), ensure_ascii=False, separators=(",", ":")).encode()
    if len(made) > MOST_VALUE_BYTES:
        raise ValueError("a value that is too long")
    return made


def _clean(value: Any, depth: int) -> Any:
    """The value in types that Python's writer takes; NaN and infinities are null, as orjson has them."""
    if depth > _DEEPEST or value is UNREADABLE or isinstance(value, TooLong):
        raise ValueError("a value that JSON cannot carry")
    if isinstance(value, Mapping):
        return {str(key): _clean(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner, depth + 1) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return value if isinstance(value, str) else _plain(value)


def _plain(value: Any) -> str:
    """How JSON carries what it has no type for: binary as text or in hexadecimal digits, decimals as they print."""
    if value is UNREADABLE or isinstance(value, TooLong):
        raise TypeError("a value that cannot be converted")
    return text_or_hex(value) if isinstance(value, bytes) else str(value)


def text_or_hex(value: bytes) -> str:
    """Returns bytes as text where they are UTF-8, else as hexadecimal digits."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
