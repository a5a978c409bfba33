"""Defines the columns of a document, its id and its domain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Literal

import pyarrow as pa
import xxhash

RECORD_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),  # index of the record in its input shard
        pa.field("record_id", pa.string()),  # the id that the record brought along, if any
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("domain", pa.string()),  # only where the configuration names a domain field
        pa.field("metadata", pa.string()),  # a JSON object with the configured metadata fields
        pa.field("columns", pa.string()),  # one with the fields that become columns of their own
    ]
)
"""What a reader yields. One schema for every format, so that a field more in one shard changes nothing."""

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("domain", pa.string()),
        pa.field("source", pa.string(), nullable=False),  # the name of the input it came from
        pa.field("metadata", pa.string()),
        pa.field("byte_count", pa.int64(), nullable=False),  # UTF-8 bytes of `text`
        pa.field("position", pa.int64(), nullable=False),
    ]
)
"""A row of `documents/`."""

ColumnType = Literal["string", "int", "float", "bool", "timestamp"]
COLUMN_TYPES: Mapping[ColumnType, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us"),  # in UTC
}
"""The types of columns that a configuration names, as they are stored."""

_MAX_HOST = 253  # RFC 1035, 2.3.4
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:(?![0-9]*(?:[/?#]|$))", re.IGNORECASE)  # and not `host:port`
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#\\]*)", re.IGNORECASE)
_PORT = re.compile(r":[0-9]*$")


def document_id(record_id: str | None, url: str | None, text: str | memoryview) -> str:
    """Returns the record's own id where it has one, else a digest of its url and text.

    A digest of content is the same on every machine, in every order and after any resharding. Two records
    with the same url and text get the same id; they are the same document.
    """
    if record_id:
        return record_id
    digest = xxhash.xxh3_128()
    digest.update((url or "").encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return digest.hexdigest()


def registered_domain(url: str | None) -> str | None:
    """Returns the registered domain of a url (`https://a.bbc.co.uk/x` -> `bbc.co.uk`), by the public suffix list.

    A host without a public suffix (an IP address, `localhost`) is its own domain. No url, or one without a
    host (`mailto:`, `javascript:`, a path), gives None. Suffixes under which companies let others register,
    such as `github.io`, count as domains.
    """
    name = host(url)
    return _domain_of_host(name) if name else None


def host(url: str | None) -> str | None:
    """Returns the host of a url in lower case, None where it has none.

    The url may lack its scheme (`a.com/x`).
    """
    if not url:
        return None
    url = url.strip()
    if authority := _AUTHORITY.match(url):
        place = authority[1]
    elif _SCHEME.match(url) or url.startswith("/"):
        return None
    else:
        place = re.split(r"[/?#\\]", url, maxsplit=1)[0]
    place = place.rpartition("@")[2]
    if place.startswith("["):
        return place[1:].partition("]")[0].lower() or None
    name = _PORT.sub("", place).strip().strip(".").lower()
    return name if 0 < len(name) <= _MAX_HOST else None


@lru_cache(maxsize=1 << 16)
def _domain_of_host(host: str) -> str:
    parts = _suffix_list()(host)
    return f"{parts.domain}.{parts.suffix}" if parts.domain and parts.suffix else host


@cache
def _suffix_list() -> Any:
    """The suffix list that the package ships; no download, no cache directory."""
    import tldextract  # a third of a second, which a configuration need not wait for

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
