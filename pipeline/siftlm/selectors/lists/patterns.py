"""Defines the list `patterns`, of regular expressions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import ListSettings
from siftlm.statistics.ordered import BoolArray

TOGETHER = 64  # patterns that are looked for at once


class PatternsList(ListSettings):
    """Has strings in which one of its regular expressions is found.

    They are RE2's (github.com/google/re2/wiki/Syntax), whose time is linear whatever the expression. `(?i)` before one
    makes case not count.
    """

    kind: Literal["patterns"] = "patterns"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"entries": ["^https?://ads[.]"]}
    told: ClassVar[str] = "patterns"

    def read(self) -> Patterns:
        patterns = list(dict.fromkeys(pattern for block in self.blocks() for pattern in _checked(block)))
        return Patterns(len(patterns), tuple(_joined(patterns)))


@dataclass(frozen=True)
class Patterns:
    """Looks for regular expressions in strings."""

    entries: int
    alternatives: tuple[str, ...]  # each several patterns at once

    def holds(self, values: pa.Array) -> BoolArray:
        found = np.zeros(len(values), np.bool_)
        for pattern in self.alternatives:
            found |= np.asarray(pc.match_substring_regex(values, pattern), np.bool_)
        return found


def _checked(block: Lines) -> Iterator[str]:
    """The patterns of some lines; a UserError for one that is none."""
    for line, pattern in enumerate(block.texts.to_pylist()):
        if reason := _refusal(pattern):
            raise block.mistake(line, "must be a regular expression of RE2 a line", f": {reason}")
        yield pattern


def _refusal(pattern: str) -> str | None:
    """Why a pattern is none; None where it is one."""
    try:
        pc.match_substring_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ").partition("\n")[0]
    return None


def _joined(patterns: Sequence[str], size: int = TOGETHER) -> Iterator[str]:
    """Alternatives of up to `size` patterns; fewer where RE2 takes so many together for too large."""
    for start in range(0, len(patterns), size):
        some = patterns[start : start + size]
        joined = "|".join(f"(?:{pattern})" for pattern in some)
        if len(some) > 1 and _refusal(joined):
            yield from _joined(some, (len(some) + 1) // 2)
        else:
            yield joined if len(some) > 1 else some[0]
