"""Implements the functions of `commonness` in plain Python, by the definitions in their docstrings."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.minhash_reference import GOLDEN, mix, shingle_hash, texts_of, words

_64 = (1 << 64) - 1


def count_ngrams(values: NDArray[np.uint8], offsets: NDArray[np.int64], table: NDArray[np.int64], ngram: int) -> None:
    """Adds the n-grams to `table` as `siftlm_kernels.commonness.count_ngrams` does."""
    for text in texts_of(values, offsets):
        rows = runs(text, ngram, len(table) - 1)
        table[-1] += len(rows)
        for bucket in (bucket for row in rows for bucket in row):
            table[bucket] += 1


def mean_nll(
    values: NDArray[np.uint8], offsets: NDArray[np.int64], table: NDArray[np.int64], ngram: int, prior: float
) -> NDArray[np.float64]:
    """Returns the same array as `siftlm_kernels.commonness.mean_nll`."""
    return np.array([_mean_nll(text, table, ngram, prior) for text in texts_of(values, offsets)], np.float64)


def _mean_nll(text: bytes, table: NDArray[np.int64], ngram: int, prior: float) -> float:
    rows = runs(text, ngram, len(table) - 1)
    own = Counter(bucket for row in rows for bucket in row)
    if not rows or table[-1] == len(rows):
        return math.nan
    total = 0.0
    for before, row in zip([[], *rows], rows, strict=False):
        contexts = [int(table[-1]) - len(rows), *(int(table[bucket]) - own[bucket] for bucket in before)]
        probability = 1.0
        for bucket, context in zip(row, contexts, strict=False):
            grams = min(int(table[bucket]) - own[bucket], context)
            probability = (grams + prior * probability) / (context + prior)
        total -= math.log(probability)
    return total / len(rows)


def runs(text: bytes, ngram: int, buckets: int) -> list[list[int]]:
    """Returns, for each word, the buckets of the runs of 1 to `ngram` words that end with it."""
    hashes = [shingle_hash([word]) for word in words(text) if word]
    shift = 64 - (buckets.bit_length() - 1)
    return [
        [mix(sum(hashes[i - j] * GOLDEN**j for j in range(k)) & _64) >> shift for k in range(1, min(ngram, i + 1) + 1)]
        for i in range(len(hashes))
    ]
