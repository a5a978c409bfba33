"""Decodes the bytes of a web page to text by the decoders of the WHATWG Encoding standard.

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

from siftlm.readers.encodings import MARKS, UTF8_MARK

# The labels of the standard (4.2, "Names and labels").
_LABELS = """
utf-8: unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8
ibm866: 866 cp866 csibm866 ibm866
iso-8859-2: csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2
iso-8859-3: csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3
iso-8859-4: csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4
iso-8859-5: csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988
iso-8859-6: arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i
    iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987
iso-8859-7: csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7
    iso_8859-7:1987 sun_eu_greek
iso-8859-8: csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8
    iso_8859-8:1988 visual
iso-8859-8-i: csiso88598i iso-8859-8-i logical
iso-8859-10: csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6
iso-8859-13: iso-8859-13 iso8859-13 iso885913
iso-8859-14: iso-8859-14 iso8859-14 iso885914
iso-8859-15: csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9
iso-8859-16: iso-8859-16
koi8-r: cskoi8r koi koi8 koi8-r koi8_r
koi8-u: koi8-ru koi8-u
macintosh: csmacintosh mac macintosh x-mac-roman
windows-874: dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874
windows-1250: cp1250 windows-1250 x-cp1250
windows-1251: cp1251 windows-1251 x-cp1251
windows-1252: ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591
    iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252
windows-1253: cp1253 windows-1253 x-cp1253
windows-1254: cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5
    windows-1254 x-cp1254
windows-1255: cp1255 windows-1255 x-cp1255
windows-1256: cp1256 windows-1256 x-cp1256
windows-1257: cp1257 windows-1257 x-cp1257
windows-1258: cp1258 windows-1258 x-cp1258
x-mac-cyrillic: x-mac-cyrillic x-mac-ukrainian
gbk: chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk
gb18030: gb18030
big5: big5 big5-hkscs cn-big5 csbig5 x-x-big5
euc-jp: cseucpkdfmtjapanese euc-jp x-euc-jp
iso-2022-jp: csiso2022jp iso-2022-jp
shift_jis: csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis
euc-kr: cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949
replacement: csiso2022kr hz-gb-2312 iso-2022-cn iso-2022-cn-ext iso-2022-kr replacement
utf-16be: unicodefffe utf-16be
utf-16le: csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le
x-user-defined: x-user-defined
"""


CHARSETS = {
    label: line.partition(":")[0] for line in _LABELS.replace("\n    ", " ").splitlines() for label in line.split()[1:]
}
"""Label to name, both in lower case: 228 labels of 40 charsets."""

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
    """Returns the text of a page, and the charset by which it was decoded.

    In this order: a byte order mark; the bytes of a first tag in UTF-16 or UTF-32; UTF-8 where the bytes are valid
    UTF-8 (text in another charset is so only by an accident that does not happen); the charset of the HTTP header; the
    one of the page's meta tag or XML declaration; a guess from the bytes. Bytes that have no meaning in the charset
    become U+FFFD.
    """
    for charset, mark in {"utf-8": UTF8_MARK, **MARKS}.items():
        if body.startswith(mark):
            charset = _SAME.get(charset, charset)
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
    """Returns the charset that a label names, or None where the label is unknown.

    It is a charset of the WHATWG standard where that has the label, else one of Python's. A label is unknown, too,
    where the decoder of browsers gives one U+FFFD for everything and Python has none.
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
