"""Defines which characters form words, as arrays by code point that compiled kernels take.

A word is a run of word characters: letters, marks and numbers of Unicode 14.0 (categories L, M, N) and
the underscore. Everything else separates, ill-formed UTF-8 included, but for what shows nothing (soft hyphens,
zero-width characters), which is skipped. Scripts that are written without spaces have no such runs, so each of their
code points is a word of its own. Lower case is the simple mapping (one
code point to one code point, no locale, no context): `İ` becomes `i`, a capital sigma always `σ`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.normal_form import CODE_POINTS, ignorable_points, spans
from siftlm_kernels.unicode_ranges import LOWER_RANGES, WORD_RANGES

SEPARATOR, WORD, SOLO, IGNORED = 0, 1, 2, 3

# Blocks of the scripts without spaces between words: those whose letters Unicode Standard Annex 14 lets a line break
# at without a space (line-break classes SA, ID, CJ, AK, AS and AP), but for Hangul and full-width Latin letters.
SOLO_BLOCKS = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai and Lao, Myanmar, Khmer
    (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F),  # Tai Le and New Tai Lue, Tai Tham, Balinese
    (0x1BC0, 0x1BFF),  # Batak
    (0x3000, 0x312F),  # CJK symbols such as 々 and 〇, Hiragana, Katakana, Bopomofo
    (0x3190, 0x31BF), (0x31F0, 0x31FF),  # Kanbun and Bopomofo Extended, Katakana Phonetic Extensions
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF),  # Han
    (0xA000, 0xA48F), (0xA980, 0xA9FF),  # Yi, Javanese and Myanmar Extended-B
    (0xAA00, 0xAADF), (0xFF66, 0xFF9F),  # Cham, Myanmar Extended-A and Tai Viet; half-width Katakana
    (0x11000, 0x1107F), (0x11300, 0x1137F), (0x11700, 0x1174F),  # Brahmi, Grantha, Ahom
    (0x11900, 0x1195F), (0x11EE0, 0x11F5F),  # Dives Akuru, Makasar and Kawi
    (0x16FE0, 0x18AFF), (0x18D00, 0x18D7F),  # Ideographic Symbols, Tangut and its Components; Tangut Supplement
    (0x1AFF0, 0x1B2FF),  # Kana Extended-B, Kana Supplement, Kana Extended-A, Small Kana Extension, Nushu
)  # fmt: skip


@cache
def word_classes() -> NDArray[np.uint8]:
    """Returns the class of every code point: SEPARATOR, WORD (in a run), SOLO (a word by itself) or IGNORED."""
    classes = np.zeros(CODE_POINTS, np.uint8)
    for first, last in spans(WORD_RANGES):
        classes[first : last + 1] = WORD
    for first, last in SOLO_BLOCKS:
        block = classes[first : last + 1]
        block[block == WORD] = SOLO
    classes[ignorable_points()] = IGNORED
    classes.flags.writeable = False
    return classes


@cache
def simple_lower() -> NDArray[np.int32]:
    """Returns the simple lower-case mapping as an array indexed by code point; others map to themselves."""
    lower = np.arange(CODE_POINTS, dtype=np.int32)
    for group in LOWER_RANGES.split(";"):
        rule, _, ranges = group.partition(":")
        offset, _, step = rule.partition("/")
        for first, last in spans(ranges):
            lower[first : last + 1 : int(step or "1")] += int(offset, 16)
    lower.flags.writeable = False
    return lower


@cache
def word_bytes() -> NDArray[np.uint64]:
    """Returns a uint64 for each code point: the up to 6 bytes that it adds to a normalised text.

    Normalised text is lower-cased UTF-8 in which NUL bytes end words: a separator adds one NUL, a word
    character its lower-case UTF-8, a solo character the same between two NULs, an ignored one nothing. The first
    byte is in the low 8 bits: one little-endian 8-byte store writes them all, and the top byte counts them.
    """
    packed = np.full(CODE_POINTS, 1 << 56, np.uint64)
    packed[word_classes() == IGNORED] = 0
    points = np.flatnonzero((word_classes() == WORD) | (word_classes() == SOLO))
    encoded, length = _utf8(simple_lower()[points].astype(np.uint64))
    solo = word_classes()[points] == SOLO
    encoded[solo] <<= np.uint64(8)
    length[solo] += np.uint64(2)
    packed[points] = encoded | length << np.uint64(56)
    packed.flags.writeable = False
    return packed


def _utf8(points: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The UTF-8 bytes of code points as little-endian integers, and how many bytes each takes."""
    heads = [points >> np.uint64(6 * k) for k in range(4)]
    tails = [np.uint64(0x80) | head & np.uint64(0x3F) for head in heads]
    forms = [
        heads[0],
        (np.uint64(0xC0) | heads[1]) | tails[0] << np.uint64(8),
        (np.uint64(0xE0) | heads[2]) | tails[1] << np.uint64(8) | tails[0] << np.uint64(16),
        np.uint64(0xF0) | heads[3] | tails[2] << np.uint64(8) | tails[1] << np.uint64(16) | tails[0] << np.uint64(24),
    ]
    length = np.searchsorted(np.array([0x80, 0x800, 0x10000], np.uint64), points, side="right")
    return np.choose(length, forms), (length + 1).astype(np.uint64)
