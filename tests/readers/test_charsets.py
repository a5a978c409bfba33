"""Charsets: the decoders against the tables that the WHATWG Encoding standard publishes, and labels of every kind.

An index file of the standard (https://encoding.spec.whatwg.org/index-big5.txt and so on) names itself by an identifier:
the SHA-256 of its table, written as Python writes a list. So the tables are rebuilt here from what is decoded.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Sequence
from encodings import aliases

import endec
import pytest

from siftlm.readers.charsets import CHARSETS, decode_page, known_charset

SINGLE_BYTES = {
    "ibm866": "db6fe14a559d1601a7667338d83704773d5708dbc641e1ad3c5e21405770f05e",
    "iso-8859-2": "9569c67f22d0b57790e1c407c6eecf227e4562322dc296de43cdab7a0152ec73",
    "iso-8859-3": "af8f1e12df79b768322b5e83613698cdc619438270a2fc359554331c805054a3",
    "iso-8859-4": "72f29c92344d351fe9e74a946e7e0468d76d542c6894ff82982cb652ebe0feb7",
    "iso-8859-5": "fa9b1f3f5242df43e2e7bca80e9b6997c67944f20a4af91ee06bacc4e132d9c9",
    "iso-8859-6": "85bb7b5c2dc75975afebe5743935ba4ed5a09c1e9e34e9bfb2ff80293f5d8bbc",
    "iso-8859-7": "f53d8aeba36314ef950eef02ffcf11dff540638ce27dfe7a86b6ccc6875afb24",
    "iso-8859-8": "7657a9ca3fa875990da960d3f812eea28dcd0ae6ed55a18d5394303c86f5484b",
    "iso-8859-10": "02c2b5590d8ccda9931008c471f6ee2c590b2c8fe5e6ccb3b08638115d778507",
    "iso-8859-13": "40736338e964ab520407cebcb01329f8d450abf6ce12bf88b74b655b60e43300",
    "iso-8859-14": "2c8651cfc08b1f35b17919ee5379f2fa006af3ec809f11b3b7f470785580542b",
    "iso-8859-15": "a560aba47bccd7510a6ac77f671fe75dca3800f05cf6d676910c311a8f8ff079",
    "iso-8859-16": "55676320d2d1b6e6909f5b3d741a7cf0cefc84e920aa4474afc091459111c2e3",
    "koi8-r": "c5497cd9071cb352c0e56b219154e539badf63de40b71578f09e2e11fe7d50ae",
    "koi8-u": "19a4da2c3f245118bbc8019326f45a07832949938ff903f03d62ac4da1f61f40",
    "macintosh": "f2c6a4f6406b3e86a50a5dba4d2b7dd48e2e33c0d82aefe764535c934ec11764",
    "windows-874": "b416583ce125e38474381b31b401a98b19ecf2e57e0998e78a1e18b14894905d",
    "windows-1250": "0669455a7a1c70ba6003ea737991e8ee9adc455125c13cfe6705a361358de5fa",
    "windows-1251": "7592ef921679ba168b00a9e9afa3b4eebd67bf13dc7e84c4b6e120de856826e0",
    "windows-1252": "e56d49d9176e9a412283cf29ac9bd613f5620462f2a080a84eceaf974cfa18b7",
    "windows-1253": "49fdc881a3488904dd1e8dfba9aef3258454249958b611bcded1d4c981ab5561",
    "windows-1254": "e80a27adf377438be8ba5bd223875ea56d6a4d47f958cce1c957a2c446825caa",
    "windows-1255": "cd7fb43c97eefa1651084d92d02af53ad668bd848528c18c3b1af5c06b499651",
    "windows-1256": "161bdb381f16408e8bebcc8f5310c4190af0e359de8d9bbaa3628ce2f0875509",
    "windows-1257": "cc7256bdd10a5b8dc7fb6f994659f307dfcae60def9aa6c29d811f85e2842c47",
    "windows-1258": "198bacedfcf24390e219240a7b776b6cec34cff070330b08a601a69c67f7eb24",
    "x-mac-cyrillic": "73e8e7642c6fa9de29d42819b47fba55b58666fb1e339faeb4a89a0bd7c24d43",
}
MULTI_BYTES = {
    "big5": "8dfc771062e7be0810919082c2c06baa2236147909e0ecc235b1cb9ad782ac82",
    "euc-kr": "1d97134cbf187263585bc8f593ca4196654ed4c7a673f5672eaad4f5d9fdc4ba",
    "gb18030": "ff1c9a923b5d24f9761b3a2de2c0f07b395f9f6f36519508944de4f0415be81c",
    "jis0208": "cbaa91f3deb7d0841faf5c33041fc15a285da0e87e64ab802c4bf04b7c4da861",
    "jis0212": "83bf90dd1c591a4355730d8c4567efc499d74da7490531019ef22a879991cfb7",
}
LOST = "\ufffd"
MARK = b"\xff\n"  # not UTF-8, whatever follows


def decoded(sequences: Iterable[bytes], charset: str) -> list[str]:
    """What each sequence of a page becomes; none holds a line end."""
    text, found = decode_page(MARK + b"\n".join(sequences), charset)
    assert found == known_charset(charset)
    return text.split("\n")[1:]


def identifier(characters: Sequence[str]) -> str:
    """The identifier of the table that says for each place which character is there."""
    table = [ord(text) if len(text) == 1 and text != LOST else None for text in characters]
    return hashlib.sha256(str(table).encode()).hexdigest()


def test_every_single_byte_charset_is_the_published_table() -> None:
    """The upper half of each, undefined places included."""
    for charset, published in SINGLE_BYTES.items():
        assert identifier(decoded([bytes([byte]) for byte in range(128, 256)], charset)) == published, charset


def pointers(leads: Iterable[int], trails: Iterable[int], prefix: bytes = b"") -> list[bytes]:
    trails = list(trails)
    return [prefix + bytes([lead, trail]) for lead in leads for trail in trails]


def span(*ends: int) -> list[int]:
    return [byte for start, end in zip(ends[::2], ends[1::2], strict=True) for byte in range(start, end + 1)]


@pytest.mark.parametrize(
    ("table", "charset", "sequences"),
    [
        ("euc-kr", "euc-kr", pointers(span(0x81, 0xFE), span(0x41, 0xFE))),
        ("big5", "big5", pointers(span(0x81, 0xFE), span(0x40, 0x7E, 0xA1, 0xFE))),
        ("gb18030", "gb18030", pointers(span(0x81, 0xFE), span(0x40, 0x7E, 0x80, 0xFE))),
        ("gb18030", "gb2312", pointers(span(0x81, 0xFE), span(0x40, 0x7E, 0x80, 0xFE))),
        ("jis0212", "euc-jp", pointers(span(0xA1, 0xFE), span(0xA1, 0xFE), b"\x8f")),
        ("jis0208", "shift_jis", pointers(span(0x81, 0x9F, 0xE0, 0xFC), span(0x40, 0x7E, 0x80, 0xFC))),
    ],
)
def test_every_two_byte_sequence_is_the_published_table(table: str, charset: str, sequences: list[bytes]) -> None:
    """All of Microsoft's, IBM's, NEC's and Hong Kong's characters are there, and what is undefined stays so."""
    characters = decoded(sequences, charset)
    if charset == "shift_jis":  # the rows that belong to the user are no part of the table, which ends before the last
        characters = ["" if "\ue000" <= text <= "\ue757" else text for text in characters[:11280]]
    assert identifier(characters) == MULTI_BYTES[table]


def test_private_characters_of_shift_jis_have_their_places() -> None:
    """Its rows 95 to 114 are U+E000 to U+E757, in order."""
    sequences = pointers(span(0xF0, 0xF9), span(0x40, 0x7E, 0x80, 0xFC))
    assert decoded(sequences, "sjis") == [chr(0xE000 + number) for number in range(1880)]


@pytest.mark.parametrize(
    "charset", ["shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "big5", "gbk", "gb2312", "gb18030", "utf-8"]
)
@pytest.mark.parametrize("lead", [0x81, 0x8F, 0x95, 0xA1, 0xC3, 0xE3, 0xFE])
def test_a_byte_that_lost_its_second_half_does_not_cost_the_tag_behind_it(charset: str, lead: int) -> None:
    """An ASCII byte behind a lead byte is itself unless both are a character."""
    page = b"\xff<p>before" + bytes([lead]) + b"<b>after</b>"
    text, _ = decode_page(page, charset)
    assert text.endswith("<b>after</b>")
    assert "<p>before" in text


PAGES = {
    "windows-31j": ("cp932", "①②㈱髙﨑 NECの機種依存文字"),
    "x-sjis": ("cp932", "Ⅷ ㍻ 纊"),
    "ms932": ("cp932", "①月"),
    "ks_c_5601-1987": ("cp949", "똠방각하 펲시콜라 뷁"),
    "euc-kr": ("cp949", "믜 뷁 쓩 힣"),
    "gb2312": ("gb18030", "朱镕基 € 繁體字"),
    "x-gbk": ("gb18030", "喆 堃 㐀"),
    "big5": ("big5hkscs", "香港嘅街市 喺 咗 啲"),
    "euc_kr": ("cp949", "믜 뷁 쓩 힣"),
    "euc_jp": ("euc_jis_2004", "①②Ⅷ㈱"),
    "iso2022_jp": ("iso2022_jp_2004", "日本語"),
    "iso-8859-1": ("cp1252", "“Straße” – 20 €"),
    "us-ascii": ("cp1252", "café …"),
    "iso-8859-9": ("cp1254", "“İstanbul” ğ š"),
    "tis-620": ("cp874", "ภาษาไทย “…” €"),
    "iso-8859-11": ("cp874", "ภาษา–ไทย"),
    "iso-2022-jp": ("iso2022_jp", "日本語のページ"),
    "iso-2022-kr": ("iso2022_kr", "한국어 문장"),
    "hz-gb-2312": ("hz", "中文句子"),
    "x-mac-cyrillic": ("mac-cyrillic", "Привет, мир"),
    "macintosh": ("mac-roman", "Größe €"),
    "logical": ("iso8859-8", "שלום עולם"),
    "cp949": ("cp949", "똠방각하"),
    "cp936": ("gbk", "喆 中文"),
    "cp437": ("cp437", "Größe ½"),
    "utf-16": ("utf-16-le", "plain ASCII in UTF-16"),
    "utf-16be": ("utf-16-be", "größer und weiter"),
}


@pytest.mark.parametrize("label", PAGES)
def test_a_page_is_read_under_the_label_that_the_web_gives_it(label: str) -> None:
    """Text that Python's own codec for the wider charset has written, under each label's name."""
    codec, sentence = PAGES[label]
    assert decode_page(sentence.encode(codec), label)[0] == sentence
    assert decode_page(sentence.encode(codec), f' "{label.upper()}" ')[0] == sentence


@pytest.mark.parametrize(
    ("declaration", "codec"),
    [
        ('<?xml version="1.0" encoding="Shift_JIS"?>', "cp932"),
        ("<meta http-equiv=content-type content='text/html;charset=x-sjis'>", "cp932"),
        ('<meta charset="gb2312">', "gb18030"),
        ("<meta charset=utf-16>", "utf-8"),
    ],
)
def test_a_page_may_say_itself_what_it_is_in(declaration: str, codec: str) -> None:
    """In a meta tag or an XML declaration; one that can be read as ASCII is not in UTF-16."""
    text = declaration + "<p>①日本語"
    assert decode_page(text.encode(codec), None)[0] == text


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_byte_order_mark_is_known_by_its_first_tag(codec: str) -> None:
    """No page begins with a NUL beside a bracket otherwise."""
    assert decode_page("<!DOCTYPE html><p>größer".encode(codec), None)[0] == "<!DOCTYPE html><p>größer"


def test_every_label_of_the_standard_has_its_decoder() -> None:
    """All 228, against encoding_rs looking the label up itself; `replacement` names no charset that can be read."""
    sample = MARK + bytes(range(0x20, 0x100)) * 2
    assert len(CHARSETS) == 228
    for label, name in CHARSETS.items():
        if known_charset(label) in CHARSETS.values():
            assert decode_page(sample, label) == (endec.decode(sample, label, "replace", bom="ignore"), name)
        else:
            assert name == "replacement"
            assert known_charset(label) in (None, "iso2022_kr", "hz")


def test_what_python_calls_a_charset_of_the_standard_has_the_decoder_of_the_standard() -> None:
    """Under all of Python's names: pages and the detector use them, and its own codecs know fewer characters."""
    same = {codecs.lookup(label).name for label in CHARSETS if known_to_python(label)}
    for name in {*aliases.aliases, *aliases.aliases.values()}:
        if known_to_python(name) and codecs.lookup(name).name in same - {"hz", "iso2022_kr"}:
            assert known_charset(name) in CHARSETS.values(), name


def known_to_python(label: str) -> bool:
    try:
        return bool(codecs.lookup(label))
    except LookupError:
        return False


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("label", ["utf-16", "unicode", "utf-16le", "utf-16be"])
def test_the_first_tag_tells_the_byte_order_of_utf16(codec: str, label: str) -> None:
    """The label does not, or wrongly: RFC 2781 and the standard differ about the one of `utf-16`."""
    assert decode_page("<p>größer".encode(codec), label)[0] == "<p>größer"


@pytest.mark.parametrize("label", ["unicode_escape", "raw_unicode_escape"])
def test_a_label_of_pythons_own_escapes_is_no_charset(label: str) -> None:
    """They can write half of a character, which no text can hold."""
    assert known_charset(label) is None
    assert decode_page(b"\xff\\ud800", label)[0].encode()


@pytest.mark.parametrize(
    "text",
    [
        "Це сторінка українською мовою, їжак і ґава. Київ є столицею України, її населення понад два мільйони. ",
        "Это страница на русском языке, ёж и галка. Москва является столицей России, в ней много людей. ",
    ],
)
def test_a_page_in_koi8_without_a_label_has_its_ukrainian_letters(text: str) -> None:
    """Russian letters are the same in both of its kinds."""
    page = f"<p>{text * 5}</p>"
    assert decode_page(page.encode("koi8-u"), None) == (page, "koi8-u")
