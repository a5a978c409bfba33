"""Compiles the quick check for Unicode's normal form C (Unicode Standard Annex 15, section 9)."""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import compiled

LEAD = 0xCC  # of U+0300, below which no code point but the soft hyphen has an order
IGNORABLE, CHANGING = 254, 255  # orders that are no combining class

_HIGH = np.uint64(0x8080808080808080)
_1, _2, _3, _4, _5 = (np.uint64(shift) for shift in (1, 2, 3, 4, 5))


@compiled
def _has_lead(chunk: Any) -> bool:
    """Whether one of eight bytes is 0xCC or more: its bits are 11, then a 1 among the next two or two after those."""
    rest = (chunk << _2) | (chunk << _3) | ((chunk << _4) & (chunk << _5))
    return bool(chunk & (chunk << _1) & rest & _HIGH)


@compiled
def _look(values: Any, at: int, stop: int, end: int, order: Any, before: int) -> int:
    """The order of the last code point that begins in `values[at:stop]`, or CHANGING where the text may change."""
    for i in range(at, stop):
        lead = int(values[i])
        if 0x80 <= lead < 0xC2:  # inside a code point, or no UTF-8
            continue
        size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if lead < 0x80 or (0xC2 < lead < LEAD) or i + size > end:
            before = 0
            continue
        point = lead & (0x7F >> size)
        for k in range(1, size):
            point = point << 6 | int(values[i + k]) & 0x3F
        now = int(order[min(point, len(order) - 1)])
        if now == CHANGING or 0 < now < before:
            return CHANGING
        if now != IGNORABLE:
            before = now
    return before


@compiled
def _may_change(values: Any, chunks: Any, begin: int, end: int, order: Any) -> bool:
    """Whether normal form C may differ from the UTF-8 text in `values[begin:end]`.

    Eight bytes without a code point that has an order are passed over. What they hold may be soft hyphens, so the
    order before them counts on: that says "may" too often, never too seldom.
    """
    first, last = -(-begin // 8), end // 8
    if first >= last:
        return _look(values, begin, end, end, order, 0) == CHANGING
    before = _look(values, begin, 8 * first, end, order, 0)
    for chunk in range(first, last):
        if before == CHANGING:
            return True
        if _has_lead(chunks[chunk]):
            before = _look(values, 8 * chunk, 8 * chunk + 8, end, order, before)
    return before == CHANGING or _look(values, 8 * last, end, end, order, before) == CHANGING


@compiled
def find_changing(values: Any, chunks: Any, offsets: Any, order: Any, out: Any) -> None:
    """Fills `out` with which documents normal form C may change, bool (documents,).

    `chunks` is a view of `values` as uint64. Bytes that are not UTF-8 give an answer of no meaning and are never
    read past.
    """
    for row in range(len(out)):
        out[row] = _may_change(values, chunks, offsets[row], offsets[row + 1], order)
