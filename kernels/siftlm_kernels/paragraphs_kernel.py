"""Compiles the functions of `paragraphs`: finding, hashing and removing paragraphs.

XXH64 is that of Yann Collet's specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md), seed 0. Everything
compiled is in this one file, because numba's cache looks at the file of the outermost function alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled

PRIME_1, PRIME_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
PRIME_3, PRIME_4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
PRIME_5 = np.uint64(0x27D4EB2F165667C5)
_START_1, _START_4 = np.uint64(0x60EA27EEADC0B5D6), np.uint64(0x61C8864E7A143579)  # PRIME_1 + PRIME_2, -PRIME_1
_64 = np.uint64(64)
_LINE_FEED = np.uint8(10)


@compiled
def _read(values: Any, at: Integer, size: Integer) -> Any:
    """`size` bytes as a little-endian number; LLVM makes one load of it."""
    word = np.uint64(0)
    for k in range(size):
        word |= np.uint64(values[at + k]) << np.uint64(8 * k)
    return word


@compiled
def _rotate(word: Any, bits: Any) -> Any:
    return word << np.uint64(bits) | word >> (_64 - np.uint64(bits))


@compiled
def _round(lane: Any, word: Any) -> Any:
    return _rotate(lane + word * PRIME_2, 31) * PRIME_1


@compiled
def _merge(h: Any, lane: Any) -> Any:
    return (h ^ _round(np.uint64(0), lane)) * PRIME_1 + PRIME_4


@compiled
def _xxh64(values: Any, start: Integer, stop: Integer) -> Any:
    """XXH64, seed 0, of `values[start:stop]`."""
    at, h = start, PRIME_5
    if stop - start >= 32:
        a, b, c, d = _START_1, PRIME_2, np.uint64(0), _START_4
        while at + 32 <= stop:
            a, b = _round(a, _read(values, at, 8)), _round(b, _read(values, at + 8, 8))
            c, d = _round(c, _read(values, at + 16, 8)), _round(d, _read(values, at + 24, 8))
            at += 32
        h = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
        h = _merge(_merge(_merge(_merge(h, a), b), c), d)
    h += np.uint64(stop - start)
    while at + 8 <= stop:
        h = _rotate(h ^ _round(np.uint64(0), _read(values, at, 8)), 27) * PRIME_1 + PRIME_4
        at += 8
    if at + 4 <= stop:
        h = _rotate(h ^ _read(values, at, 4) * PRIME_1, 23) * PRIME_2 + PRIME_3
        at += 4
    while at < stop:
        h = _rotate(h ^ np.uint64(values[at]) * PRIME_5, 11) * PRIME_1
        at += 1
    h = (h ^ (h >> np.uint64(33))) * PRIME_2
    h = (h ^ (h >> np.uint64(29))) * PRIME_3
    return h ^ (h >> np.uint64(32))


@compiled
def _line_end(values: Any, at: Integer, end: Integer) -> Integer:
    while at < end and values[at] != _LINE_FEED:
        at += 1
    return at


@compiled
def _stripped(values: Any, start: Integer, stop: Integer) -> tuple[Integer, Integer]:
    """The bounds of `values[start:stop].strip()`, both `stop` where nothing is left."""
    while start < stop and (values[start] == 32 or 9 <= values[start] <= 13):
        start += 1
    while start < stop and (values[stop - 1] == 32 or 9 <= values[stop - 1] <= 13):
        stop -= 1
    return start, stop


@compiled
def _next(values: Any, at: Integer, end: Integer, blank_ends: Any) -> tuple[Integer, Integer, Integer]:
    """(content start, its stop, start of the next) of the paragraph or blank line at `at`; a line past `end` is none.

    `blank_ends`: a paragraph ends at a blank line only, not at every line.
    """
    line = _line_end(values, at, end)
    start, stop = _stripped(values, at, line)
    if not blank_ends or start == stop:
        return start, stop, line + 1
    after, blank = line + 1, False
    while after <= end:
        line = _line_end(values, after, end)
        first, last = _stripped(values, after, line)
        if first < last:
            if blank:
                break
            stop = last
        blank = blank or first == last
        after = line + 1
    return start, stop, after


@compiled
def hashes(values: Any, offsets: Any, blank_ends: Any, min_bytes: Integer, out: Any, bounds: Any) -> None:
    """Fills `out` with the hash of each paragraph, and `bounds` with the range of each document's hashes."""
    n = 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        while at <= end:
            start, stop, at = _next(values, at, end, blank_ends)
            if stop - start >= min_bytes:
                out[n] = _xxh64(values, start, stop)
                n += 1
        bounds[i + 1] = n


@compiled
def spans(values: Any, offsets: Any, cut: Any, blank_ends: Any, min_bytes: Integer, out: Any, bounds: Any) -> None:
    """Fills `out` with the byte spans of paragraphs marked in `cut`, and `bounds` with each document's range."""
    n = paragraph = 0
    for i in range(len(offsets) - 1):
        begin, end = offsets[i], offsets[i + 1]
        at, left = begin, False
        first = n
        while at <= end:
            start, stop, after = _next(values, at, end, blank_ends)
            goes = False
            if stop - start >= min_bytes:
                goes = cut[paragraph]
                paragraph += 1
            if goes and n > first and out[n - 1, 1] == at - begin:
                out[n - 1, 1] = after - begin
            elif goes:
                out[n, 0], out[n, 1] = at - begin, after - begin
                n += 1
            left = left or (start < stop and not goes)
            at = after
        if n > first and not left:
            out[first, 0], out[first, 1] = 0, end - begin
            n = first + 1
        elif n > first and out[n - 1, 1] > end - begin:  # with the line feed before instead of the one after
            out[n - 1, 0], out[n - 1, 1] = out[n - 1, 0] - 1, end - begin
            if n - 1 > first and out[n - 2, 1] == out[n - 1, 0]:
                out[n - 2, 1] = end - begin
                n -= 1
        bounds[i + 1] = n


@compiled
def remove(values: Any, offsets: Any, spans: Any, bounds: Any, out: Any, ends: Any) -> Integer:
    """Fills `out` with the text without the spans; returns the first document whose spans are wrong, else -1."""
    to = 0
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        for k in range(bounds[i], bounds[i + 1]):
            start, stop = offsets[i] + spans[k, 0], offsets[i] + spans[k, 1]
            if start < at or stop < start or stop > end:
                return i
            out[to : to + start - at] = values[at:start]
            to += start - at
            at = stop
        out[to : to + end - at] = values[at:end]
        to += end - at
        ends[i + 1] = to
    return -1
