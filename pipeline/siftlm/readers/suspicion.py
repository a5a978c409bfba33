"""Why a source may have given nothing, by a look at the beginning of a file: a guess, worded as one."""

from __future__ import annotations

import codecs

from siftlm import filesystem
from siftlm.readers.detection import HEAD_BYTES, detect
from siftlm.readers.settings import InputSettings
from siftlm.readers.streams import Block, read_blocks

BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}  # those of UTF-32 first, for one begins as that of UTF-16 does
OTHER_ENCODING = 0.2  # share of NUL bytes in one half of the positions from which on text looks like UTF-16
LINES = frozenset({"jsonl", "text"})
MISFITS = frozenset({"missing_field", "wrong_type"})


def suspicion(path: str, settings: InputSettings, reason: str) -> str:
    """The likely cause of a source without documents, whose most frequent reason is given; empty where nobody knows."""
    if reason in MISFITS:
        return f"is text_field = {settings.text_field!r} right?"
    try:
        content, found = _beginning(path, settings)
    except FileNotFoundError:
        return ""
    name = path.rpartition("/")[2]
    if not content:
        return ""
    if settings.format not in ("auto", found) and found != "text":
        return f"{name} looks like {found}, is format = {settings.format!r} right?"
    cause = _encoding(content) if found in LINES or settings.format in LINES else ""
    return f"{name} {cause}" if cause else ""


def _beginning(path: str, settings: InputSettings) -> tuple[bytes, str]:
    """The beginning of a file, unpacked, and the format that it has by name and content."""
    given = None if settings.compression == "auto" else settings.compression
    with filesystem.open_read(path) as file:
        found = detect(path, file.read(HEAD_BYTES), given)
        file.seek(0)
        first = next(read_blocks(file, found.compression, settings.max_expansion), None)
    return (first.content[:HEAD_BYTES] if isinstance(first, Block) else b""), found.format


def _encoding(content: bytes) -> str:
    for mark, name in BOMS.items():
        if content.startswith(mark):
            return f"begins with the byte-order mark of {name}; convert it to UTF-8"
    if max(content[0::2].count(0), content[1::2].count(0)) > OTHER_ENCODING * len(content):
        return "looks like UTF-16 without a byte-order mark; convert it to UTF-8"
    if not _is_utf8(content):
        return "is not UTF-8; convert it, with iconv -f LATIN1 -t UTF-8 for instance where it is Latin-1"
    if b"\r" in content and b"\n" not in content:
        return "ends its lines with CR alone; convert them to LF"
    return ""


def _is_utf8(content: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content)  # which may end inside a character
    except UnicodeDecodeError:
        return False
    return True
