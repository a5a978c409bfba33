"""Compiles the functions of `commonness`, which count n-grams in a table and read probabilities from it.

All that may change is in this one file, because numba's cache looks at the file of the outermost function alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.logarithm import LN2, ln
from siftlm_kernels.splitmix import mix

FACTOR = np.uint64(0x9E3779B97F4A7C15)
TINY, TINY_BITS = 2.0**-512, 512


@compiled
def _buckets(words: Any, start: Integer, at: Integer, shift: Any, out: Any) -> Integer:
    """Fills `out[k]` with the bucket of the k + 1 words that end at `words[at]`; returns how many there are."""
    total, power, orders = np.uint64(0), np.uint64(1), min(len(out), at - start + 1)
    for k in range(orders):
        total += words[at - k] * power
        power *= FACTOR
        out[k] = np.int64(mix(total) >> shift)
    return orders


@compiled
def count(words: Any, bounds: Any, ngram: Integer, shift: Any, table: Any) -> None:
    """Adds the n-grams of every document to `table`, and the number of its words to the last entry."""
    buckets = np.empty(ngram, np.int64)
    for row in range(len(bounds) - 1):
        table[len(table) - 1] += bounds[row + 1] - bounds[row]
        for at in range(bounds[row], bounds[row + 1]):
            for k in range(_buckets(words, bounds[row], at, shift, buckets)):
                table[buckets[k]] += 1


@compiled
def _slot(keys: Any, mask: Integer, bucket: Integer) -> Integer:
    """Where a bucket is among the document's own, or the free slot (-1) where it belongs."""
    slot = bucket & mask
    while keys[slot] != bucket and keys[slot] != -1:
        slot = (slot + 1) & mask
    return slot


@compiled
def _collect(words: Any, start: Integer, end: Integer, shift: Any, buckets: Any, keys: Any, own: Any) -> Integer:
    """Counts the document's own n-grams by bucket in a hash table; returns its mask. Keeps the buckets."""
    size = 2
    while size < 2 * buckets.shape[1] * (end - start):
        size *= 2
    keys[:size] = -1
    for at in range(start, end):
        for k in range(_buckets(words, start, at, shift, buckets[at - start])):
            slot = _slot(keys, size - 1, buckets[at - start, k])
            if keys[slot] == -1:
                keys[slot], own[slot] = buckets[at - start, k], 0
            own[slot] += 1
    return size - 1


@compiled
def mean_nll(words: Any, bounds: Any, ngram: Integer, shift: Any, prior: Any, table: Any, out: Any) -> None:
    """Fills `out`, float64 (documents,), with each document's mean negative log-likelihood of a word in nats.

    NaN for a document without words, or where no other document has any.
    """
    longest = 1
    for row in range(len(out)):
        longest = max(longest, bounds[row + 1] - bounds[row])
    size = 2
    while size < 2 * ngram * longest:
        size *= 2
    buckets = np.empty((longest, ngram), np.int64)
    keys, own = np.empty(size, np.int64), np.empty(size, np.int64)
    for row in range(len(out)):
        start, count = bounds[row], bounds[row + 1] - bounds[row]
        others = table[len(table) - 1] - count
        if count == 0 or others == 0:
            out[row] = np.nan
            continue
        mask = _collect(words, start, start + count, shift, buckets, keys, own)
        product, scale = 1.0, 0
        for at in range(count):
            probability, context = 1.0, others
            for k in range(min(ngram, at + 1)):
                if k:
                    before = buckets[at - 1, k - 1]
                    context = table[before] - own[_slot(keys, mask, before)]
                bucket = buckets[at, k]
                grams = min(table[bucket] - own[_slot(keys, mask, bucket)], context)
                probability = (grams + prior * probability) / (context + prior)
            product *= probability
            if product < TINY:
                product, scale = product / TINY, scale + TINY_BITS
        out[row] = (scale * LN2 - ln(product)) / count
