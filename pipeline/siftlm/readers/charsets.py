"""Decodes bytes of a page to text by the decoders of the WHATWG Encoding standard.

Charsets on the web are wider than Python's codecs of the same names: Shift_JIS has NEC's and IBM's characters, EUC-KR
is Microsoft's 949, gb2312 is gb18030, Big5 has the Hong Kong supplement, and ISO-8859-1 is windows-1252. In a damaged
sequence they give up as little as can be, so that a lost byte does not cost the tag behind it. `endec` is a binding of
encoding_rs, the decoders of Firefox.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress

import endec
from resiliparse.parse.encoding import detect_encoding

from siftlm.readers.charset_labels import CHARSETS

_BOMS = (  # those of UTF-32, which browsers do not know, come first: one begins as that of UTF-16 does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)
_WIDE_STARTS = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16le"), (b"\0<", "utf-16be"))
_META = re.compile(rb"<meta[^>]{0,256}?charset\s*=\s*[\"']?\s*([\w:.-]{2,40})", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml[^>]{0,256}?encoding\s*=\s*[\"']\s*([\w:.-]{2,40})", re.IGNORECASE)
_META_BYTES = 4096  # browsers look at the first 1024; pages that put scripts first mean it all the same

# Codecs of Python's that no page is in; escapes give halves of characters.
_UNFIT = frozenset({"utf-7", "idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
# Browsers decode none of these ("replacement" in the standard), as scripts can hide in them; a text can be read.
_SEVEN_BIT = {"iso-2022-kr": "iso2022_kr", "csiso2022kr": "iso2022_kr", "hz-gb-2312": "hz"}
# What Python and the detector call charsets that the standard has under other labels.
_SAME = {"cp932": "shift_jis", "cp949": "euc-kr", "cp950": "big5", "big5hkscs": "big5", "mac-roman": "macintosh"}
_SAME |= {"euc_jp": "euc-jp", "euc_kr": "euc-kr", "iso2022_jp": "iso-2022-jp"}
_SAME |= {"utf-16-le": "utf-16le", "utf-16-be": "utf-16be", "iso8859-16": "iso-8859-16"}
_ISO_2022 = (b"\x1b$", b"\x1b(")  # it is 7-bit, and would pass as UTF-8
_STANDARD = frozenset(CHARSETS.values())


def decode_page(body: bytes, declared: str | None) -> tuple[str, str]:
    """Returns the text of a page, and the charset that it was read in.

    In this order: a byte order mark; the bytes of a first tag in UTF-16 or UTF-32; UTF-8 where the bytes are valid
    UTF-8 (text in another charset is so only by an accident that does not happen); the charset of the HTTP header; the
    one of the page's meta tag or XML declaration; a guess from the bytes. Bytes that have no meaning in the charset
    become U+FFFD.
    """
    for mark, charset in _BOMS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], charset), charset
    wide = next((charset for start, charset in _WIDE_STARTS if body.startswith(start)), None)
    said = wide or known_charset(declared) or _written(body)
    if not _may_pass_as_utf8(said, body):
        with suppress(UnicodeDecodeError):
            return body.decode(), "utf-8"
    charset = said or _guess(body)
    if charset == "utf-8" and body.decode("utf-8", "ignore").isascii():
        charset = _guess(body)  # says UTF-8, and not one of its characters is
    return _decoded(body, charset), charset


def known_charset(label: str | None) -> str | None:
    """Returns the charset that a label names: the standard's where it has one, else Python's; None where it is unknown.

    Nor is a charset known whose decoder in browsers gives one U+FFFD for everything, and that Python has not.
    """
    name = (label or "").strip(" \t\n\f\r\"'").lower()
    if name in _SEVEN_BIT:
        return _SEVEN_BIT[name]
    if name in CHARSETS:
        return CHARSETS[name] if CHARSETS[name] != "replacement" else None
    try:
        known = codecs.lookup(name) if name.isascii() else None
    except (LookupError, ValueError):
        return None
    if known is None or not known._is_text_encoding or known.name in _UNFIT:
        return None
    same = _SAME.get(known.name, known.name)
    return CHARSETS.get(same, known.name)


def _may_pass_as_utf8(charset: str | None, body: bytes) -> bool:
    """Whether bytes that are valid UTF-8 may all the same be what the page says, as those of 7-bit charsets are."""
    wide = (charset or "").startswith(("utf-16", "utf-32")) and b"\0" in body
    return wide or charset in _SEVEN_BIT.values() or any(mark in body for mark in _ISO_2022)


def _written(body: bytes) -> str | None:
    """What the page itself says that it is in; it says so in ASCII, so it cannot be in UTF-16."""
    head = body[:_META_BYTES]
    label = _XML.match(head) or _META.search(head)
    charset = known_charset(label[1].decode("ascii", "replace")) if label else None
    if charset in ("utf-16le", "utf-16be"):
        return "utf-8"
    return "windows-1252" if charset == "x-user-defined" else charset


def _guess(body: bytes) -> str:
    charset = known_charset(detect_encoding(body, html5_compatible=False)) or "utf-8"
    # They differ where the one has frames of tables and the other the Ukrainian letters, of which pages have more.
    return "koi8-u" if charset == "koi8-r" else charset


def _decoded(body: bytes, charset: str) -> str:
    if charset in _STANDARD:
        return endec.decode(body, charset, "replace", bom="ignore")
    return body.decode(charset, "replace")
