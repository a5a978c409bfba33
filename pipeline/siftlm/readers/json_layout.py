"""Describes how the objects of a JSON file are laid out, and tracks which brackets are open."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_LEAD = re.compile(rb"[\r\n]([ \t,\x1e]*)(?:\xef\xbb\xbf)?\Z")
_KEY = re.compile(rb'\{\s{0,64}"[^"]{0,64}"?')
_DEEPEST = 1 << 10  # brackets of which the kind is known; no parser goes deeper


class Layout(NamedTuple):
    """Describes how the objects of a stream begin: on lines of their own, or side by side.

    On lines they stand behind `lead`; it is None where they stand side by side and each begins with `key`.
    """

    lead: bytes | None
    key: bytes


@lru_cache(maxsize=4)
def starts(layout: Layout) -> re.Pattern[bytes]:
    """Returns the pattern whose match ends where an object with this layout begins."""
    if layout.lead is not None:
        return re.compile(rb"[\r\n]%b(?=\{)" % re.escape(layout.lead))
    return re.compile(rb"[,}\r\n][\s,]*+(?=%b)" % re.escape(layout.key))


def own_layout(before: bytes, content: bytearray, *, by_lines: bool) -> Layout:
    """Returns the layout of the object with which `content` begins, given the bytes `before` it."""
    lead = _LEAD.search(before) if by_lines else None
    key = _KEY.match(content)
    return Layout(lead[1] if lead else None, key[0] if key else b"{")


class Brackets:
    """Tracks which brackets are open in a JSON value.

    A bracket that closes another kind than the innermost closes all that is open inside its own.
    """

    def __init__(self) -> None:
        self._open = bytearray()
        self._deeper = 0

    def __bool__(self) -> bool:
        return bool(self._open)

    def clear(self) -> None:
        """Marks all brackets as closed."""
        self._open.clear()
        self._deeper = 0

    def in_object(self) -> bool:
        """Tells whether the innermost open bracket is that of an object, as far as is known."""
        return not self._deeper and self._open.endswith(b"{")

    def open(self, bracket: int) -> None:
        """Records that a bracket was opened."""
        if len(self._open) < _DEEPEST:
            self._open.append(bracket)
        else:
            self._deeper += 1

    def close(self, bracket: int) -> None:
        """Records that a bracket was closed, and with it all that is open inside its pair."""
        if self._deeper:
            self._deeper -= 1
        elif (at := self._open.rfind(bracket - 2)) >= 0:  # as ASCII has them
            del self._open[at:]
