"""Plain text by file, line and paragraph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.readers.conftest import PACKS, Outcome

Read = Callable[..., Outcome]


def test_a_file_is_a_document_as_it_is(read_content: Read) -> None:
    """Line ends, spaces and blank lines stay; only a byte order mark goes."""
    text = "  One\r\n\r\n\ttwo \0 drei ö\n"
    assert read_content(b"\xef\xbb\xbf" + text.encode(), "x.txt").texts == [text]


def test_a_line_is_a_document_where_the_settings_say_so(read_content: Read) -> None:
    """Blank lines are none, and offsets are bytes."""
    outcome = read_content(b"one\r\n\r\n  \ntwo\n\xff\nthree", "x.txt", text_unit="line")
    assert outcome.texts == ["one", "two", "three"]
    assert [(reject.reason, reject.offset) for reject in outcome.rejects] == [("bad_utf8", 14)]


def test_a_paragraph_is_a_document_where_the_settings_say_so(read_content: Read) -> None:
    """Any number of blank lines separates paragraphs; line ends within become LF."""
    outcome = read_content(b"\n\none\r\ntwo\r\n\r\n \n\nthree\nfour", "x.txt", text_unit="paragraph")
    assert outcome.texts == ["one\ntwo", "three\nfour"]


def test_a_long_paragraph_is_one_error_and_held_no_longer_than_the_limit(read_content: Read) -> None:
    """Many short lines without a blank one between them are too large together."""
    outcome = read_content(b"line\n" * 1000 + b"\nshort\n", "x.txt", text_unit="paragraph", max_document_bytes=100)
    assert (outcome.texts, outcome.errors) == (["short"], ["document_too_large"])
    assert outcome.rejects[0].detail.startswith("4999 bytes")


@pytest.mark.parametrize("pack", sorted(set(PACKS) - {"none"}))
def test_a_damaged_file_is_no_document(read_content: Read, pack: str) -> None:
    """Half a document under the name of the whole one would be a lie."""
    content = PACKS[pack](b"text " * 1000)
    outcome = read_content(content[:-3], "x.txt", compression=pack)
    assert (outcome.texts, outcome.errors) == ([], [f"truncated_{pack}"])


def test_another_charset_is_an_error_with_the_place(read_content: Read) -> None:
    """Text files have no label, so nothing is guessed."""
    outcome = read_content("größer".encode("latin-1"), "x.txt")
    assert outcome.errors == ["bad_utf8"]
    assert outcome.rejects[0].detail == "byte 2 of the text, which looks like Latin-1 or Windows-1252"
