"""Implements MinHash in plain Python, as the specification that tests compare the kernel with."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.normal_form import normal_form
from siftlm_kernels.unicode_words import IGNORED, SEPARATOR, SOLO, simple_lower, word_classes

_64 = (1 << 64) - 1
_32 = (1 << 32) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(h: int) -> int:
    """Returns `h` with its bits mixed by the finaliser of splitmix64."""
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & _64
    h = (h ^ h >> 27) * 0x94D049BB133111EB & _64
    return h ^ h >> 31


def step(h: int, chunk: int) -> int:
    """Returns the hash `h` after 64 more bits are mixed into it."""
    h = (h ^ chunk) * 0xD6E8FEB86659FD93 & _64
    return h ^ h >> 32


def words(text: bytes) -> list[str]:
    """Returns the lower-cased words of a UTF-8 text."""
    classes, lower = word_classes(), simple_lower()
    spaced = ""
    for character in normal_form(text.decode(errors="replace")):
        kind, small = classes[ord(character)], chr(lower[ord(character)])
        assert kind != IGNORED, "the normal form has none of these"
        spaced += " " if kind == SEPARATOR else f" {small} " if kind == SOLO else small
    return spaced.split(" ")


def word_hash(word: str) -> int:
    """Returns the hash of a word (step 2 of `minhash`)."""
    encoded = word.encode()
    encoded += bytes(-len(encoded) % 8)
    h = GOLDEN
    for (chunk,) in struct.iter_unpack("<Q", encoded):
        h = step(h, chunk)
    return h


def shingles(text: bytes, ngram: int) -> list[list[str]]:
    """Returns all runs of `ngram` words, repeats included, or one run of all words where there are fewer."""
    each = [word for word in words(text) if word]
    return [each[i : i + ngram] for i in range(max(1, len(each) - ngram + 1))] if each else []


def shingle_hash(shingle: list[str]) -> int:
    """Returns the hash of a shingle (step 3 of `minhash`)."""
    total = 0
    for word in shingle:
        total = (total * GOLDEN + word_hash(word)) & _64
    return mix(total)


def permutation_family(permutations: int, seed: int) -> list[tuple[int, int]]:
    """Returns the parameters (a, b) of each permutation (step 4 of `minhash`)."""
    draws = [mix((seed + (p + 1) * GOLDEN) & _64) for p in range(permutations)]
    return [(z >> 32 | 1, z & _32) for z in draws]


def minhash(
    values: NDArray[np.uint8], offsets: NDArray[np.int64], ngram: int, permutations: int, seed: int
) -> NDArray[np.uint32]:
    """Returns the signatures of all documents by steps 1 to 5, uint32 (documents, permutations)."""
    family = permutation_family(permutations, seed)
    rows = []
    for text in texts_of(values, offsets):
        hashes = [shingle_hash(shingle) for shingle in shingles(text, ngram)]
        halves = [h >> 32 for h in hashes], [h & _32 for h in hashes]
        columns = [(a, b, halves[p % 2]) for p, (a, b) in enumerate(family)]
        rows.append([min((((x ^ b) * a) & _32 for x in half), default=_32) for a, b, half in columns])
    return np.array(rows, np.uint32).reshape(-1, permutations)


def have_words(values: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which documents have a word, bool (documents,)."""
    return np.array([any(words(text)) for text in texts_of(values, offsets)], np.bool_)


def texts_of(values: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Iterator[bytes]:
    """Yields the bytes of each document."""
    for start, end in pairwise(offsets):
        yield values[start:end].tobytes()
