"""JSON values out of a stream, those of lists one by one, in bounded memory.

Only brackets and quotes are looked at here, so a value that is not JSON inside costs itself alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from siftlm.readers.lines import as_flaw
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block, Fault

_BETWEEN = re.compile(rb"(?:[ \t\r\n,\x1e]|\xef\xbb\xbf)*")  # with the separator of RFC 7464, and marks of joined files
_MARK = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+')
_SCALAR_END = re.compile(rb"[\s,{}\[\]]")
_STRAY_END = re.compile(rb'[\n{"\[]')  # of brackets and colons that belong to nothing


class Value(NamedTuple):
    """A value as it stands in the stream. `offset` is in the uncompressed text; `size` is its bytes.

    `content` is None where it is longer than what is held in memory; `whole` is false where it has no end.
    """

    content: bytes | None
    offset: int
    size: int
    whole: bool = True


class Values:
    """Cuts what is fed to it into values; a list at the top gives its elements."""

    def __init__(self, limit: int) -> None:
        self.in_list = False
        self.lost = False  # whether it looks for the next value behind damage
        self.skipped = 0  # bytes that it has read over since, where they may hold values
        self._limit = limit
        self.offset = 0  # in the stream, of what is held
        self._held = bytearray()
        self._at = 0  # how much of it is scanned
        self._dropped = 0  # bytes of the value in work that are not held any more
        self._first = b""  # of the value in work; empty between values
        self._depth = 0
        self._in_string = False
        self._indent: bytes | None = None  # what stands before the first value on its line

    def feed(self, content: bytes) -> Iterator[Value]:
        """The values that end in `content`."""
        self._held += content
        while (not self.lost or self._find()) and (self._first or self._begin()) and (value := self._finish()):
            yield value
        if self._first and self._dropped + len(self._held) > self._limit:
            self._dropped += self._at
            self._drop(self._at)

    def end(self) -> Value | None:
        """The value that the stream ends in, if it does; a number is whole there, anything else is not."""
        if self.lost:
            self._skip(len(self._held))
        return self._cut(len(self._held), whole=self._is_scalar()) if self._first else None

    def lose(self) -> None:
        """Forgets the value in work, whose rest is damaged; goes on at the next that begins as the first one did."""
        self._cut(len(self._held), whole=False)
        self.lost = True

    def _is_scalar(self) -> bool:
        return self._first not in (b'"', b"{", b"[")

    def _begin(self) -> bool:
        """Puts what is held at the beginning of a value; false where there is none yet."""
        while True:
            start = _end(_BETWEEN, self._held, 0)
            first = bytes(self._held[start : start + 1])
            opens, closes = first == b"[" and not self.in_list, first == b"]" and self.in_list
            if first and not (opens or closes):
                break
            self._drop(start + (opens or closes))
            if not first:
                return False
            self.in_list = opens
        if self._indent is None:
            self._indent = bytes(self._held[self._held.rfind(b"\n", 0, start) + 1 : start])
        self._drop(start)
        self._first, self._in_string = first, first == b'"'
        self._at, self._depth = 1, int(first in (b"{", b"["))
        return True

    def _finish(self) -> Value | None:
        """The value in work if it ends in what is held."""
        if self._is_scalar():
            end = (_STRAY_END if self._first in (b"}", b"]", b":") else _SCALAR_END).search(self._held, self._at)
            self._at = end.start() if end else len(self._held)
            return self._cut(self._at, whole=True) if end else None
        while self._in_string or self._next_mark():
            if self._in_string and not self._leave_string():
                return self._broken()
            if self._depth == 0 and not self._in_string:
                return self._cut(self._at, whole=True)
        return None

    def _next_mark(self) -> bool:
        """Goes behind the next bracket or quote; false where there is none yet."""
        found = _MARK.search(self._held, self._at)
        self._at = found.end() if found else len(self._held)
        if found is None:
            return False
        self._in_string = found[0] == b'"'
        self._depth += {b"{": 1, b"[": 1, b'"': 0}.get(found[0], -1)
        return True

    def _leave_string(self) -> bool:
        """Goes behind the end of a string; false where that is not there."""
        self._at = _end(_IN_STRING, self._held, self._at)
        if self._held[self._at : self._at + 1] != b'"':
            return False
        self._at, self._in_string = self._at + 1, False
        return True

    def _broken(self) -> Value | None:
        """None where a string may go on in what comes; a value without end where a line ends inside the string."""
        if b"\n" not in self._held[self._at : self._at + 2]:
            return None
        broken = self._cut(self._at, whole=False)
        self.lost = True
        return broken

    def _cut(self, end: int, *, whole: bool) -> Value:
        size = self._dropped + end
        content = None if size > self._limit else bytes(self._held[:end])
        value = Value(content, self.offset - self._dropped, size, whole)
        self._dropped, self._first, self._in_string = 0, b"", False
        self._drop(end)
        return value

    def _drop(self, size: int) -> None:
        del self._held[:size]
        self.offset += size
        self._at = 0

    def _find(self) -> bool:
        """Puts what is held at the next line that begins as the first value did; false where there is none yet."""
        begins = b"\n" + (self._indent or b"") + b"{"
        at = self._held.find(begins)
        if at < 0:
            self._skip(max(0, len(self._held) - len(begins)))
            return False
        self._drop(at + 1)
        self.lost, self.skipped = False, 0
        return True

    def _skip(self, size: int) -> None:
        self.skipped += size if b"{" in self._held[:size] else 0
        self._drop(size)


def split_values(blocks: Iterable[Block | Fault], limit: int) -> Iterator[Value | Flaw]:
    """The values of `blocks` in order; what has no end is one flaw, and none where damage took the end."""
    values = Values(limit)
    damaged = False
    for block in blocks:
        if isinstance(block, Fault):
            values.lose()
            damaged = True
            yield as_flaw(block)
        else:
            yield from values.feed(block.content)
    last = values.end()
    if last and (last.whole or not damaged):
        yield last
    elif values.skipped:
        detail = f"{values.skipped} bytes behind damage in which no line begins as the first value's does"
        yield Flaw("error", "broken_json", detail, values.offset)
    elif values.in_list and not damaged:
        yield Flaw("error", "broken_json", "the file ends inside a list", values.offset)


def _end(pattern: re.Pattern[bytes], content: bytearray, start: int) -> int:
    found = pattern.match(content, start)
    assert found is not None, "the pattern matches nothing at all too"
    return found.end()
