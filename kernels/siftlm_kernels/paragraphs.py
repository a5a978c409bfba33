"""Hashes lines or paragraphs of documents, and removes some of them from a text.

All functions take ragged text (`ragged`), release the GIL and have no state: call them from several threads.

A document is the list of its lines, `text.split(b"\\n")`; a line is blank where `line.strip()` is empty (ASCII
whitespace, so a carriage return before the line feed does not count). A paragraph, by `unit`, is

    line        one line that is not blank: its content is `line.strip()`. What CCNet and Dolma call a paragraph.
    paragraph   a longest run of lines that are not blank: its content is `b"\\n".join(run).strip()`. The blank lines
                that follow it go with it.

Those whose content is shorter than `min_bytes` are left alone.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels import paragraphs_reference
from siftlm_kernels.ragged import Offsets, Values, at_least_1, checked, read_only

Implementation = Literal["auto", "reference"]
Unit = Literal["line", "paragraph"]

_kernel = partial(import_module, "siftlm_kernels.paragraphs_kernel")  # numba is imported by the first call


def paragraphs(
    values: Values, offsets: Offsets, *, unit: Unit = "line", min_bytes: int = 1, impl: Implementation = "auto"
) -> tuple[NDArray[np.uint64], Offsets]:
    """Returns the 64-bit hash of each paragraph in order, and the offsets of each document's paragraphs.

    The hash is `xxh64(content)`; document i has [bounds[i]:bounds[i + 1]].
    XXH64 with seed 0 (Collet's specification). The odds that any two of n different contents share a hash are
    n^2 / 2^65: 3e-8 for 1e6, 3 % for 1e9.
    """
    at_least_1("min_bytes", min_bytes)
    values, offsets = checked(values, offsets)
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
    """Returns the byte ranges that remove the marked paragraphs, and the offsets of each document's ranges.

    Ranges are int64 (spans, 2) of [start, end) from the document's first byte.
    `cut` says of every paragraph, as `paragraphs` lists them, whether it goes. What is left is `b"\\n".join` of the
    lines that are in no paragraph that goes; nothing, where all of these are blank and a paragraph goes. Spans of one
    document rise and do not touch.
    """
    at_least_1("min_bytes", min_bytes)
    values, offsets = checked(values, offsets)
    if impl == "reference":
        return paragraphs_reference.cut_spans(values, offsets, cut, unit, min_bytes)
    bounds = np.zeros(len(offsets), np.int64)
    out = np.empty((int(np.count_nonzero(cut)), 2), np.int64)
    _kernel().spans(values, offsets, read_only(cut, np.bool_), unit == "paragraph", min_bytes, out, bounds)
    return out[: bounds[-1]].copy(), bounds


def without_spans(
    values: Values, offsets: Offsets, spans: NDArray[np.int64], bounds: Offsets
) -> tuple[Values, Offsets]:
    """Returns the ragged text without the bytes of `spans`, int64 (spans, 2).

    Document i has the spans [bounds[i]:bounds[i + 1]].

    Raises:
        ValueError: the spans of a document do not rise, or reach beyond it.
    """
    values, offsets = checked(values, offsets)
    spans, bounds = read_only(spans, np.int64), read_only(bounds, np.int64)
    ends = np.zeros(len(offsets), np.int64)
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    wrong = _kernel().remove(values, offsets, spans, bounds, out, ends)
    if wrong >= 0:
        raise ValueError(f"spans: must rise within their document, got others in document {wrong}")
    return out[: ends[-1]], ends
