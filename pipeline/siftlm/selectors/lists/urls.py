"""Defines the list `urls`, of pages, whatever scheme or spelling leads to them."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any, ClassVar, Literal
from urllib.parse import quote

import pyarrow as pa

from siftlm.documents import host
from siftlm.selectors.lists.domains import ascii_host
from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import KeyedListSettings
from siftlm.statistics.ordered import BoolArray

_AUTHORITY = re.compile(r"(?:(?:[a-z][a-z0-9+.-]*:)?//)?([^/?#\\]*)", re.IGNORECASE)
_PORT = re.compile(r":([0-9]+)$")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_DEFAULT_PORTS = ("80", "443")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
_ASCII = "".join(map(chr, range(33, 127)))


class UrlsList(KeyedListSettings):
    """Has urls of the same page as one of its urls.

    Of a url the host counts in lower case and without `www.` before it, a port that is neither 80 nor 443, the path
    without slashes at its end, and the query; the scheme, a user and the fragment do not. Escapes (`%7e`) are compared
    as RFC 3986 (6.2.2) has it.
    """

    kind: Literal["urls"] = "urls"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"entries": ["https://example.com/a"]}
    told: ClassVar[str] = "urls"

    def keys_of_lines(self, block: Lines) -> pa.Array:
        """Returns the normal forms of the urls, one a line."""
        keys = [normal_url(line) for line in block.texts.to_pylist()]
        if None in keys:
            raise block.mistake(keys.index(None), "must be a url with a host a line")
        return pa.array(keys, pa.large_string())

    def holds(self, values: pa.Array, keys: HashedSet) -> BoolArray:
        return keys.holds(pa.array([normal_url(value) or "" for value in values.to_pylist()], pa.large_string()))


def normal_url(url: str) -> str | None:
    """Returns host, port, path and query of a url in one spelling; None where it has no host."""
    name = host(url)
    if name is None:
        return None
    url = url.strip()
    authority = _AUTHORITY.match(url)
    assert authority is not None, "the pattern matches nothing, too"
    port = _PORT.search(authority[1])
    place = ascii_host(name).removeprefix("www.") + (f":{port[1]}" if port and port[1] not in _DEFAULT_PORTS else "")
    path, mark, query = url[authority.end() :].partition("#")[0].partition("?")
    return place + _escaped(path.rstrip("/") + mark + query)


def _escaped(text: str) -> str:
    """Text of a url with the escapes that it needs, in upper case, and no others."""
    if "%" in text:
        text = _ESCAPE.sub(_one_escape, text)
    return text if text.isascii() and " " not in text else quote(text, safe=_ASCII)


def _one_escape(escape: re.Match[str]) -> str:
    letter = chr(int(escape[1], 16))
    return letter if letter in _UNRESERVED else escape[0].upper()
