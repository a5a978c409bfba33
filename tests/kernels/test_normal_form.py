"""Copies of a text that look alike have the same words: against Python's `unicodedata`."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.whole import true_jaccard

from siftlm_kernels.minhash import minhash, minhash_bands, spaced_words
from siftlm_kernels.normal_form import canonical_order, composed, ignorable_points, normal_form

ASSIGNED = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs")]
COMBINING = "\u0301\u0302\u0316\u0323\u05b0\u05b8\u064b\u0651\u3099\u09be\u0cc2\u0cd5\u1161\u11a8\u0f72\u0f74"
BASES = "ae\u00e9\u1ebf\u212b\uac01\u1100\u09c7\u0cc6\u304b\u05d1\u0639\u00ad\u200b\u200d\ufeff \ud55c\U00011099"
ORDERED = st.text(st.sampled_from(COMBINING + BASES), max_size=30)
SENTENCES = {
    "French": "Élève français à l'école, où naïveté et cœur règnent déjà près de Noël",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다",
    "Japanese": "すべての人間は、生まれながらにして自由であり、ガバナンスとプログラムがある",
    "Hebrew": "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ",
    "Bengali": "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে কোনো",
    "Kannada": "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ ಕೋಪ ಹಾಗೂ ಘನತೆ",
    "German": "Donaudampfschifffahrtsgesellschaft und Rindfleischetikettierung sind schöne lange Wörter",
}


def ragged(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])


def hyphenated(text: str, between: str) -> str:
    """The text with something invisible inside every word of more than three letters."""
    return " ".join(word[:2] + between + word[2:] if len(word) > 3 else word for word in text.split(" "))


@pytest.mark.parametrize("text", SENTENCES.values(), ids=SENTENCES)
def test_copies_in_any_normal_form_and_with_characters_that_show_nothing_are_alike(text: str) -> None:
    """Composed, decomposed, with soft hyphens, zero-width spaces, joiners, word joiners, a byte order mark."""
    between = ["\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u034f", "\u200e"]
    copies = [
        unicodedata.normalize("NFC", text),
        unicodedata.normalize("NFD", text),
        *(hyphenated(unicodedata.normalize("NFC", text), sign) for sign in between),
        *(hyphenated(unicodedata.normalize("NFD", text), sign) for sign in between),
        "\ufeff" + text,
    ]
    values, offsets = ragged(copies)
    signatures = minhash(values, offsets)
    bands, has_words = minhash_bands(values, offsets)
    assert (signatures == signatures[0]).all()
    assert (bands == bands[0]).all()
    assert has_words.all()
    pairs = np.array([[0, i] for i in range(1, len(copies))])
    assert (true_jaccard(values, offsets, pairs) == 1).all()
    datasketch = minhash(values, offsets, impl="datasketch", permutations=8)
    assert (datasketch == datasketch[0]).all()


def test_accents_that_are_seen_make_a_difference() -> None:
    """Only what looks alike is alike."""
    signatures = minhash(*ragged(["resume", "résumé", "ga", "か", "が"]), ngram=1)
    assert len({row.tobytes() for row in signatures}) == 5


@settings(max_examples=300, deadline=None)
@given(st.lists(ORDERED | st.text(max_size=30), max_size=4))
def test_a_document_that_the_quick_check_passes_is_in_normal_form(texts: list[str]) -> None:
    """So its words are those of its normal form, whatever the order of its marks and what lies between them."""
    values, offsets = composed(*ragged(texts))
    visible = str.maketrans("", "", "".join(map(chr, ignorable_points())))
    for text, start, end in zip(texts, offsets[:-1], offsets[1:], strict=True):
        assert values[start:end].tobytes().decode().translate(visible) == normal_form(text)


@settings(max_examples=200, deadline=None)
@given(st.lists(ORDERED, max_size=4))
def test_the_kernel_equals_the_docstring_on_decomposed_text(texts: list[str]) -> None:
    """Ignorable characters between marks included, which are where a shortcut would go wrong."""
    values, offsets = ragged(texts)
    fast = minhash(values, offsets, ngram=2, permutations=3)
    assert np.array_equal(fast, minhash(values, offsets, ngram=2, permutations=3, impl="reference"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=4))
def test_bytes_that_are_no_utf_8_stay_bytes_of_their_document(texts: list[bytes]) -> None:
    """The check reads no further than a document, and what it passes is untouched."""
    values, offsets = np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)])
    made, bounds = composed(values, offsets)
    assert len(bounds) == len(offsets)
    for text, start, end in zip(texts, bounds[:-1], bounds[1:], strict=True):
        got = made[start:end].tobytes()
        assert got in (text, normal_form(text.decode(errors="replace")).encode())


def test_documents_in_normal_form_are_handed_back_as_they_are() -> None:
    """No copy is made for the batches that are most."""
    values, offsets = ragged(["plain text " * 50, "déjà vu, Ελλάδα, 日本語, हिन्दी, ไทย"])
    assert composed(values, offsets)[0] is values


def test_the_pinned_order_is_that_of_unicodedata() -> None:
    """For Python's Unicode 14; for a later one, what is pinned has not changed, by Unicode's stability policy."""
    order = canonical_order()
    ignorable = set(ignorable_points())
    changed = [c for c in ASSIGNED if unicodedata.normalize("NFC", c) != c]
    assert [c for c in changed if ord(c) < 0x10000 and order[ord(c)] != 255] == []
    classes = {c: unicodedata.combining(c) for c in ASSIGNED if order[ord(c)] not in (254, 255)}
    if unicodedata.unidata_version == "14.0.0":
        assert [c for c, value in classes.items() if order[ord(c)] != value] == []
    assert ignorable >= {0xAD, 0x200B, 0x200D, 0x2060, 0xFEFF, 0xFE0F, 0xE0001}
    assert all(unicodedata.category(chr(p)) in ("Cf", "Mn", "Lo", "Cn") for p in ignorable)


def test_invisible_characters_do_not_split_words() -> None:
    """A separator would make two words of one."""
    values, offsets = spaced_words(*ragged(["hy\u00adphen zero\u200bwidth", "\u200b \ufeff", "e\u200d\u0301"]))
    words = [values[a:b].tobytes().decode() for a, b in pairwise(offsets)]
    assert words == ["hyphen zerowidth", "", "é"]
