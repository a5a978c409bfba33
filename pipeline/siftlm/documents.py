"""What a document is: its columns, its id and its domain."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import tldextract
import xxhash

RECORD_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),  # index of the record in its input shard
        pa.field("record_id", pa.string()),  # the id that the record brought along, if any
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("domain", pa.string()),  # only where the configuration names a domain field
        pa.field("metadata", pa.string()),  # a JSON object with the configured metadata fields
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

# The suffix list that the package ships; no download, no cache directory.
_registered = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


def document_id(record_id: str | None, url: str | None, text: str) -> str:
    """The id of a document: the record's own where it has one, else a digest of its url and text.

    A digest of content is the same on every machine, in every order and after any resharding. Two records with the
    same url and text get the same id; they are the same document.
    """
    if record_id:
        return record_id
    digest = xxhash.xxh3_128()
    digest.update((url or "").encode("utf-8", "surrogatepass"))
    digest.update(b"\0")
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


@lru_cache(maxsize=1 << 16)
def _domain_of_host(host: str) -> str | None:
    parts = _registered(host)
    if parts.domain and parts.suffix:
        return f"{parts.domain}.{parts.suffix}".lower()
    return host.lower() or None


def registered_domain(url: str | None) -> str | None:
    """The registered domain of a url (`https://a.bbc.co.uk/x` -> `bbc.co.uk`), by the public suffix list.

    A host without a public suffix (an IP address, `localhost`) is its own domain; no url or no host gives None.
    """
    if not url:
        return None
    rest = url.split("://", 1)[-1]
    for end in "/?#":
        rest = rest.split(end, 1)[0]
    host = rest.rsplit("@", 1)[-1].strip("[]") if "[" in rest else rest.rsplit("@", 1)[-1].split(":", 1)[0]
    return _domain_of_host(host.strip().rstrip(".")) if host.strip() else None
