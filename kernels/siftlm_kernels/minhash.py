"""Computes MinHash signatures and LSH band hashes of documents, straight from their UTF-8 bytes.

All functions take ragged text (`ragged`), release the GIL and have no state: call them from several threads.
"""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels import minhash_reference
from siftlm_kernels.normal_form import composed
from siftlm_kernels.ragged import Offsets, Values, at_least_1, checked
from siftlm_kernels.unicode_words import word_bytes

Implementation = Literal["auto", "reference", "datasketch"]

_kernel = partial(import_module, "siftlm_kernels.minhash_kernel")  # numba is imported by the first call


def minhash(
    values: Values,
    offsets: Offsets,
    *,
    ngram: int = 5,
    permutations: int = 112,
    seed: int = 1,
    impl: Implementation = "auto",
) -> NDArray[np.uint32]:
    """Returns the MinHash signature of every document, uint32 (documents, permutations).

    The share of equal columns in two signatures estimates the Jaccard similarity of their documents.
    All integers are unsigned and wrap around; `^` is exclusive or. Two functions on 64 bits serve throughout:

        step(h, c):  h = (h ^ c) * 0xD6E8FEB86659FD93;  return h ^ (h >> 32)
        mix(h):      h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9;  h = (h ^ (h >> 27)) * 0x94D049BB133111EB
                     return h ^ (h >> 31)

    1. Words. The bytes are read as UTF-8, where what is ill-formed separates words. Letters, marks, numbers
       (categories L, M, N of Unicode 14.0) and `_` make words, everything else separates. A code point of a
       script without spaces (`unicode_words.SOLO_BLOCKS`: Han, Kana, Yi, Thai, Khmer, Javanese and others) is a
       word by itself. Every code point is lower-cased by its simple mapping. Before all that the text is brought
       into `normal_form.normal_form`: composed and decomposed accents, soft hyphens and zero-width characters
       make no difference.
    2. Word hash. The word's UTF-8 bytes are padded with NUL to a multiple of 8 and read as little-endian 64-bit
       chunks: h = 0x9E3779B97F4A7C15, then h = step(h, chunk) for each chunk in turn.
    3. Shingles. Every `ngram` consecutive words, w_1 ... w_n, have the shingle hash
       mix(sum of w_i * 0x9E3779B97F4A7C15 ** (n - i)). A document with fewer words has one shingle, of all its
       words by the same formula. A document without words has none.
    4. Permutations. Permutation p (from 0) maps a shingle hash to ((x ^ b_p) * a_p) mod 2**32, a bijection of x,
       which is the hash's upper 32 bits where p is even and its lower 32 bits where p is odd: so a chance
       agreement of one half makes no band of two rows or more agree. z_p = mix(seed + (p + 1) *
       0x9E3779B97F4A7C15), splitmix64's output, gives a_p = (z_p >> 32) | 1 and b_p = z_p mod 2**32.
    5. The signature is the minimum over the document's shingles, 2**32 - 1 everywhere where it has none.

    `impl="reference"` follows this text in plain Python. `impl="datasketch"` gives the `hashvalues` of datasketch
    2.0 (`MinHash(permutations, seed)`, scheme affine32, SHA-1) for the same shingles, each as its words joined
    by one space in UTF-8, to query an index that datasketch built.
    """
    values, offsets = _checked(values, offsets, ngram)
    if impl == "reference":
        return minhash_reference.minhash(values, offsets, ngram, permutations, seed)
    out = np.empty((len(offsets) - 1, permutations), np.uint32)
    if impl == "datasketch":
        from siftlm_kernels import minhash_datasketch

        family = minhash_datasketch.permutation_family(permutations, seed)
        minhash_datasketch.signatures(*spaced_words(values, offsets), ngram, *family, out)
        return out
    _kernel().signatures(values, offsets, word_bytes(), ngram, *_even_odd(permutations, seed), out)
    return out


def band_hashes(signatures: NDArray[np.uint32], bands: int, rows: int) -> NDArray[np.uint64]:
    """Returns the band keys of signatures, uint64 (documents, bands).

    Two documents have the same key of a band where their signatures agree in its `rows` columns.
    Band i covers columns i * rows to (i + 1) * rows - 1. With `step` and `mix` of `minhash`:
    h = step(0x9E3779B97F4A7C15, i), then h = step(h, value) for each column in turn; the key is mix(h). The index
    of the band is part of the key, so keys of all bands can share one table.
    """
    if bands < 1 or rows < 1 or bands * rows > signatures.shape[1]:
        raise ValueError(f"bands * rows: between 1 and the {signatures.shape[1]} permutations, got {bands} * {rows}")
    out = np.empty((len(signatures), bands), np.uint64)
    _kernel().hash_bands(np.ascontiguousarray(signatures, np.uint32), rows, out)
    return out


def minhash_bands(
    values: Values,
    offsets: Offsets,
    *,
    ngram: int = 5,
    bands: int = 14,
    rows: int = 8,
    seed: int = 1,
    impl: Implementation = "auto",
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Returns every document's band keys, and which documents have words.

    The keys are `band_hashes(minhash(...))`, computed without all signatures in memory.
    The keys of documents without words are all equal and mean nothing: the second array, (documents,), is there
    to leave them out, since an empty document is nobody's near-duplicate.
    """
    values, offsets = _checked(values, offsets, ngram)
    if impl != "auto":
        signatures = minhash(values, offsets, ngram=ngram, permutations=bands * rows, seed=seed, impl=impl)
        return band_hashes(signatures, bands, rows), minhash_reference.have_words(values, offsets)
    out, has_words = np.empty((len(offsets) - 1, bands), np.uint64), np.empty(len(offsets) - 1, np.bool_)
    a, b = _even_odd(bands * rows, seed)
    _kernel().signature_bands(values, offsets, word_bytes(), ngram, a, b, rows, out, has_words)
    return out, has_words


def shingle_hashes(values: Values, offsets: Offsets, *, ngram: int = 5) -> tuple[NDArray[np.uint64], Offsets]:
    """Returns all shingle hashes (step 3 of `minhash`) by document, repeats included, and each document's offsets.

    Takes 8 bytes a shingle, about as much as the text itself.
    """
    values, offsets = _checked(values, offsets, ngram)
    counts, bounds = np.zeros(len(offsets) - 1, np.int64), np.zeros(len(offsets), np.int64)
    # A word takes a byte and a separator; a solo character, which needs none, takes three bytes. A block's last
    # shingles are written before they are counted, hence the margin.
    out = np.empty((int(offsets[-1] - offsets[0]) + len(offsets)) // 2 + 64, np.uint64)
    _kernel().shingles(values, offsets, word_bytes(), ngram, out, counts)
    np.cumsum(counts, out=bounds[1:])
    return out[: bounds[-1]].copy(), bounds


def set_jaccard(hashes: NDArray[np.uint64], starts: Offsets, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the Jaccard similarity of each pair of sets of hashes; repeats do not count.

    `pairs` is int64 (pairs, 2).
    0 where one of the two is empty. Set i is `hashes[starts[i]:starts[i + 1]]`; the hashes are moved about.
    """
    out = np.empty(len(pairs), np.float64)
    _kernel().jaccard(hashes, starts, pairs, out)
    return out


@cache
def _even_odd(permutations: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors a and masks b of step 4 of `minhash`, uint32: the even permutations, then the odd ones.

    Each half is filled up to a multiple of the kernel's lanes, with permutations that nobody reads.
    """
    lanes = 2 * _kernel().PERMUTATION_LANES
    family = minhash_reference.permutation_family(-(-permutations // lanes) * lanes, seed)
    a, b = np.array(family[0::2] + family[1::2], np.uint32).T.copy()
    return a, b


def spaced_words(values: Values, offsets: Offsets) -> tuple[Values, Offsets]:
    """Returns ragged text of every document's lower-cased words, joined by one space (step 1 of `minhash`)."""
    values, offsets = _checked(values, offsets, 1)
    bounds = np.zeros(len(offsets), np.int64)
    # A solo character of three bytes gets a space; lower case adds at most one byte to two.
    out = np.empty(2 * int(offsets[-1] - offsets[0]) + 1, np.uint8)
    _kernel().spaced(values, offsets, word_bytes(), out, bounds[1:])
    return out[: bounds[-1]].copy(), bounds


def _checked(values: Values, offsets: Offsets, ngram: int) -> tuple[Values, Offsets]:
    """The text in normal form."""
    at_least_1("ngram", ngram)
    return checked(*composed(*checked(values, offsets)))
