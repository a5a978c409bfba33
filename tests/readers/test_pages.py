"""Pages: charsets, main text, and pages that are built to do harm."""

from __future__ import annotations

import encodings
import pkgutil
from encodings.aliases import aliases

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.readers.bodies import PageError, parse_response
from siftlm.readers.charsets import decode_page
from siftlm.readers.warc import page_text

SENTENCES = {
    "windows-1252": "Größere Übungen für Bürger, überall „so“.",
    "iso-8859-2": "Zażółć gęślą jaźń.",
    "windows-1251": "Съешь ещё этих мягких французских булок.",
    "koi8-r": "Съешь ещё этих мягких французских булок.",
    "shift_jis": "これは日本語の文章です。",
    "euc-jp": "これは日本語の文章です。",
    "iso-2022-jp": "これは日本語の文章です。",
    "gb18030": "这是一个中文句子。",
    "big5": "這是一個中文句子。",
    "euc-kr": "이것은 한국어 문장입니다.",
    "utf-8": "Größer, 大きい, больше.",
}


@pytest.mark.parametrize(("charset", "sentence"), SENTENCES.items())
def test_the_declared_charset_is_used(charset: str, sentence: str) -> None:
    """By the HTTP header, and by the meta tag in either form."""
    body = sentence.encode(charset)
    assert decode_page(body, charset)[0] == sentence
    for meta in ('<meta charset="{}">', '<meta http-equiv="Content-Type" content="text/html; charset={}">'):
        page = meta.format(charset).encode() + body
        assert decode_page(page, None)[0].endswith(sentence)


@pytest.mark.parametrize("charset", ["windows-1252", "windows-1251", "shift_jis", "euc-jp", "gb18030", "utf-8"])
def test_an_undeclared_charset_is_guessed_from_enough_text(charset: str) -> None:
    """Pages that do not say what they are written in are read all the same."""
    page = f"<html><body><p>{SENTENCES[charset] * 20}</p></body></html>"
    assert decode_page(page.encode(charset), None)[0] == page


@pytest.mark.parametrize("declared", ["iso-8859-1", "utf-16", "no-such-charset", "utf-7", "base64", "", None, "x" * 99])
def test_valid_utf8_is_utf8_whatever_the_page_says(declared: str | None) -> None:
    """Servers that are configured wrongly are common; UTF-8 by accident is not."""
    sentence = SENTENCES["utf-8"]
    assert decode_page(sentence.encode(), declared) == (sentence, "utf-8")


def test_a_page_that_claims_utf8_and_is_not_is_read_as_what_it_is() -> None:
    """German in Latin-1 under a UTF-8 label keeps its umlauts."""
    sentence = SENTENCES["windows-1252"] * 5
    assert decode_page(sentence.encode("cp1252"), "utf-8")[0] == sentence


def test_byte_order_marks_go_before_everything() -> None:
    """UTF-8 and both UTF-16, and the mark is not part of the text."""
    for charset in ("utf-8-sig", "utf-16"):
        assert decode_page("größer".encode(charset), "koi8-r")[0] == "größer"


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=20)))
@settings(max_examples=300, deadline=None)
def test_any_bytes_under_any_label_are_text(body: bytes, declared: str | None) -> None:
    """Decoding never fails, and gives text that UTF-8 can carry."""
    decode_page(body, declared)[0].encode()


def test_no_codec_of_python_fails_on_a_page() -> None:
    """Every name that a header can give, on bytes that few charsets have a meaning for."""
    names = {*aliases, *aliases.values(), *(module.name for module in pkgutil.iter_modules(encodings.__path__))}
    for name in names:
        for body in (b"\x80", b"\\x", b"\xff\xfe\xfd", b"\x1b$\xff"):
            decode_page(body, name)[0].encode()


@given(st.text(alphabet="<>/!-&; \"'=abdivpstylecrn\n", max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_markup_has_a_text(page: str) -> None:
    """Broken markup is what the web consists of."""
    assert isinstance(page_text(page, main_content=True), str)


def test_the_main_text_is_kept_and_the_rest_is_not() -> None:
    """Navigation, scripts and comments go; paragraphs and entities stay, unless everything is wanted."""
    page = (
        "<html><head><title>T</title><script>var x</script></head><body><nav><a href=/>Home</a></nav><!-- c -->"
        "<article><h1>Title</h1><p>Some text &amp; more of it, long enough to count.</p></article>"
        "<footer>Imprint</footer></body></html>"
    )
    text = page_text(page, main_content=True)
    assert "Some text & more of it" in text
    assert not any(word in text for word in ("Home", "var x", "Imprint", " c "))
    assert "Home" in page_text(page, main_content=False)


def fonts(number: int) -> str:
    """Formatting elements that are all different, and never closed."""
    return "".join(f"<font size={size}>" for size in range(number))


BOMBS = {
    "nested": "<div>" * 200_000,
    "nested, with text": "<div>x " * 140_000,
    "nested, and closed": "<div>" * 100_000 + "</div>" * 100_000,
    "nested, with stray end tags": "<div></p>" * 110_000,
    "nested a million deep": "<div>" * 1_000_000,
    "nested in cells": "<div><table><td></div>" * 60_000,
    "nested behind cells of no table": "<td><address>" * 60_000,
    "nested in SVG": "<svg>" + "<g>" * 200_000,
    "nested behind SVG": "<svg><div>" + "<x/>" * 200_000,
    "formatting made again in paragraphs": "<p>" + fonts(3000) + "<p>x" * 3000,
    "formatting made again in cells": "<table><td><p>" + fonts(2000) + "<p>x" * 2000,
    "formatting made again in blocks": "<div>" + fonts(1500) + "</div>" + "<div>x</div>" * 1500,
    "formatting made again, with few tags": "<p>" + fonts(1400) + "<p>x" * 1400,
    "formatting of which none is like another": fonts(60_000),
    "formatting, and end tags of none": "<b>" * 60_000 + "</i>" * 60_000,
    "formatting, and rules": "<b>" * 60_000 + "<hr>" * 60_000,
    "formatting with quoted brackets": "".join(f"<b id='>{n}'><p>x" for n in range(3000)),
    "formatting with quoted end tags": "".join(f'<b id = {n} title="></b>"><p>x' for n in range(3000)),
    "formatting behind a quote in a script": "<script><a b='</script>" + "<p>" + fonts(1400) + "<p>x" * 1400 + "'>",
    "nested behind a quote in a comment": "<!-- <a b=' -->" + "<div>" * 50_000 + "'>",
    "nested behind a quote in a name": "<p'x='>" + "<div>" * 50_000 + "'>",
    "nested in forms that are ended before": "<form><div></form>" * 50_000,
    "nested behind ends of the body": "<body>" + "<div></body>" * 50_000,
    "nested behind ends of the head": "<head><div></head>" * 50_000,
    "nested in SVG whose values end in slashes": "<svg>" + "<g a=x/>" * 50_000,
    "options": "<select>" + "<option>x" * 60_000,
    "elements": "<p>x" * 600_000,
    "comments": "<!---->" * 600_000,
    "attributes": "<p " + " ".join(f"a{i}=1" for i in range(120_000)) + ">",
    "attributes with quoted brackets": "<p " + " ".join(f"a{i}='<'" for i in range(90_000)) + ">",
}
HARMLESS = {
    "one tag": "<p>" + "word " * 200_000,
    "formatting": "<b>" * 330_000,
    "brackets": "<" * 1_000_000,
    "quotes": "<a b='" * 160_000,
    "closed": "</div>" * 160_000,
    "line breaks": "<br>" * 250_000,
    "list": "<ul>" + "<li>entry" * 110_000,
    "table": "<table>" + "<tr><td>cell" * 80_000,
    "closed table": "<table>" + "<tr><td><b><a href=x>cell</a></b></td></tr>" * 20_000 + "</table>",
    "paragraphs": "<p>text <b>bold</b> <a href=x>link</a></p>" * 25_000,
    "unclosed formatting": "".join(f"<p><font size={size}>text" for size in range(400)),
    "forms": "<form action='?a>b'><input name=x><p>text</form>" * 20_000,
    "tags in scripts": ("<script>document.write('<div><div>')</script>" + "<p>text</p>") * 5_000,
    "tags in comments": "<!-- <div><div> --><p>text</p>" * 10_000,
    "select": "<select>" + "<option>x</option>" * 5_000 + "</select>",
    "drawing": "<svg>" + "<path d='M0 0'/>" * 60_000 + "</svg>",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pages_that_would_take_minutes_are_refused(name: str) -> None:
    """A megabyte that is built against the parser is an error with a reason."""
    with pytest.raises(PageError, match="page_too_complex"):
        page_text(BOMBS[name], main_content=True)


@pytest.mark.parametrize("name", HARMLESS)
def test_pages_that_are_only_odd_are_read(name: str) -> None:
    """A megabyte of anything else is a page, and takes no more than a few seconds."""
    assert isinstance(page_text(HARMLESS[name], main_content=True), str)


def test_what_is_not_http_is_an_error() -> None:
    """A response record without a response."""
    with pytest.raises(PageError):
        parse_response(b"\x1f\x8b\x08garbage", 100)
