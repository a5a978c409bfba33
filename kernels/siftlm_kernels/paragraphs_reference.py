"""Implements the functions of `paragraphs` in plain Python, by the definitions in their docstrings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from itertools import pairwise

import numpy as np
import xxhash
from numpy.typing import NDArray

from siftlm_kernels.ragged import Offsets, Values

Lines = list[bytes]


def paragraphs(values: Values, offsets: Offsets, unit: str, min_bytes: int) -> tuple[NDArray[np.uint64], Offsets]:
    """Returns the same arrays as `siftlm_kernels.paragraphs.paragraphs`."""
    hashes = [
        [xxhash.xxh64_intdigest(content) for content, _, _ in _paragraphs(lines, unit, min_bytes)]
        for lines in _documents(values, offsets)
    ]
    return np.array([key for keys in hashes for key in keys], np.uint64), _bounds(hashes)


def cut_spans(
    values: Values, offsets: Offsets, cut: NDArray[np.bool_], unit: str, min_bytes: int
) -> tuple[NDArray[np.int64], Offsets]:
    """Returns the same arrays as `siftlm_kernels.paragraphs.cut_spans`."""
    going = iter(cut.tolist())
    spans = []
    for lines in _documents(values, offsets):
        gone = {n for _, first, end in _paragraphs(lines, unit, min_bytes) if next(going) for n in range(first, end)}
        if gone and not any(line.strip() for n, line in enumerate(lines) if n not in gone):
            gone = set(range(len(lines)))
        spans.append(_spans(lines, gone))
    return np.array([span for each in spans for span in each], np.int64).reshape(-1, 2), _bounds(spans)


def _bounds(ragged: Sequence[Sized]) -> Offsets:
    return np.cumsum([0, *map(len, ragged)], dtype=np.int64)


def _documents(values: Values, offsets: Offsets) -> Iterator[Lines]:
    for start, end in pairwise(offsets.tolist()):
        yield values[start:end].tobytes().split(b"\n")


def _paragraphs(lines: Lines, unit: str, min_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """(content, first line, line after the last one that goes with it) of every paragraph."""
    n = 0
    while n < len(lines):
        first, end = n, n + 1
        if unit == "paragraph" and lines[n].strip():
            while end < len(lines) and lines[end].strip():
                end += 1
        content = b"\n".join(lines[first:end]).strip()
        if unit == "paragraph":
            while end < len(lines) and not lines[end].strip():
                end += 1
        if len(content) >= min_bytes:
            yield content, first, end
        n = end


def _spans(lines: Lines, gone: set[int]) -> list[tuple[int, int]]:
    """Bytes of the lines that go, each with the line feed after it; at the end of the text, with the one before."""
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)]).tolist()
    size = starts[-1] - 1
    spans: list[tuple[int, int]] = []
    for n in sorted(gone):
        if spans and spans[-1][1] == starts[n]:
            spans[-1] = spans[-1][0], starts[n + 1]
        else:
            spans.append((starts[n], starts[n + 1]))
    if len(gone) == len(lines):
        return [(0, size)]
    if spans and spans[-1][1] > size:
        spans[-1] = spans[-1][0] - 1, size
        if len(spans) > 1 and spans[-2][1] == spans[-1][0]:
            spans[-2:] = [(spans[-2][0], size)]
    return spans
