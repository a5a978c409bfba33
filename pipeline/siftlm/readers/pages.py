"""From the block of an HTTP response to text: bodies, charsets, pages."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, WarcReader, ZstdReader
from fastwarc.warc import WarcRecord
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

MAX_PAGE_DEPTH = 1500
"""Extraction takes time quadratic in the depth of nesting: 30 ns x depth^2. Chrome stops at 512 (blink:
kMaximumHTMLParserDOMTreeDepth), and no real page has been seen beyond that."""

MAX_ATTRIBUTES = 1000
"""Parsing takes time quadratic in the attributes of one tag: 120,000 of them take three minutes."""

_PLAIN_TAGS = 3000
_PLAIN_BYTES = 200_000
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
# Formatting elements nest without cost, and old pages leave them open by the thousand.
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
_CELLS = frozenset(["td", "th", "p", "span"])
# What a start tag closes, where end tags are left out (HTML standard, 13.1.2.4, as far as depth is concerned).
_CLOSES = {
    "p": frozenset(["p", "span"]),
    "li": frozenset(["li", "p", "span"]),
    "dt": frozenset(["dt", "dd", "p", "span"]),
    "dd": frozenset(["dt", "dd", "p", "span"]),
    "option": frozenset(["option"]),
    "td": _CELLS,
    "th": _CELLS,
    "tr": _CELLS | {"tr"},
    "tbody": _CELLS | {"tr", "tbody", "thead"},
}
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:-]*)")
_ATTRIBUTE = r"""[\s/]++[^\s=>/]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]++))?+"""
_MANY_ATTRIBUTES = re.compile(rf"<[a-zA-Z][^\s/>]*+(?:{_ATTRIBUTE}){{{MAX_ATTRIBUTES},}}")

_UNFIT = frozenset({"utf-7", "idna", "punycode", "undefined"})  # codecs of Python's that no page is in
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_META = re.compile(rb"<meta[^>]{0,256}?charset\s*=\s*[\"']?\s*([\w:.-]{2,40})", re.IGNORECASE)
_META_BYTES = 4096  # browsers look at the first 1024; pages that put scripts first mean it all the same
_GZIP_MAGIC = b"\x1f\x8b"
_DECODERS: dict[str, Callable[[WarcReader], WarcReader]] = {
    "chunked": ChunkedReader,
    "gzip": GzipReader,
    "x-gzip": GzipReader,
    "deflate": partial(GzipReader, zlib=True),
    "br": BrotliReader,
    "zstd": ZstdReader,
}
"""Transfer and content codings (RFC 9110, 8.4.1). FastWARC would undo them too, but whole, and a bomb has no end."""
_MAX_CODINGS = 5  # as curl has it; each has its buffer, and thousands overflow the stack


class PageError(Exception):
    """A response that gives no text: the reason and the detail of its flaw."""


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response with its body decoded as its headers say."""

    status: int | None
    content_type: str | None
    charset: str | None
    headers: dict[str, str]
    body: bytes


def parse_response(block: bytes, limit: int) -> Response:
    """The response in the block of a record, with at most `limit` + 1 bytes of its decoded body.

    Crawlers often keep the headers of an encoding that they have undone. So a body that does not decode is
    taken as it is, unless it is compressed beyond doubt.

    Raises:
        PageError: it is not HTTP, or its body cannot be decoded.
    """
    record = _record(block)
    fields = [(name.lower(), value) for name, value in record.http_headers.to_tuples()]
    codings = [
        coding
        for wanted in ("content-encoding", "transfer-encoding")  # in the order that they were applied
        for name, value in fields
        if name == wanted
        for coding in value.lower().replace(" ", "").split(",")
        if coding not in ("", "identity")
    ]
    try:
        body = _decoded(record.reader, codings, limit)
    except OSError as error:
        body = _record(block).reader.read(limit + 1)
        if body.startswith(_GZIP_MAGIC) or _is_binary(body):
            raise PageError("bad_content_encoding", str(error)) from error
    headers = dict(fields)
    return Response(
        record.http_headers.status_code, _mime(headers.get("content-type")), record.http_charset, headers, body
    )


def _record(block: bytes) -> WarcRecord:
    """The record of a response, with its reader where the body begins."""
    head = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Type: application/http; msgtype=response\r\n"
    record = WarcRecord.from_bytes(head + b"Content-Length: %d\r\n\r\n" % len(block) + block)
    try:
        if not record.is_http:
            raise OSError("not an HTTP response")
        record.parse_http(auto_decode="none")
    except OSError as error:
        raise PageError("bad_http", str(error)) from error
    if record.http_headers.status_code is None:
        raise PageError("bad_http", "no HTTP status line")
    return record


def _decoded(reader: WarcReader, codings: list[str], limit: int) -> bytes:
    """At most `limit` + 1 bytes of what the codings, the last one last, were applied to."""
    if len(codings) > _MAX_CODINGS:
        raise OSError(f"{len(codings)} codings, more than {_MAX_CODINGS}")
    for coding in reversed(codings):
        if coding not in _DECODERS:
            raise OSError(f"unknown coding {coding!r}")
        reader = _DECODERS[coding](reader)
    return reader.read(limit + 1)


def _mime(content_type: str | None) -> str | None:
    mime = (content_type or "").split(";", 1)[0].strip().lower()
    return mime or None


def _is_binary(body: bytes) -> bool:
    return b"\0" in body[:1024]


def decode_page(body: bytes, declared: str | None) -> tuple[str, str]:
    """The text of a page, and the charset that it was read in.

    In this order: a byte order mark; UTF-8 where the bytes are valid UTF-8 (text in another charset is so
    only by an accident that does not happen); the charset of the HTTP header; the one of the page's meta tag;
    a guess from the bytes. Bytes that have no meaning in the charset become U+FFFD.
    """
    for mark, charset in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(charset, "replace"), charset
    if b"\x1b$" not in body and b"\x1b(" not in body:  # ISO-2022 is 7-bit, and would pass
        try:
            return body.decode(), "utf-8"
        except UnicodeDecodeError:
            pass
    charset = _known(declared) or _known(_meta_charset(body)) or _guess(body)
    if charset == "utf-8" and body.decode("utf-8", "ignore").isascii():
        charset = _guess(body)  # says UTF-8, and not one of its characters is
    return body.decode(charset, "replace"), charset


def _meta_charset(body: bytes) -> str | None:
    found = _META.search(body[:_META_BYTES])
    return found[1].decode("ascii", "replace") if found else None


def _guess(body: bytes) -> str:
    return _known(detect_encoding(body, html5_compatible=False)) or "utf-8"


def _known(charset: str | None) -> str | None:
    """Python's name of a charset, by the labels of the WHATWG Encoding standard; None where it is unknown."""
    if not charset:
        return None
    name = map_encoding_to_html5(charset.strip().lower(), fallback_utf8=False) or charset
    try:
        known = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    return known.name if known._is_text_encoding and known.name not in _UNFIT else None


def page_text(html: str, *, main_content: bool) -> str:
    """The text that a reader of the page sees, without scripts, forms and hidden parts.

    Raises:
        PageError: the page is built to take forever, or cannot be parsed.
    """
    if hazard := _hazard(html):
        raise PageError("page_too_complex", hazard)
    try:
        # The extractor holds the interpreter's lock, so threads do not help here; processes do.
        return extract_plain_text(html, main_content=main_content, alt_texts=False)
    except (ValueError, RuntimeError) as error:
        raise PageError("bad_html", str(error)) from error


def _hazard(html: str) -> str | None:
    if html.count("<") - html.count("</") > _PLAIN_TAGS and (depth := _depth(html)) > MAX_PAGE_DEPTH:
        return f"elements are nested {depth} deep, more than {MAX_PAGE_DEPTH}"
    if len(html) > _PLAIN_BYTES and _MANY_ATTRIBUTES.search(html):
        return f"a tag with more than {MAX_ATTRIBUTES} attributes"
    return None


def _depth(html: str) -> int:
    """How deep elements nest, roughly; counted up to somewhat above the limit."""
    stack: list[str] = []
    deepest = 0
    for tag in _TAG.finditer(html):
        name = tag[2].lower()
        if name in _VOID or name in _FORMATTING:
            continue
        if tag[1]:
            _close(stack, name)
        else:
            while stack and stack[-1] in _CLOSES.get(name, ()):
                stack.pop()
            stack.append(name)
            deepest = max(deepest, len(stack))
            if deepest > 2 * MAX_PAGE_DEPTH:
                break
    return deepest


def _close(stack: list[str], name: str) -> None:
    """Closes the innermost element of that name and what is in it; a stray end tag closes nothing."""
    for place in range(len(stack) - 1, -1, -1):
        if stack[place] == name:
            del stack[place:]
            return
