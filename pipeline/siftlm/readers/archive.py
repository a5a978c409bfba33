"""Reads the records of WARC and ARC files in bounded memory, and goes on after a damaged one.

A damaged record costs that record only. The frame of a record is a header that says how long its block is. Where that
is not true, or bytes of the file are damaged, the record is broken, and reading goes on at the next record that can be
found.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from siftlm.readers.headers import content_length, header_fields
from siftlm.readers.records import Flaw
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.slices import WHOLE, Bounds, SliceBound, content_between
from siftlm.readers.streams import DAMAGE, Codec, codec_of, opening, read_blocks
from siftlm.readers.zstd import dictionary_bytes

MAX_HEADER_BYTES = 1 << 16

# What a record begins with; at the end of what there is, a part of it will do.
_WARC_START = re.compile(rb"WARC/\d|(?:W|WA|WAR|WARC|WARC/)\Z")
_WARC_NEXT = re.compile(rb"(?<=\n)WARC/\d\.\d+\r?\n")
# Up to where the next record may begin, or looking at many beginnings would take time quadratic in their number.
_WARC_HEADER = re.compile(rb"WARC/\d[^\n]*+\n(?:(?!WARC/\d\.\d+\r?\n)(?!\r?\n)[^\n]++\n)*+\r?\n")
# url ip date type ... length, of ARC 1.0 and 2.0; http://archive.org/web/researcher/ArcFileFormat.php
_ARC_HEADER = re.compile(  # some urls have spaces
    rb"([a-zA-Z][a-zA-Z0-9+.-]*:[^\n]*?) ([\w.:-]+) (\d{8,14}) ([^\n ]+)(?: [^\n]*)? (\d+)\r?\n"
)
_ARC_FIELDS = ("warc-target-uri", "warc-ip-address", "warc-date", "content-type", "content-length")  # in WARC
_ARC_NEXT = re.compile(rb"(?<=\n)" + _ARC_HEADER.pattern)
_ARC_START = re.compile(rb"[a-zA-Z][a-zA-Z0-9+.-]*(?::|\Z)")
_LINE_ENDS = b"\r\n"
_LONGEST_START = 64
_EXPANSION = 4  # of the records of an archive over its bytes, about
_LOOK_BYTES = 64 << 20  # in which a member is looked for: a record is mostly shorter
_PROBE_BYTES = 256 << 10  # a block of zstd, from which on content can be seen, is at most half as long
_MAGIC_BYTES = 4


@dataclass(frozen=True, slots=True)
class ArchiveRecord:
    """Holds an archive record: its header fields by lower-case name, and the beginning of its block.

    The block is cut after the bytes that the caller wants.
    """

    offset: int
    header: dict[str, str]
    block: bytes
    length: int


@dataclass(frozen=True, slots=True)
class _Dialect:
    header: re.Pattern[bytes]
    start: re.Pattern[bytes]
    following: re.Pattern[bytes]
    end: re.Pattern[bytes]


_NOTHING = re.compile(rb"(?!)")
_WARC = _Dialect(_WARC_HEADER, _WARC_START, _WARC_NEXT, re.compile(rb"\r\n\r\n|\n\n"))
_ARC = _Dialect(_ARC_HEADER, _ARC_START, _ARC_NEXT, _NOTHING)  # one line end proves nothing
_ANY_START, _ANY_NEXT = (
    re.compile(warc.pattern + b"|" + arc.pattern) for warc, arc in ((_WARC_START, _ARC_START), (_WARC_NEXT, _ARC_NEXT))
)
_UNKNOWN = _Dialect(_NOTHING, _ANY_START, _ANY_NEXT, _NOTHING)
"""Of an archive whose beginning is cut or damaged, until a record of either kind is found."""


class _Window:
    """Holds the part of the content that is looked at: `fill` makes it longer, `drop` shorter."""

    def __init__(
        self, file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds = WHOLE
    ) -> None:
        self.buffer = bytearray()
        self.at = 0  # how much content came before the buffer
        self.fault: Flaw | None = None
        self.ended = False
        self._file, self._compression, self._expansion = file, compression, settings.max_expansion
        self._events = content_between(file, compression, settings, bounds)
        self._members: deque[tuple[int, int]] = deque()  # (place in the content, byte of the file)

    def fill(self, size: int) -> bool:
        """Reads until the buffer has `size` bytes, and tells whether it has them."""
        while len(self.buffer) < size and not self.fault and not self.ended:
            event = next(self._events, None)
            if event is None:
                self.ended = True
            elif isinstance(event, Flaw):
                self.fault = event
            else:
                if event.first:
                    self._members.append((self.at + len(self.buffer), event.member))
                self.buffer += event.content
                self.drop(0)
        return len(self.buffer) >= size

    def drop(self, size: int) -> None:
        del self.buffer[:size]
        self.at += size
        while len(self._members) > 1 and self._members[1][0] <= self.at:
            self._members.popleft()

    def offset(self) -> int:
        """Returns where in the file the buffer begins, or the compressed member that holds its first byte."""
        return self._members[0][1] if self._members else self.at

    def begins_member(self) -> bool:
        return bool(self._members) and self._members[0][0] == self.at

    def member_starts(self, end: int) -> list[int]:
        """Returns where in the first `end` bytes of the buffer members begin, but for its very first byte."""
        return [place - self.at for place, _ in self._members if 0 < place - self.at < end]

    def resume(self, offset: int | None = None) -> Flaw:
        """Returns the flaw of the damage, and goes on behind it.

        What is left of the record before the damage is given up.
        """
        assert self.fault is not None, "called where there is damage"
        flaw, self.fault = self.fault, None
        self.drop(len(self.buffer))
        return flaw if offset is None else flaw._replace(offset=offset)

    def rewind(self, to: int) -> bool:
        """Puts the window back to byte `to` of the content; returns False where the file is compressed."""
        if self._compression != "none":
            return False
        self.buffer.clear()
        self.at, self.ended = to, False
        self._events = read_blocks(self._file, "none", self._expansion, to)
        return True


def read_archive(
    file: BinaryIO, compression: Compression, settings: InputSettings, block_bytes: int, bounds: Bounds = WHOLE
) -> Iterator[ArchiveRecord | Flaw]:
    """Yields the records of an archive in order, and a flaw for each that is damaged.

    A record has at most `block_bytes` + 1 bytes of its block.
    """
    window = _Window(file, compression, settings, bounds)
    dialect = None
    while _skip_blank(window):
        if window.buffer:
            dialect = dialect or _dialect(window)
            yield _next_record(window, dialect or _UNKNOWN, block_bytes)
        elif window.fault:
            yield window.resume()


def member_cuts(file: BinaryIO, compression: Compression, settings: InputSettings, size: int) -> list[SliceBound]:
    """Returns cuts at compressed members that begin a WARC record, about `size` bytes of content apart.

    There is none where records are not members of their own, as in an archive that is not compressed.
    """
    if compression not in ("gzip", "zstd"):
        return []
    try:
        start = opening(file)
        codec = codec_of(compression, settings.max_window_bytes, start)
    except ValueError:
        return []
    made: list[SliceBound] = []
    total, apart = file.seek(0, 2), max(1, size // _EXPANSION)
    place = _record_member(file, codec, len(start) if dictionary_bytes(start) else 0, 1)
    while place is not None and place + 1.5 * apart <= total:
        place = _record_member(file, codec, place + apart, _LOOK_BYTES)
        if place is not None:
            made.append(SliceBound(place))
    return made


def _record_member(file: BinaryIO, codec: Codec, start: int, most: int) -> int | None:
    """Where the first member that begins a WARC record is, of those that begin in `most` bytes from `start` on."""
    magic = re.compile(b"|".join(map(re.escape, codec.magics)))
    file.seek(start)
    content = file.read(_PROBE_BYTES)
    for base in range(start, start + most, _PROBE_BYTES):
        more = file.read(_PROBE_BYTES)
        window = content + more
        for match in magic.finditer(window, 0, len(content) + _MAGIC_BYTES - 1):
            here = match.start()
            if base + here < start + most and _begins_warc(codec, window[here : here + _PROBE_BYTES]):
                return base + here
        content = more
    return None


def _begins_warc(codec: Codec, compressed: bytes) -> bool:
    try:
        return codec.open_member().decompress(compressed, 64).startswith(b"WARC/")
    except DAMAGE:
        return False


def _dialect(window: _Window) -> _Dialect | None:
    """What an archive is written in, by the record at the window; None where that is cut or damaged."""
    if _WARC_START.match(window.buffer):
        return _WARC
    window.fill(MAX_HEADER_BYTES)
    return _ARC if _ARC_HEADER.match(window.buffer, 0, MAX_HEADER_BYTES) else None


def _skip_blank(window: _Window) -> bool:
    """Drops the line ends between records; whether there is a record or damage to come."""
    window.drop(_blank_bytes(window, 0))
    return bool(window.buffer) or window.fault is not None


@dataclass(frozen=True, slots=True)
class _Opening:
    """Tells of a record whose header is read: where it is, and whether it begins a compressed member."""

    place: int
    offset: int
    first: bool
    header: dict[str, str]
    header_bytes: int
    length: int

    @property
    def mismatch(self) -> tuple[str, str]:
        return "length_mismatch", f"Content-Length is {self.length}, and no record ends there"


def _next_record(window: _Window, dialect: _Dialect, block_bytes: int) -> ArchiveRecord | Flaw:
    """The record or the broken record at the window, which is then behind it."""
    offset = window.offset()
    header = _header(window, dialect)
    if header is None:
        reason = "truncated_record" if window.ended and dialect.start.match(window.buffer) else "not_a_record"
        return _broken(window, dialect, offset, reason, "no record header", 1)
    size, fields = header
    length = content_length(fields)
    if length is None:
        detail = f"Content-Length is {fields.get('content-length', '')[:40]!r}"
        return _broken(window, dialect, offset, "bad_header", detail, size)
    opening = _Opening(window.at, offset, window.begins_member(), fields, size, length)
    if length > block_bytes:
        return _long_record(window, dialect, opening, block_bytes + 1)
    return _short_record(window, dialect, opening)


def _short_record(window: _Window, dialect: _Dialect, opening: _Opening) -> ArchiveRecord | Flaw:
    """A record that fits into the window whole, so that a wrong length can be looked into."""
    size = opening.header_bytes + opening.length
    complete = window.fill(size)
    if (place := _next_member(window, dialect, size)) is not None:
        window.drop(place)
        return Flaw("error", *opening.mismatch, opening.offset)
    if not complete:
        return _incomplete(window, dialect, opening)
    if not _ends_well(window, dialect, size):
        return _broken(window, dialect, opening.offset, *opening.mismatch, opening.header_bytes)
    block = bytes(window.buffer[opening.header_bytes : size])
    window.drop(size)
    return _finish(window, dialect, opening, block)


def _long_record(window: _Window, dialect: _Dialect, opening: _Opening, wanted: int) -> ArchiveRecord | Flaw:
    """A record of which the beginning is kept and the rest is read over."""
    window.fill(opening.header_bytes + wanted)
    block = bytes(window.buffer[opening.header_bytes : opening.header_bytes + wanted])
    window.drop(opening.header_bytes)
    if _skip(window, dialect, opening.length) and _ends_well(window, dialect, 0):
        return _finish(window, dialect, opening, block)
    if not window.fault and window.rewind(opening.place):
        return _broken(window, dialect, opening.offset, *opening.mismatch, 1)
    return (
        _incomplete(window, dialect, opening) if not window.buffer else Flaw("error", *opening.mismatch, opening.offset)
    )


def _finish(window: _Window, dialect: _Dialect, opening: _Opening, block: bytes) -> ArchiveRecord | Flaw:
    """The record, unless it is all that its compressed member holds and that member is damaged.

    Then its bytes may all be there, but they are not right, as the member's checksum says.
    """
    _skip_blank(window)
    if opening.first and not dialect.start.match(window.buffer):
        window.fill(MAX_HEADER_BYTES)  # what is left of the member is no record; does it end well?
        if window.fault and window.fault.offset == opening.offset:
            return window.resume(opening.offset)
    return ArchiveRecord(opening.offset, opening.header, block, opening.length)


def _incomplete(window: _Window, dialect: _Dialect, opening: _Opening) -> Flaw:
    """A record whose block ends early: by damage, with the content, or because its length is not true."""
    if window.fault:
        return window.resume(opening.offset)
    if following := dialect.following.search(window.buffer, min(opening.header_bytes, len(window.buffer))):
        window.drop(following.start())
        return Flaw("error", *opening.mismatch, opening.offset)
    window.drop(len(window.buffer))
    detail = f"the content ends before its {opening.length} bytes do"
    return Flaw("error", "truncated_record", detail, opening.offset)


def _header(window: _Window, dialect: _Dialect) -> tuple[int, dict[str, str]] | None:
    """The length and the fields of the header at the window; None where there is none."""
    wanted = 1024
    while True:
        more = window.fill(wanted)
        if match := dialect.header.match(window.buffer, 0, MAX_HEADER_BYTES):
            if dialect is not _ARC:
                return match.end(), header_fields(match[0])
            values = (value.decode("utf-8", "replace") for value in match.groups())
            return match.end(), {"warc-type": "arc", **dict(zip(_ARC_FIELDS, values, strict=True))}
        if not more or wanted >= MAX_HEADER_BYTES or not dialect.start.match(window.buffer):
            return None
        wanted *= 4


def record_header(content: bytes, place: int) -> bytes | None:
    """Returns the header of the WARC record at `place`, with its blank line; None where there is none."""
    header = _WARC_HEADER.match(content, place, place + MAX_HEADER_BYTES)
    return header[0] if header else None


def _next_member(window: _Window, dialect: _Dialect, end: int) -> int | None:
    """Where in the first `end` bytes a record begins together with a compressed member; None if nowhere."""
    starts = window.member_starts(min(end, len(window.buffer)))
    return next((place for place in starts if dialect.start.match(window.buffer, place)), None)


def _skip(window: _Window, dialect: _Dialect, size: int) -> bool:
    """Drops `size` bytes; False where the content, or the members that the record is in, end before."""
    while size:
        window.fill(1)
        if not window.buffer or (window.begins_member() and dialect.start.match(window.buffer)):
            return False
        here = min([size, len(window.buffer), *window.member_starts(len(window.buffer))])
        window.drop(here)
        size -= here
    return True


def _ends_well(window: _Window, dialect: _Dialect, end: int) -> bool:
    """Whether what follows byte `end` ends a record: a member's start, a record, damage or nothing."""
    place = end + _blank_bytes(window, end)
    rest = bytes(window.buffer[place : place + _LONGEST_START])
    if not rest or dialect.end.match(window.buffer, end):
        return True
    at_member = place in window.member_starts(place + 1) or (place == 0 and window.begins_member())
    return at_member or dialect.start.match(rest) is not None


def _blank_bytes(window: _Window, start: int) -> int:
    """How many line ends follow byte `start`; what is behind them is filled in, as far as a record's start goes."""
    end = start
    while True:
        window.fill(end + _LONGEST_START)
        here = window.buffer[end : end + _LONGEST_START]
        blank = len(here) - len(here.lstrip(_LINE_ENDS))
        end += blank
        if not here or blank < len(here):
            window.fill(end + _LONGEST_START)
            return end - start


def _broken(window: _Window, dialect: _Dialect, offset: int, reason: str, detail: str, start: int) -> Flaw:
    """A flaw; the window is put to the next record after byte `start` of it, behind damage, or to the end."""
    while True:
        following = dialect.following.search(window.buffer, start)
        place = _next_member(window, dialect, following.start() if following else len(window.buffer))
        if place is None and following:
            place = following.start()
        if place is not None:
            window.drop(place)
            return Flaw("error", reason, detail, offset)
        keep = min(len(window.buffer), MAX_HEADER_BYTES)
        window.drop(len(window.buffer) - keep)
        start = 0
        if not window.fill(keep + 1):
            break
    if window.fault:
        return window.resume(offset)
    window.drop(len(window.buffer))
    return Flaw("error", reason, detail, offset)
