"""Compiles the functions that unpack the tries of KenLM."""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled
from siftlm_kernels.ngram_hash_kernel import insert, longer


@compiled
def unpack(content: Any, base: Integer, stride: Integer, bits: Integer, first: Integer, out: Any) -> None:
    """Fills `out`, uint64, with numbers of at most 57 bits that stand `stride` bits apart, from bit `base` on."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for row in range(len(out)):
        bit = base + (first + row) * stride
        at, shift = bit >> 3, np.uint64(bit & 7)
        number = np.uint64(0)
        for k in range(8):
            number |= np.uint64(content[at + k]) << np.uint64(8 * k)
        out[row] = (number >> shift) & mask


@compiled
def longer_keys(keys: Any, words: Any) -> Any:
    """Returns the key of each n-gram with a word more to its left."""
    out = np.empty(len(keys), np.uint64)
    for row in range(len(keys)):
        out[row] = longer(keys[row], words[row])
    return out


@compiled
def insert_pairs(table: Any, base: Integer, buckets: Integer, keys: Any, firsts: Any, seconds: Any) -> None:
    """Puts entries with two payloads each into a table."""
    for row in range(len(keys)):
        insert(table, base, buckets, 4, keys[row], firsts[row], seconds[row])
