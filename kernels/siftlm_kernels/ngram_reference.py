"""Implements `ngram_model.NgramModel.log10` in plain Python, by the definition of backing off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from siftlm_kernels.ngram_model import NgramModel

_64 = (1 << 64) - 1
WORD_FACTOR, CONTEXT_FACTOR = 17894857484156487943, 8978948897894561157


def log10(
    model: NgramModel, values: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns the same as `NgramModel.log10`."""
    found, bounds = list[float](), [0]
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for line in values[start:end].tobytes().split(b"\n"):
            found += _of_line(model, line.split())
        bounds.append(len(found))
    return np.array(found, np.float64), np.array(bounds, np.int64)


def _of_line(model: NgramModel, words: Sequence[bytes]) -> Iterator[float]:
    tokens = [model.word(word) for word in (b"<s>", *words, b"</s>")] if words else []
    for end in range(1, len(tokens)):
        yield _log(model, tokens[max(0, end + 1 - model.order) : end + 1])


def _log(model: NgramModel, ngram: Sequence[int]) -> float:
    """The n-gram's own entry, else the backoff weight of its context and the n-gram without its first word."""
    total = 0.0
    for start in range(len(ngram)):
        entry = _entry(model, ngram[start:])
        if entry is not None:
            return total - abs(entry[0])
        context = _entry(model, ngram[start:-1])
        total += context[1] if context is not None else 0.0
    raise AssertionError(f"every word must have an entry of its own, {ngram[-1]} has none")


def _entry(model: NgramModel, ngram: Sequence[int]) -> tuple[float, float] | None:
    """(log10 p, backoff weight) of an n-gram, or None where the model has no such."""
    floats, layout = model.table.view(np.float32), model.layout
    if len(ngram) == 1:
        place = layout.unigrams + 2 * ngram[0]
        return float(floats[place]), float(floats[place + 1])
    key = ngram[-1]
    for word in reversed(ngram[:-1]):
        key = (key * CONTEXT_FACTOR & _64) ^ ((word + 1) * WORD_FACTOR & _64)
    base, buckets = layout.longer[len(ngram) - 2]
    width = 4 if len(ngram) < layout.order else 3
    bucket = key % buckets
    for _ in range(buckets):
        place = base + width * bucket
        found = int(model.table[place]) | int(model.table[place + 1]) << 32
        if found in (0, key):
            return (float(floats[place + 2]), float(floats[place + 3]) if width == 4 else 0.0) if found else None
        bucket = (bucket + 1) % buckets
    return None
