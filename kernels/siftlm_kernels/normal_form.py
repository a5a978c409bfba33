"""Normalises texts for comparison: composes accents and removes invisible characters.

`é` may be written as one code point or as `e` and an accent; a soft hyphen or a zero-width space is not seen. Copies
of a text that differ in these alone must be the same words to whoever looks for duplicates.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.unicode_ranges import IGNORABLE_RANGES, NORMAL_ORDER

CODE_POINTS = 0x110000


def normal_form(text: str) -> str:
    """Returns the text without ignorable code points, in Unicode's normal form C."""
    return unicodedata.normalize("NFC", _ignorable().sub("", text))


def composed(values: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the ragged text with `normal_form` applied to the documents that normal form C may change.

    So ignorable code points are left in documents that are composed already: words skip them (`unicode_words`).
    In a changed document, bytes that are not UTF-8 become U+FFFD, which separates words as they do.
    """
    from siftlm_kernels.normal_form_kernel import find_changing

    changing = np.zeros(len(offsets) - 1, np.bool_)
    chunks = values[: len(values) // 8 * 8].view(np.uint64)
    find_changing(values, chunks, offsets, canonical_order(), changing)
    if not changing.any():
        return values, offsets
    texts = [values[start:end].tobytes() for start, end in pairwise(offsets)]
    for row in np.flatnonzero(changing):
        texts[row] = normal_form(texts[row].decode(errors="replace")).encode()
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)], dtype=np.int64)


@cache
def canonical_order() -> NDArray[np.uint8]:
    """Returns the canonical combining class of every code point.

    254 stands for an ignorable one, 255 for one that normal form C may change.
    """
    order = np.zeros(CODE_POINTS, np.uint8)
    for group in NORMAL_ORDER.split(";"):
        value, _, ranges = group.partition(":")
        for first, last in spans(ranges):
            order[first : last + 1] = int(value)
    order[ignorable_points()] = 254
    order.flags.writeable = False
    return order


def ignorable_points() -> list[int]:
    """Returns the code points of invisible characters, in ascending order."""
    return [point for first, last in spans(IGNORABLE_RANGES) for point in range(first, last + 1)]


def spans(ranges: str) -> list[tuple[int, int]]:
    """Returns (first, last) of each range in a text of hexadecimal code points: `first-last`, or one alone."""
    ends = [text.partition("-") for text in ranges.split()]
    return [(int(first, 16), int(last or first, 16)) for first, _, last in ends]


@cache
def _ignorable() -> re.Pattern[str]:
    return re.compile(f"[{''.join(f'{chr(first)}-{chr(last)}' for first, last in spans(IGNORABLE_RANGES))}]+")
