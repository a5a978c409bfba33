"""Hashes lines or paragraphs of documents, and removes some of them from a text.

All functions take ragged text: `values`, uint8 bytes, and `offsets`, int64 (documents + 1), where document i is
`values[offsets[i]:offsets[i + 1]]`. They release the GIL and have no state: call them from several threads.

A document is the list of its lines, `text.split(b"\\n")`; a line is blank where `line.strip()` is empty (ASCII
whitespace, so a carriage return before the line feed does not count). A paragraph, by `unit`, is

    line        one line that is not blank: its content is `line.strip()`. What CCNet and Dolma call a paragraph.
    paragraph   a longest run of lines that are not blank: its content is `b"\\n".join(run).strip()`. The blank lines
                that follow it go with it.

Those whose content is shorter than `min_bytes` are left alone.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels import paragraphs_reference

Implementation = Literal["auto", "reference"]
Unit = Literal["line", "paragraph"]
Values = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def paragraphs(
    values: Values, offsets: Offsets, *, unit: Unit = "line", min_bytes: int = 1, impl: Implementation = "auto"
) -> tuple[NDArray[np.uint64], Offsets]:
    """Returns `xxh64(content)` of all paragraphs in order, and their offsets: document i has [bounds[i]:bounds[i + 1]].

    XXH64 with seed 0 (Collet's specification). The odds that any two of n different contents share a hash are
    n^2 / 2^65: 3e-8 for 1e6, 3 % for 1e9.
    """
    values, offsets = _checked(values, offsets, min_bytes)
    if impl == "reference":
        return paragraphs_reference.paragraphs(values, offsets, unit, min_bytes)
    bounds = np.zeros(len(offsets), np.int64)
    out = np.empty(int(offsets[-1] - offsets[0]) // (min_bytes + 1) + len(offsets), np.uint64)
    _kernel().hashes(values, offsets, unit == "paragraph", min_bytes, out, bounds)
    return out[: bounds[-1]].copy(), bounds


def cut_spans(
    values: Values,
    offsets: Offsets,
    cut: NDArray[np.bool_],
    *,
    unit: Unit = "line",
    min_bytes: int = 1,
    impl: Implementation = "auto",
) -> tuple[NDArray[np.int64], Offsets]:
    """Returns the bytes to remove, int64 (spans, 2) of [start, end) from the document's first byte, and their offsets.

    `cut` says of every paragraph, as `paragraphs` lists them, whether it goes. What is left is `b"\\n".join` of the
    lines that are in no paragraph that goes; nothing, where all of these are blank and a paragraph goes. Spans of one
    document rise and do not touch.
    """
    values, offsets = _checked(values, offsets, min_bytes)
    if impl == "reference":
        return paragraphs_reference.cut_spans(values, offsets, cut, unit, min_bytes)
    bounds = np.zeros(len(offsets), np.int64)
    out = np.empty((int(np.count_nonzero(cut)), 2), np.int64)
    _kernel().spans(values, offsets, _read_only(cut, np.bool_), unit == "paragraph", min_bytes, out, bounds)
    return out[: bounds[-1]].copy(), bounds


def without_spans(
    values: Values, offsets: Offsets, spans: NDArray[np.int64], bounds: Offsets
) -> tuple[Values, Offsets]:
    """Returns ragged text without the bytes of `spans`, int64 (spans, 2), [bounds[i]:bounds[i + 1]] for document i.

    Raises:
        ValueError: the spans of a document do not rise, or reach beyond it.
    """
    values, offsets = _checked(values, offsets, 1)
    spans, bounds = _read_only(spans, np.int64), _read_only(bounds, np.int64)
    ends = np.zeros(len(offsets), np.int64)
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    wrong = _kernel().remove(values, offsets, spans, bounds, out, ends)
    if wrong >= 0:
        raise ValueError(f"spans: must rise within their document, got others in document {wrong}")
    return out[: ends[-1]], ends


def warm() -> None:
    """Compiles every kernel of this module, or loads it from numba's cache, so that no later call has to."""
    values, offsets = np.frombuffer(b"a\nb", np.uint8), np.array([0, 3])
    keys, _ = paragraphs(values, offsets)
    without_spans(values, offsets, *cut_spans(values, offsets, np.ones(len(keys), np.bool_)))


def _kernel() -> Any:
    """The compiled functions; numba is imported by the first call, not with this module."""
    from siftlm_kernels import paragraphs_kernel

    return paragraphs_kernel


def _checked(values: Values, offsets: Offsets, min_bytes: int) -> tuple[Values, Offsets]:
    if min_bytes < 1:
        raise ValueError(f"min_bytes: must be at least 1, got {min_bytes}")
    if len(offsets) < 1 or offsets[0] < 0 or offsets[-1] > len(values) or np.any(np.diff(offsets) < 0):
        raise ValueError(f"offsets: must rise from 0 or more to at most the {len(values)} bytes of values")
    return _read_only(values, np.uint8), _read_only(offsets, np.int64)


def _read_only(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """A contiguous read-only view, for which the kernels are compiled."""
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False
    return view
