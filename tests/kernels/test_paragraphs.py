"""Paragraphs against the reading of their docstring, against `xxhash`, and against joining the lines that stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from siftlm_kernels.paragraphs import Unit, cut_spans, paragraphs, without_spans

LONG = b"long enough for a whole stripe of the hash"
PIECES = st.sampled_from([b"a", b"bb", LONG, b"\n", b"\n\n", b"\r\n", b" ", b"\t"])
TEXTS = st.lists(st.lists(PIECES, max_size=16).map(b"".join) | st.text(max_size=40).map(str.encode), max_size=4)
UNITS = st.sampled_from(["line", "paragraph"])
Ragged = tuple[NDArray[np.uint8], NDArray[np.int64]]


def ragged(texts: Sequence[bytes]) -> Ragged:
    """(values, offsets) of texts, which begin in the middle of the values."""
    return np.frombuffer(b"\nbefore" + b"".join(texts), np.uint8), np.cumsum([7, *map(len, texts)])


def unragged(values: NDArray[np.uint8], offsets: NDArray[np.int64]) -> list[bytes]:
    return [values[a:b].tobytes() for a, b in pairwise(offsets)]


def contents(text: bytes, unit: str) -> list[bytes]:
    """The contents of all paragraphs, by other means than the package's: a regular expression finds blank lines."""
    parts = text.split(b"\n") if unit == "line" else re.split(rb"\n(?:[ \t\r\v\f]*(?:\n|\Z))+|\A[ \t\r\v\f]*\n", text)
    return [part.strip() for part in parts if part.strip()]


@settings(max_examples=200, deadline=None)
@given(TEXTS, UNITS, st.integers(1, 4))
def test_the_hashes_are_xxh64_of_what_strip_leaves(texts: list[bytes], unit: Unit, min_bytes: int) -> None:
    """In order, document by document, and without the short ones."""
    keys, bounds = paragraphs(*ragged(texts), unit=unit, min_bytes=min_bytes)
    expected = [[c for c in contents(text, unit) if len(c) >= min_bytes] for text in texts]
    assert np.diff(bounds).tolist() == [len(found) for found in expected]
    assert keys.tolist() == [xxhash.xxh64_intdigest(c) for found in expected for c in found]


@pytest.mark.parametrize("size", [*range(1, 70), 1000, 4099])
def test_the_hash_is_xxh64_at_every_length(size: int) -> None:
    """Stripes, words and single bytes of the algorithm all have their turn."""
    text = np.random.default_rng(size).integers(33, 256, size, dtype=np.uint8).tobytes()
    assert paragraphs(*ragged([text]))[0].tolist() == [xxhash.xxh64_intdigest(text)]


@settings(max_examples=200, deadline=None)
@given(TEXTS, UNITS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_the_kernel_equals_the_docstring(texts: list[bytes], unit: Unit, min_bytes: int, random: object) -> None:
    """Hashes, and spans for any choice of paragraphs."""
    options = {"unit": unit, "min_bytes": min_bytes}
    keys, bounds = paragraphs(*ragged(texts), **options)
    for fast, slow in zip((keys, bounds), paragraphs(*ragged(texts), **options, impl="reference"), strict=True):
        assert np.array_equal(fast, slow)
    cut = np.array([random.random() < 0.5 for _ in keys], np.bool_)  # type: ignore[attr-defined]
    expected = cut_spans(*ragged(texts), cut, **options, impl="reference")
    for fast, slow in zip(cut_spans(*ragged(texts), cut, **options), expected, strict=True):
        assert np.array_equal(fast, slow)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sets(st.sampled_from([b"a", b"bb", b"aa", b"a bb", b"abb"])))
def test_what_is_left_is_the_other_lines_joined(texts: list[bytes], known: set[bytes]) -> None:
    """Nothing, where only blank lines would be left; and the spans put what was removed back in its place."""
    keys, _ = paragraphs(*ragged(texts))
    cut = np.isin(keys, np.array([xxhash.xxh64_intdigest(line) for line in known], np.uint64))
    spans, bounds = cut_spans(*ragged(texts), cut)
    left = unragged(*without_spans(*ragged(texts), spans, bounds))
    for n, text in enumerate(texts):
        stay = [line for line in text.split(b"\n") if line.strip() not in known]
        emptied = len(stay) < len(text.split(b"\n")) and not b"".join(stay).strip()
        assert left[n] == (b"" if emptied else b"\n".join(stay))
        back = left[n]
        for start, end in spans[bounds[n] : bounds[n + 1]]:
            assert start < end
            back = back[:start] + text[start:end] + back[start:]
        assert back == text


@pytest.mark.parametrize(
    ("text", "unit", "cut", "left"),
    [
        ("a\nb\nc", "line", [0, 1, 0], "a\nc"),
        ("a\nb\nc", "line", [0, 0, 1], "a\nb"),
        ("a\nb\n", "line", [0, 1], "a\n"),
        ("a\r\nb\r\nc\r\n", "line", [0, 1, 0], "a\r\nc\r\n"),
        ("\n  a\n\n", "line", [1], ""),
        ("x\na\n\nc", "line", [0, 1, 1], "x\n"),
        ("été\n日本\n", "line", [1, 0], "日本\n"),
        ("a\nb\n\n \nc\nd\n\ne", "paragraph", [0, 1, 0], "a\nb\n\n \ne"),
        ("a\r\n\r\nb\r\n\r\nc", "paragraph", [1, 0, 0], "b\r\n\r\nc"),
        ("a\n\nb", "paragraph", [1, 1], ""),
    ],
)
def test_examples(text: str, unit: Unit, cut: list[int], left: str) -> None:
    spans, bounds = cut_spans(*ragged([text.encode()]), np.array(cut, np.bool_), unit=unit)
    assert unragged(*without_spans(*ragged([text.encode()]), spans, bounds)) == [left.encode()]


def test_a_line_of_50_megabytes_is_one_paragraph() -> None:
    """Beside a short one; cut, the short one is left."""
    line = np.random.default_rng(0).integers(97, 123, 50 << 20, dtype=np.uint8).tobytes()
    keys, _ = paragraphs(*ragged([b"short\n" + line]))
    assert keys.tolist() == [xxhash.xxh64_intdigest(b"short"), xxhash.xxh64_intdigest(line)]
    spans, bounds = cut_spans(*ragged([b"short\n" + line]), np.array([False, True]))
    assert unragged(*without_spans(*ragged([b"short\n" + line]), spans, bounds)) == [b"short"]


@pytest.mark.parametrize("spans", [[(0, 4)], [(2, 1)], [(-1, 1)], [(1, 2), (0, 1)]])
def test_spans_beyond_their_document_are_refused(spans: list[tuple[int, int]]) -> None:
    """The kernel writes to no place that is not its own."""
    with pytest.raises(ValueError, match="spans: must rise within their document, got others in document 1"):
        without_spans(*ragged([b"", b"abc"]), np.array(spans), np.array([0, 0, len(spans)]))


def test_no_documents_have_no_paragraphs() -> None:
    keys, bounds = paragraphs(*ragged([]))
    assert (keys.tolist(), bounds.tolist()) == ([], [0])
    assert unragged(*without_spans(*ragged([]), np.zeros((0, 2), np.int64), np.zeros(1, np.int64))) == []


def test_a_paragraph_has_a_byte() -> None:
    with pytest.raises(ValueError, match="min_bytes: must be at least 1, got 0"):
        paragraphs(*ragged([b"a"]), min_bytes=0)
