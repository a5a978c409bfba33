"""Reads the header fields of archive records, and takes ids, urls and metadata from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import orjson

from siftlm.readers.settings import InputSettings

_FOLD = re.compile(rb"\r?\n[ \t]++")


def header_lines(lines: bytes) -> list[tuple[str, str]]:
    """Returns the fields of a header as (name, value) pairs, with names in lower case.

    `lines` are those behind the header's first line. Only LF and CRLF end a line: a url may hold U+2028, and a value a
    lone CR. A line that begins with a space or a tab goes on with the field before it. What is not UTF-8 is Latin-1, as
    HTTP was.
    """
    fields: list[tuple[str, str]] = []
    for line in _FOLD.sub(b" ", lines).split(b"\n"):
        name, colon, value = _text(line.removesuffix(b"\r")).partition(":")
        if colon:
            fields.append((name.strip(" \t").lower(), value.strip(" \t")))
    return fields


def header_fields(header: bytes) -> dict[str, str]:
    """Returns the fields of an archive record's header by name, the first value of each name."""
    return dict(reversed(header_lines(header.partition(b"\n")[2])))


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def content_length(header: dict[str, str]) -> int | None:
    """Returns how many bytes the block of a record has by its header; None where that does not say."""
    length = header.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None


def is_wat_record(header: dict[str, str]) -> bool:
    """Tells whether a record with this header may be from a WAT file: metadata of a page in JSON."""
    mime = header.get("content-type", "").partition(";")[0].strip().lower()
    return header.get("warc-type", "").lower() == "metadata" and mime == "application/json"


def record_id(header: dict[str, str], settings: InputSettings) -> str | None:
    """Returns the id of an archive record: WARC-Record-ID, or the header that the settings name."""
    return header.get((settings.id_field or "warc-record-id").lower()) or None


def target_url(header: dict[str, str]) -> str | None:
    """Returns the url of an archive record, without the angle brackets that some writers put around it."""
    return header.get("warc-target-uri", "").strip("<>") or None


class PackedHeaders(NamedTuple):
    """Holds the headers kept as metadata and those kept as columns, each as a JSON object or None.

    They are None where the settings name none.
    """

    metadata: str | None
    columns: str | None


def packed(values: dict[str, str | int | None], settings: InputSettings) -> PackedHeaders:
    """Returns the headers that the settings name as JSON, with null where a record has no such header."""

    def pack(names: Iterable[str]) -> str | None:
        chosen = {name: values.get(name.lower()) for name in names}
        return orjson.dumps(chosen).decode() if chosen else None

    return PackedHeaders(pack(settings.metadata_fields), pack(settings.columns))
