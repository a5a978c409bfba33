"""Detects the format and compression of a file by its content, or else by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal, cast

from siftlm.readers.archive import record_header
from siftlm.readers.encodings import head_as_text, head_in_utf8
from siftlm.readers.formats import FORMATS
from siftlm.readers.headers import content_length, header_fields, is_wat_record
from siftlm.readers.settings import Compression, Format, InputSettings
from siftlm.readers.streams import DAMAGE, codec_of, compression_of
from siftlm.readers.zstd import MAX_DICTIONARY_BYTES, MAX_WINDOW_BYTES, dictionary_bytes

FormatName = Format | Literal["wat"]
"""The format of a file; `wat` is known only to be refused."""

HEAD_BYTES = 1 << 16
"""How much of the beginning of a file `detect` wants to see, behind the dictionary that it may begin with."""

_PACKED = re.compile(r"\.(gz|gzip|zst|zstd|bz2|xz)$")
_BY_ENDING: dict[str, Compression] = {"gz": "gzip", "zst": "zstd", "bz2": "bzip2", "xz": "xz"}
_WARC = re.compile(rb"[\r\n]*WARC/\d+\.\d")
_ARC = re.compile(rb"filedesc:[^\n ]* [\w.:-]+ \d{8,14} ")
_OBJECT = re.compile(rb"\s*[{\[]\s*[\"{}]")


@dataclass(frozen=True, slots=True)
class Detected:
    """Holds the format and the compression of a file."""

    format: FormatName
    compression: Compression


def detected(path: str, file: BinaryIO, settings: InputSettings) -> Detected:
    """Returns the format and compression of an open file, detected where the settings leave them open.

    The position in the file is at the beginning afterwards.
    """
    head = file.read(HEAD_BYTES)
    head += file.read(min(dictionary_bytes(head), MAX_DICTIONARY_BYTES))
    file.seek(0)
    kind = detect(path, head, None if settings.compression == "auto" else settings.compression)
    return kind if settings.format == "auto" else replace(kind, format=settings.format)


def detect(name: str, head: bytes, compression: Compression | None = None) -> Detected:
    """Returns the format and compression of a file that is called `name` and begins with `head`.

    What the bytes say goes before what the name says; a file without a telling beginning or name is text. Which
    kind an archive is, the headers of its records say, never what is in their blocks.
    """
    packed = compression or _compression(name, head)
    content = _unpack(head, packed)
    named = format_of_name(name)
    return Detected(_format_of_content(content, named) or named or "text", packed)


def _compression(name: str, head: bytes) -> Compression:
    """By content; by name where the content is neither compressed nor text: then its beginning is damaged."""
    by_content, named = compression_of(head), _PACKED.search(name.lower())
    if by_content == "none" and named and head and not _is_text(head):
        return _BY_ENDING.get(named[1], cast(Compression, named[1]))
    return by_content


def _is_text(head: bytes) -> bool:
    text = head_as_text(head)
    return head.startswith(b"PAR1") if text is None else "\0" not in text and "\x1f" not in text


def _unpack(head: bytes, compression: Compression) -> bytes:
    """The beginning of the content, as far as `head` gives it."""
    if compression == "none":
        return head
    content = bytearray()
    try:
        codec = codec_of(compression, MAX_WINDOW_BYTES, head[: dictionary_bytes(head)])
        while head and len(content) < HEAD_BYTES:
            member = codec.open_member()
            content += member.decompress(head, HEAD_BYTES)
            head = member.unused_data if member.eof else b""
    except DAMAGE:
        pass  # what was read until then has to do
    return bytes(content)


def format_of_name(name: str) -> FormatName | None:
    """Returns the format that the ending of a file's name tells of, or None.

    The ending of a compression behind it, such as .gz, is ignored.
    """
    bare = without_packing(name)
    return next((name for name, of in FORMATS.items() if re.search(of.endings, bare)), None)


def without_packing(name: str) -> str:
    """Returns a file's name in lower case, without the ending of a compression such as .gz."""
    return _PACKED.sub("", name.lower())


def _format_of_content(content: bytes, named: FormatName | None) -> FormatName | None:
    if content.startswith(b"PAR1"):
        return "parquet"
    if _WARC.match(content):
        return _kind_of_archive(content.lstrip(b"\r\n"), named)
    if _ARC.match(content):
        return "warc"
    return "jsonl" if named is None and _OBJECT.match(head_in_utf8(content)) else None


def _kind_of_archive(content: bytes, named: FormatName | None) -> FormatName:
    """By the first record that is neither about the file nor about a page; by its name where there is none."""
    described = False
    for header in _headers(content):
        kind = header.get("warc-type", "").lower()
        if kind == "conversion":
            return "wet"
        if is_wat_record(header):
            described = True
        elif kind != "warcinfo":
            return "warc"
    if named in ("wet", "wat"):
        return named
    return "wat" if described else "warc"


def _headers(content: bytes) -> Iterator[dict[str, str]]:
    """The headers of the records that begin in `content`, as far as each ends where the next one begins."""
    place = 0
    while header := record_header(content, place):
        fields = header_fields(header)
        yield fields
        if (length := content_length(fields)) is None:
            return
        place += len(header) + length
        place = len(content) - len(content[place:].lstrip(b"\r\n"))
