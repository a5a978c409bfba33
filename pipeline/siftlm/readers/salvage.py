"""Reads as many members as it can of a JSON object that a parser refuses."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from siftlm.readers.records import UNREADABLE

_STRING = r'"(?:[^"\\]++|\\.)*+"'
_OPENING = re.compile(r"\s*\{")
_CLOSING = re.compile(r"\s*\}\s*")
_KEY = re.compile(rf"\s*({_STRING})\s*:\s*", re.DOTALL)
_MARK = re.compile(rf'{_STRING}|["{{}}\[\],]', re.DOTALL)
_LONGEST_INTEGER = 4000  # digits; Python refuses to convert more than 4,300


def parse(content: str) -> Any:
    """Parses a JSON value, and accepts what Python's writer adds to JSON.

    That is NaN, Infinity, large integers and lone surrogates.

    Raises:
        ValueError: it is no such value.
        RecursionError: it is nested too deep.
    """
    return json.loads(content, parse_int=_integer, strict=False)


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _LONGEST_INTEGER else Decimal(digits)


def members(content: str, depth: int) -> dict[str, Any] | None:
    """Returns the members of a JSON object that cannot be parsed whole, each parsed by itself.

    A member that no parser takes is UNREADABLE. The result is None where the text is no object. Objects among them that
    cannot be read as a whole are taken apart in turn, `depth` deep.
    """
    opening = _OPENING.match(content)
    if opening is None:
        return None
    row: dict[str, Any] = {}
    at = opening.end()
    while key := _KEY.match(content, at):
        end = _value_end(content, key.end())
        if end is None:
            return None
        name = _value(key[1], 0)
        if name is not UNREADABLE:
            row[name] = _value(content[key.end() : end], depth)
        at = end + 1
        if content[end] == "}":
            return None if content[at:].strip() else row
    return row if row and _CLOSING.fullmatch(content, at) else None  # behind a comma, which only JSON5 allows


def _value_end(content: str, start: int) -> int | None:
    """Where the comma or bracket stands that ends the value at `start`."""
    depth = 0
    for mark in _MARK.finditer(content, start):
        if mark[0] in ("{", "["):
            depth += 1
        elif depth == 0 and mark[0] in (",", "}"):
            return mark.start()
        elif mark[0] in ("}", "]"):
            depth -= 1
        if depth < 0 or mark[0] == '"':  # the end of an object that is none, or of a string
            return None
    return None


def _value(content: str, depth: int) -> Any:
    try:
        return parse(content)
    except (ValueError, RecursionError):
        inner = members(content, depth - 1) if depth else None
        return UNREADABLE if inner is None else inner
