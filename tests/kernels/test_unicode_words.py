"""The pinned Unicode tables agree with Python's own database."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import regex

from siftlm_kernels.normal_form import ignorable_points
from siftlm_kernels.unicode_words import IGNORED, SEPARATOR, SOLO, WORD, simple_lower, word_bytes, word_classes

ASSIGNED = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs")]


def test_word_characters_are_letters_marks_numbers_and_the_underscore() -> None:
    """But for ignorable ones. Exactly so for Python's Unicode 14; for a later one, none is that should not be."""
    found = {c for c in ASSIGNED if word_classes()[ord(c)] in (WORD, SOLO)}
    shown = set(ASSIGNED) - set(map(chr, ignorable_points()))
    expected = {c for c in shown if c == "_" or unicodedata.category(c)[0] in "LMN"}
    if unicodedata.unidata_version == "14.0.0":
        assert found == expected
    assert found <= expected
    assert len(found) > 134_000


def test_lower_case_is_that_of_a_single_character() -> None:
    """`str.lower` of one character, of which the simple mapping is the first code point."""
    lower = simple_lower()
    wrong = [c for c in ASSIGNED if word_classes()[ord(c)] in (WORD, SOLO) and chr(lower[ord(c)]) != c.lower()[0]]
    assert not wrong


@pytest.mark.parametrize(
    "text", ["私", "は", "カ", "ｶ", "々", "ก", "ກ", "က", "ក", "㐀", "𠀀", "ꀉ", "ꦗ", "ᨾ", "ᬩ", "ꪎ", "ㄅ", "𗀀"]
)
def test_scripts_without_spaces_are_words_a_character(text: str) -> None:
    """Han, Kana, Thai, Lao, Myanmar, Khmer, Yi, Javanese, Tai Tham, Balinese, Tai Viet, Bopomofo, Tangut."""
    assert word_classes()[ord(text)] == SOLO


def test_scripts_without_spaces_are_those_whose_lines_break_without_one() -> None:
    """By the line-break classes of Unicode as the package `regex` has them; Hangul and full-width Latin use spaces."""
    breaks = regex.compile(
        r"[[\p{LB=SA}\p{LB=ID}\p{LB=CJ}\p{LB=AK}\p{LB=AS}]--[\p{sc=Hangul}\p{sc=Latin}\p{sc=Common}]]", regex.V1
    )
    letters = [c for c in ASSIGNED if unicodedata.category(c)[0] == "L" and word_classes()[ord(c)] != SEPARATOR]
    solo = {c for c in letters if word_classes()[ord(c)] == SOLO}
    assert {c for c in letters if breaks.match(c)} <= solo
    signs = regex.compile(r"[\p{LB=NS}\p{LB=BA}\p{LB=AP}\p{sc=Common}\p{sc=Katakana}\p{sc=Grantha}\p{sc=Makasar}]")
    assert all(breaks.match(c) or signs.match(c) for c in solo)  # iteration marks, finals, tones


@pytest.mark.parametrize("text", ["a", "É", "я", "한", "अ", "ा", "́", "٣", "_", "Ⅷ", "བ", "ᮘ", "ꓡ", "ᨀ", "Ａ"])
def test_scripts_with_spaces_have_words_of_many_characters(text: str) -> None:
    """Hangul, Devanagari with its vowel signs, combining accents, Tibetan (its tsheg separates), Sundanese, Lisu."""
    assert word_classes()[ord(text)] == WORD


def test_a_characters_normalised_bytes_are_its_lower_case_utf8() -> None:
    """A solo character stands between two NULs; a separator is one NUL; what shows nothing adds nothing."""
    for character in [*ASSIGNED[:: len(ASSIGNED) // 20_000], "\u00ad", "\u200b"]:
        kind, packed = word_classes()[ord(character)], int(word_bytes()[ord(character)])
        small = chr(simple_lower()[ord(character)]).encode()
        expected = {SEPARATOR: b"\0", WORD: small, SOLO: b"\0" + small + b"\0", IGNORED: b""}[int(kind)]
        assert packed.to_bytes(8, "little")[: packed >> 56] == expected


def test_tables_cannot_be_written() -> None:
    """They are shared by every caller."""
    for table in (word_classes(), simple_lower(), word_bytes()):
        with pytest.raises(ValueError, match="read-only"):
            table[0] = np.zeros(1, table.dtype)[0]
