"""Detects the MIME type of a body by its header and first bytes, by WHATWG's MIME Sniffing standard."""

from __future__ import annotations

import codecs
import re

HTML = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
TEXT = frozenset({"text/plain", "text/markdown", "text/x-markdown"})
XML = frozenset({"text/xml", "application/xml"})

HEAD_BYTES = 1445  # how much browsers look at (MIME Sniffing, 5.2)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ESSENCE = re.compile(rf"[ \t\r\n]*({_TOKEN}/{_TOKEN})[ \t\r\n]*(?:;|$)")
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?\s*([^\"';,\s]+)", re.IGNORECASE)
_SAYS_NOTHING = frozenset({"unknown/unknown", "application/unknown", "*/*"})

# The standard's first table (7.1), and the other elements that pages without one of these begin with: for a browser
# those are text, but no reader wants their tags. Browsers want a space or > behind a name; a line end and a slash are
# as good.
_MARKUP = re.compile(
    rb"[\t\n\f\r ]*+<(?:!--|(?:!doctype\s++html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p"
    rb"|article|aside|base|blockquote|center|em|footer|form|frameset|h[2-6]|header|hr|i|img|li|link|main|meta|nav|noscript"
    rb"|ol|pre|section|span|strong|u|ul)[\t\n\f\r />])",
    re.IGNORECASE,
)
_XML_START = re.compile(rb"[\t\n\f\r ]*+<\?xml", re.IGNORECASE)
_XHTML = re.compile(
    rb"(?:\s|<\?.*?\?>|<!--.*?-->)*+<(?:!doctype\s++html|(?:[\w.-]++:)?html)[\s/>]", re.IGNORECASE | re.DOTALL
)
_XHTML_BYTES = 4096

# The standard's tables of images, sound, films, fonts and archives (6.1 to 6.4), and what else is common on the web.
_MAGIC = tuple(
    (re.compile(pattern, re.DOTALL), mime)
    for pattern, mime in (
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"RIFF....WEBPVP", "image/webp"),
        (rb"\0\0[\x01\x02]\0", "image/x-icon"),
        (rb"BM", "image/bmp"),
        (rb"II\*\0|MM\0\*", "image/tiff"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1a\x45\xdf\xa3", "video/webm"),
        (rb"OggS\0", "application/ogg"),
        (rb"RIFF....AVI ", "video/avi"),
        (rb"RIFF....WAVE", "audio/wave"),
        (rb"FORM....AIFF", "audio/aiff"),
        (rb"ID3", "audio/mpeg"),
        (rb"MThd\0\0\0\x06", "audio/midi"),
        (rb"wOF[F2]|OTTO|ttcf|\0\x01\0\0", "font/collection"),
        (rb"\x1f\x8b\x08", "application/gzip"),
        (rb"\x28\xb5\x2f\xfd", "application/zstd"),
        (rb"BZh[1-9]", "application/x-bzip2"),
        (rb"\xfd7zXZ\0", "application/x-xz"),
        (rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
        (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", "application/zip"),
        (rb"Rar!\x1a\x07", "application/x-rar-compressed"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
        (rb"[CFZ]WS", "application/x-shockwave-flash"),
        (rb"\x7fELF", "application/x-executable"),
        (rb"\0asm", "application/wasm"),
    )
)
_PRINTABLE = re.compile(rb"\s*+(%PDF-|%!PS-Adobe-)")
_PRINTABLE_MIME = {b"%PDF-": "application/pdf", b"%!PS-Adobe-": "application/postscript"}

# The standard's binary data bytes (3), but for those that ISO 2022 shifts with.
_BINARY = bytes(set(range(0x20)) - set(b"\t\n\f\r\x0e\x0f\x1b"))
_BINARY_SHARE = 50  # real pages hold none or a few, a compressed body holds 1 in 10
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE, b"<\0", b"\0<", b"\0\0\0<")


def essence(content_type: str | None) -> str | None:
    """Returns the type and subtype of a Content-Type header in lower case, or None.

    It is None where the header is not valid or says nothing.
    """
    match = _ESSENCE.match(content_type or "")
    mime = match[1].lower() if match else None
    return None if mime in _SAYS_NOTHING else mime


def charset_parameter(content_type: str | None) -> str | None:
    """Returns the charset that a Content-Type header names, or None."""
    match = _CHARSET.search(content_type or "")
    return match[1] if match else None


def sniffed(body: bytes) -> str:
    """Returns the MIME type of a body whose header gives none (MIME Sniffing, 7.1).

    A byte order mark at its beginning is passed over.
    """
    head = _narrow(body)
    if _MARKUP.match(head):
        return "text/html"
    if _XML_START.match(head):
        return "application/xhtml+xml" if is_xhtml(body) else "text/xml"
    if mime := magic(body):
        return mime
    return "application/octet-stream" if is_binary(body) else "text/plain"


def is_xhtml(body: bytes) -> bool:
    """Tells whether an XML document is an XHTML page, by its first element."""
    return _XHTML.match(_narrow(body)) is not None


def magic(body: bytes) -> str | None:
    """Returns the MIME type of a body that begins like a file other than text, or None.

    Unless it is PDF or PostScript, it must have binary bytes, too.
    """
    head = body[:HEAD_BYTES]
    if printable := _PRINTABLE.match(head):
        return _PRINTABLE_MIME[printable[1]]
    if head.startswith(_WIDE) or head.translate(None, _BINARY) == head:
        return None
    return next((mime for pattern, mime in _MAGIC if pattern.match(head)), None)


def is_binary(body: bytes) -> bool:
    """Tells whether a body is binary: too many of its first bytes occur in no text."""
    head = body[:HEAD_BYTES]
    if head.startswith(_WIDE):
        return False
    return len(head) - len(head.translate(None, _BINARY)) > max(1, len(head) // _BINARY_SHARE)


def _narrow(body: bytes) -> bytes:
    """The beginning of a body as if it were ASCII, for looking at its markup."""
    head = body[:_XHTML_BYTES]
    if head.startswith(_WIDE):
        return head.replace(b"\0", b"").removeprefix(codecs.BOM_UTF16_LE).removeprefix(codecs.BOM_UTF16_BE)
    return head.removeprefix(codecs.BOM_UTF8)
