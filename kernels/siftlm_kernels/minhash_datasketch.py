"""Compiles the computation of datasketch's own MinHash signatures.

They are the SHA-1 of each shingle's UTF-8, then datasketch 2.0's affine32 family.

SHA-1 follows FIPS 180-4, section 6.1; the permutations follow the documentation of datasketch 2.0's `MinHash`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.compiling import Integer, compiled

_INITIAL = np.array([0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0], np.uint32)
_ROUNDS = np.array([0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6], np.uint32)


@compiled
def _rotate(value: Any, bits: Integer) -> Any:
    return np.uint32(np.uint32(value << bits) | np.uint32(value >> (32 - bits)))


@compiled
def _compress(state: Any, schedule: Any) -> None:
    """One block of 16 big-endian words, the first of `schedule`, into `state`."""
    for t in range(16, 80):
        mixed = schedule[t - 3] ^ schedule[t - 8] ^ schedule[t - 14] ^ schedule[t - 16]
        schedule[t] = _rotate(mixed, 1)
    a, b, c, d, e = state[0], state[1], state[2], state[3], state[4]
    for t in range(80):
        stage = t // 20
        if stage == 0:
            f = (b & c) | (~b & d)
        elif stage == 2:
            f = (b & c) | (b & d) | (c & d)
        else:
            f = b ^ c ^ d
        new = np.uint32(np.uint32(_rotate(a, 5) + f) + np.uint32(e + _ROUNDS[stage]) + schedule[t])
        a, b, c, d, e = new, a, _rotate(b, 30), c, d
    state[0], state[1], state[2] = state[0] + a, state[1] + b, state[2] + c
    state[3], state[4] = state[3] + d, state[4] + e


@compiled
def _byte(message: Any, length: Integer, k: Integer, padded: Integer) -> Integer:
    """Byte k of the padded message: the text, 0x80, zeros, and its length in bits as 8 bytes."""
    if k < length:
        return int(message[k])
    if k == length:
        return 0x80
    return (8 * length) >> (8 * (padded - 1 - k)) & 0xFF if k >= padded - 8 else 0


@compiled
def _sha1_low(message: Any, state: Any, schedule: Any) -> Any:
    """The first four bytes of the SHA-1 digest as a little-endian integer, datasketch's `sha1_hash32`."""
    length = len(message)
    padded = (length + 8) // 64 * 64 + 64
    state[:] = _INITIAL
    for start in range(0, padded, 64):
        for t in range(16):
            word = np.uint32(0)
            for k in range(start + 4 * t, start + 4 * t + 4):
                word = np.uint32(word << 8) | np.uint32(_byte(message, length, k, padded))
            schedule[t] = word
        _compress(state, schedule)
    h = state[0]
    return np.uint32(h >> 24 | (h >> 8 & 0xFF00) | (h << 8 & 0xFF0000) | (h & 0xFF) << 24)


@compiled
def _finish(h: Any) -> Any:
    """MurmurHash3's 32-bit finaliser, which datasketch applies before its permutations."""
    h = np.uint32((h ^ h >> 16) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ h >> 13) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ h >> 16)


@compiled
def _starts(text: Any, starts: Any) -> Integer:
    """Where each word of `text` begins, then its length + 1, into `starts`; returns how many words."""
    count = 0
    for k in range(len(text)):
        if k == 0 or text[k - 1] == 0x20:
            starts[count] = k
            count += 1
    starts[count] = len(text) + 1
    return count


@compiled
def signatures(values: Any, offsets: Any, ngram: Integer, a: Any, b: Any, out: Any) -> None:
    """Fills `out`, uint32 (documents, permutations), with signatures of texts whose words are joined by one space."""
    state, schedule = np.empty(5, np.uint32), np.empty(80, np.uint32)
    out[:] = np.uint32(0xFFFFFFFF)
    for row in range(len(out)):
        text = values[offsets[row] : offsets[row + 1]]
        starts = np.empty(len(text) // 2 + 3, np.int64)
        count = _starts(text, starts)
        for k in range(max(min(count, 1), count - ngram + 1)):
            stop = starts[min(k + ngram, count)] - 1
            h = _finish(_sha1_low(text[starts[k] : stop], state, schedule))
            for p in range(len(a)):
                out[row, p] = min(out[row, p], np.uint32(a[p] * h + b[p]))


def permutation_family(permutations: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Returns the odd factors and the offsets of datasketch's scheme affine32, from numpy's `RandomState(seed)`."""
    generator = np.random.RandomState(seed)  # datasketch's seeds mean this generator
    a = generator.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    b = generator.randint(0, 1 << 32, permutations, dtype=np.uint32)
    return a, b
