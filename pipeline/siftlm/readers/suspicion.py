"""Guesses from the beginning of a file why a source gave nothing."""

from __future__ import annotations

import codecs

from siftlm import filesystem
from siftlm.errors import nearest
from siftlm.readers.detection import HEAD_BYTES, detect
from siftlm.readers.encodings import head_in_utf8, is_utf16
from siftlm.readers.formats import FORMATS
from siftlm.readers.presence import field_names
from siftlm.readers.settings import InputSettings
from siftlm.readers.streams import Block, read_blocks

MISFITS = frozenset({"missing_field", "wrong_type"})
NEAR = 0.5  # how alike a name must be to be the one that was meant, by difflib


def suspicion(path: str, settings: InputSettings, reason: str) -> str:
    """The likely cause of a source without documents, whose most frequent reason is given; empty where nobody knows."""
    try:
        if reason in MISFITS:
            return f"is text_field = {settings.text_field!r} right?{_meant(path, settings)}"
        content, found = _beginning(path, settings)
    except FileNotFoundError:
        return ""
    name = path.rpartition("/")[2]
    if not content:
        return ""
    if settings.format not in ("auto", found) and found != "text":
        return f"{name} looks like {found}, is format = {settings.format!r} right?"
    lines = {name for name, of in FORMATS.items() if of.lines}
    cause = _encoding(content) if lines & {found, settings.format} else ""
    return f"{name} {cause}" if cause else ""


def _meant(path: str, settings: InputSettings) -> str:
    """The field of a file whose name is the nearest to that of the texts."""
    names = sorted(field_names(path, settings) - {settings.text_field})
    near = nearest(settings.text_field, names, NEAR)
    return f" did you mean {near!r}?" if near else ""


def _beginning(path: str, settings: InputSettings) -> tuple[bytes, str]:
    """The beginning of a file, unpacked, and the format that it has by name and content."""
    given = None if settings.compression == "auto" else settings.compression
    with filesystem.open_read(path) as file:
        found = detect(path, file.read(HEAD_BYTES), given)
        file.seek(0)
        first = next(read_blocks(file, found.compression, settings.max_expansion), None)
    return (first.content[:HEAD_BYTES] if isinstance(first, Block) else b""), found.format


def _encoding(content: bytes) -> str:
    if is_utf16(content):
        return "looks like UTF-16 without a byte-order mark; convert it to UTF-8"
    if not _is_utf8(head_in_utf8(content)):
        return "is not UTF-8; convert it, with iconv -f LATIN1 -t UTF-8 for instance where it is Latin-1"
    return ""


def _is_utf8(content: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # which may end inside a character
    except UnicodeDecodeError:
        return False
    return True
