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
            names = sorted(field_names(path, settings) - {settings.text_field})
            near = nearest(settings.text_field, names, NEAR)
            meant = f" did you mean {near!r}?" if near else ""
            return f"is text_field = {settings.text_field!r} right?{meant}"
        content, kind = _beginning(path, settings)
    except FileNotFoundError:
        return ""
    name = path.rpartition("/")[2]
    if not content:
        return ""
    if settings.format not in ("auto", kind) and kind != "text":
        return f"{name} looks like {kind}, is format = {settings.format!r} right?"
    lines = {name for name, of in FORMATS.items() if of.lines}
    cause = _encoding(content) if lines & {kind, settings.format} else ""
    return f"{name} {cause}" if cause else ""


def _beginning(path: str, settings: InputSettings) -> tuple[bytes, str]:
    """The beginning of a file, unpacked, and the format that it has by name and content."""
    given = None if settings.compression == "auto" else settings.compression
    with filesystem.open_read(path) as file:
        kind = detect(path, file.read(HEAD_BYTES), given)
        file.seek(0)
        first = next(read_blocks(file, kind.compression, settings.max_expansion), None)
    return (first.content[:HEAD_BYTES] if isinstance(first, Block) else b""), kind.format


def _encoding(content: bytes) -> str:
    if is_utf16(content):
        return "looks like UTF-16 without a byte-order mark; convert it to UTF-8"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head_in_utf8(content))  # which may end inside a character
    except UnicodeDecodeError:
        return "is not UTF-8; convert it, with iconv -f LATIN1 -t UTF-8 for instance where it is Latin-1"
    return ""
