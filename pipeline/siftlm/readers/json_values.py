"""Reads JSON values from a stream one by one, in bounded memory and linear time.

The elements of a list at the top are read one by one, too. Only brackets, quotes and colons are looked at here, so a
value that is not JSON inside costs itself alone. One that lacks a bracket or a quote has no end: the next one begins
where a line, or the first key, looks as it did before.

A byte is looked at a constant number of times. Where the next value begins inside of what was taken for one, reading
goes back to there. Once that comes to twice the bytes of the stream up to here, every value up to here ends at the next
beginning, so that nothing there is read again: such stretches do not overlap. All that is read again is thus three
times the stream at most, twice and one such stretch each; searches for beginnings go over no more than that.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from siftlm.readers.json_layout import Brackets, Layout, own_layout, starts
from siftlm.readers.lines import Piece
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block

_BETWEEN = re.compile(rb"(?:[ \t\r\n,\x1e]|\xef\xbb\xbf)*")  # with the separator of RFC 7464, and marks of joined files
_TO_MARK = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\\n]++|\\[^\n])*+")*+')  # to a bracket, or a string without end
_IN_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+')
_SCALAR = b"-0123456789tfnNI"  # what a number or a literal begins with
_SCALAR_END = re.compile(rb"[\s,{}\[\]]")
_STRAY_END = re.compile(rb'[\n{"\[]')  # of brackets, comments and words that belong to nothing
_BEHIND = re.compile(rb"\S")
_ODD_STRING = re.compile(
    rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+"\s*+(?=[:,}\]]))*+"(?:[^"\\]++|\\.)*+"\s*+[^\s:,}\]]', re.DOTALL
)  # one that is followed by what cannot follow it: a quote before it is missing
_OBJECT, _QUOTE = b'{"'
_LONGEST_LEAD = 256
_TAIL = 1 << 10  # bytes in which a beginning may stand that is not held to its end


class Values:
    """Splits a stream of bytes into JSON values, and a list at the top into its elements."""

    def __init__(self, limit: int) -> None:
        self.in_list = False
        self.skipped = 0  # bytes behind damage in which a value may begin, but none as the others do
        self.offset = 0  # in the stream, of what is held
        self._limit = limit
        self._held = bytearray()
        self._at = 0  # how much of it is scanned
        self._dropped = 0  # bytes of the value in work that are not held any more
        self._before = b"\n"  # the end of what stands before the value in work
        self._first = b""  # of the value in work; empty between values
        self._open = Brackets()
        self._in_string = False
        self._stop: int | None = None  # where the value ends at the latest, if that is known
        self._layout: Layout | None = None  # of the last whole object
        self._own: Layout | None = None  # of the value in work, where it is asked for
        self._flat = False  # whether lines in objects begin as objects do
        self._starts: re.Pattern[bytes] | None = None  # what ends the value in work, where brackets cannot
        self._in_damage = False  # whether it is what damage left of one, and none to give
        self._reach = 0  # in the stream, how far it had been read by brackets
        self._rewound = 0  # bytes that were read again
        self._sure = 0  # in the stream, up to where every value ends at the next beginning at the latest

    def feed(self, content: bytes) -> Iterator[Piece]:
        """Takes the next bytes of the stream, and yields the values that end in them."""
        self._held += content
        yield from self._values()
        while self._first and self._dropped + len(self._held) > self._limit:
            value = self._broken() if self._is_overlong() else None
            if value is None:
                self._let_go()
                return
            yield value
            yield from self._values()

    def end(self) -> Iterator[Piece]:
        """Yields the last values, once the stream has ended.

        Numbers and strings are whole there, anything else is not.
        """
        while self._first:
            whole = self._starts is None and not self._open and not self._in_string
            value = None if whole or self._in_damage else self._broken()
            if self._in_damage:
                self._at = len(self._held)
                self._let_go()
                self.skipped, self._first = self.skipped and self._dropped, b""
            else:
                yield value or self._cut(len(self._held), whole=whole)
                yield from self._values()

    def lose(self) -> None:
        """Forgets the value that is being read, because the rest of it is damaged.

        Reading goes on where the next value begins.
        """
        pattern = self._starts or self._pattern()
        self._cut(len(self._held), whole=False)
        self._first, self._starts, self._in_damage = b"{", pattern, True

    def _values(self) -> Iterator[Piece]:
        while self._first or self._begin():
            value = self._finish() if self._starts is None else self._resume()
            if value is None:
                return
            if not self._in_damage:
                yield value
            self._in_damage, self.skipped = False, 0

    def _begin(self) -> bool:
        """Puts what is held at the beginning of a value; false where there is none yet."""
        while True:
            start = _end(_BETWEEN, self._held, 0)
            first = bytes(self._held[start : start + 1])
            opens, closes = first == b"[" and not self.in_list, first == b"]" and self.in_list
            taken = start + (opens or closes)
            self._before = (self._before + self._held[:taken])[-_LONGEST_LEAD:]
            self._drop(taken)
            if not first:
                return False
            if not (opens or closes):
                break
            self.in_list = opens
        self._first, self._in_string, self._at = first, first == b'"', 1
        if first in (b"{", b"["):
            self._open.open(first[0])
        next_one = self._pattern().search(self._held, 1) if self.offset < self._sure else None
        self._stop = next_one.end() if next_one else None
        return True

    def _finish(self) -> Piece | None:
        """The value in work if it ends in what is held."""
        if self._first not in (b'"', b"{", b"["):
            end = (_SCALAR_END if self._first in _SCALAR else _STRAY_END).search(self._held, self._at)
            self._at = end.start() if end else len(self._held)
            return self._cut(self._at, whole=True) if end else None
        stop = len(self._held) if self._stop is None else self._stop
        while self._in_string or self._open:
            sound = self._leave_string(stop) if self._in_string else self._next_mark(stop)
            if not sound:
                return self._broken() if sound is False or self._stop is not None else None
        if self._first == b'"':  # which stands for itself; one before a colon is what is left of an object
            behind = _BEHIND.search(self._held, self._at)
            if behind is None:
                return None
            if behind[0] == b":":
                return self._broken()
        return self._cut(self._at, whole=True)

    def _next_mark(self, stop: int) -> bool | None:
        """Goes behind the next bracket, or into a string that goes on; None where it is not there yet.

        False where the next object begins before it.
        """
        self._at = _end(_TO_MARK, self._held, self._at, stop)
        if self._at >= stop:
            return None
        mark = self._held[self._at]
        if mark == _OBJECT and (next_one := self._is_next()) is not False:
            return None if next_one is None else False
        self._at += 1
        if mark == _QUOTE:
            self._in_string = True
        elif mark in b"{[":
            self._open.open(mark)
        else:
            self._open.close(mark)
        return True

    def _is_next(self) -> bool | None:
        """Whether the object at `_at` has no key and begins as the others do; None where that is not held yet."""
        before = self._held[max(0, self._at - _TAIL) : self._at]
        if not self._open.in_object() or (not before.strip() or before.rstrip().endswith(b":")):
            return False
        lead, key = self._laid_out()
        if lead is not None:
            return before.endswith((b"\n" + lead, b"\r" + lead))
        if len(self._held) < self._at + len(key):
            return None
        last = before.rstrip(b" \t")[-1:]
        return last in b",}\r\n" and self._held.startswith(key, self._at)

    def _leave_string(self, stop: int) -> bool | None:
        """Goes behind the end of a string; None where that is not there yet, false where a line ends before it."""
        self._at = _end(_IN_STRING, self._held, self._at, stop)
        if self._held[self._at : min(self._at + 1, stop)] == b'"':
            self._at += 1
            self._in_string = False
            return True
        return False if b"\n" in self._held[self._at : self._at + 2] else None

    def _is_overlong(self) -> bool:
        """Whether what fills the memory is no long value but one without end."""
        if self._starts or self._first not in (b'"', b"{", b"[") or self._layout is None:
            return False
        if self._layout.lead is None:
            return self._is_odd()
        return self._pattern().search(self._held) is not None

    def _is_odd(self) -> bool:
        """Whether a quote is missing in the value in work, as far as it is held."""
        return not self._dropped and _ODD_STRING.match(self._held) is not None

    def _broken(self) -> Piece | None:
        """Goes back to where the next value begins, maybe inside of what was taken for this one."""
        if self._starts is None:
            behind_lines = self._laid_out().lead is not None
            alone = self._layout is None and not self.in_list  # or around all others
            if self._held[self._at : self._at + 1] == b"{" and (alone or not behind_lines):
                return self._cut(self._at, whole=False)  # what begins before it may lie deeper
            self._starts = self._pattern()
            self._reach = self.offset + self._at
            goes_back = not alone and (behind_lines or self._is_odd())
            self._at = 0 if goes_back else self._at
        return self._resume()

    def _resume(self) -> Piece | None:
        """The value in work up to where the next one begins, if that is held."""
        assert self._starts is not None
        next_one = self._starts.search(self._held, self._at)
        if next_one is None:
            self._at = max(self._at, len(self._held) - _TAIL)
            return None
        self._rewound += max(0, self._reach - self.offset - next_one.end())
        if self._rewound > 2 * self._reach:
            self._sure = max(self._sure, self._reach)
        return self._cut(next_one.end(), whole=False)

    def _pattern(self) -> re.Pattern[bytes]:
        return starts(self._laid_out())

    def _laid_out(self) -> Layout:
        """As the last whole object was; as this one is where there was none."""
        if self._layout is None and self._own is None:
            self._own = own_layout(self._before, self._held, by_lines=not self._flat)
        layout = self._layout or self._own
        assert layout is not None
        return layout

    def _learn(self, end: int) -> None:
        """Takes the layout of a whole object. Where lines inside it begin as it does, lines say nothing."""
        layout = own_layout(self._before, self._held, by_lines=not self._flat)
        if layout.lead is not None and starts(layout).search(self._held, 1, end):
            self._flat = True
            layout = own_layout(self._before, self._held, by_lines=not self._flat)
        self._layout = layout

    def _cut(self, end: int, *, whole: bool) -> Piece:
        size = self._dropped + end
        if whole and self._first == b"{" and not self._dropped:
            self._learn(end)
        content = None if size > self._limit else bytes(self._held[:end])
        value = Piece(content, self.offset - self._dropped, size, whole)
        self._before = bytes(self._held[max(0, end - _LONGEST_LEAD) : end])
        self._dropped, self._first, self._in_string, self._starts, self._own = 0, b"", False, None, None
        self._open.clear()
        self._drop(end)
        return value

    def _let_go(self) -> None:
        """Drops what is scanned of the value in work."""
        self.skipped += self._in_damage and b"{" in self._held[: self._at]
        self._dropped += self._at
        self._drop(self._at)

    def _drop(self, size: int) -> None:
        del self._held[:size]
        self.offset += size
        self._at = 0


def split_values(blocks: Iterable[Block | Flaw], limit: int) -> Iterator[Piece | Flaw]:
    """Yields the JSON values in `blocks` in order, and flaws for damage and for a list without an end."""
    values = Values(limit)
    damaged = False
    for block in blocks:
        if isinstance(block, Flaw):
            values.lose()
            damaged = True
            yield block
        else:
            yield from values.feed(block.content)
    whole = True
    for value in values.end():
        whole = value.whole
        if whole or not damaged:
            yield value
    if values.skipped:
        detail = f"{values.skipped} bytes behind damage in which no line begins as the first value's does"
        yield Flaw("error", "broken_json", detail, values.offset)
    elif whole and values.in_list and not damaged:
        yield Flaw("error", "broken_json", "the file ends inside a list", values.offset)


def _end(pattern: re.Pattern[bytes], content: bytearray, start: int, stop: int = sys.maxsize) -> int:
    match = pattern.match(content, start, stop)
    assert match is not None, "the pattern matches nothing at all too"
    return match.end()
