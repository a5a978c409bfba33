"""Measures how well the other documents of a corpus predict each one, from a table of n-gram counts.

All functions take ragged text (`ragged`), release the GIL and have no state: call them from several threads.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels import commonness_reference
from siftlm_kernels.minhash import shingle_hashes
from siftlm_kernels.ragged import Offsets, Values, at_least_1

Implementation = Literal["auto", "reference"]
Counts = NDArray[np.int64]

_kernel = partial(import_module, "siftlm_kernels.commonness_kernel")  # numba is imported by the first call


def empty_counts(bits: int) -> Counts:
    """Returns a table of 2**bits counts of n-grams, all 0, and a last entry that counts the words.

    The table is int64, and the tables of shards add up with `+`.
    """
    if not 1 <= bits <= 40:
        raise ValueError(f"bits: must be between 1 and 40, got {bits}")
    return np.zeros((1 << bits) + 1, np.int64)


def count_ngrams(
    values: Values, offsets: Offsets, table: Counts, *, ngram: int = 4, impl: Implementation = "auto"
) -> None:
    """Adds the runs of 1 to `ngram` words of every document to the counts in `table`, in place.

    Words are those of `minhash`, with the hashes w of its shingles of one word. The run of k words that ends with
    word i falls into bucket mix(sum over j < k of w_(i - j) * 0x9E3779B97F4A7C15**j) >> (64 - bits), with `mix` of
    `minhash`, integers modulo 2**64. Runs that share a bucket are counted as one.
    """
    if impl == "reference":
        commonness_reference.count_ngrams(values, offsets, table, ngram)
        return
    words, bounds = shingle_hashes(values, offsets, ngram=1)
    _kernel().count(words, bounds, at_least_1("ngram", ngram), _shift(table), table)


def mean_nll(
    values: Values,
    offsets: Offsets,
    table: Counts,
    *,
    ngram: int = 4,
    prior: float = 1.0,
    impl: Implementation = "auto",
) -> NDArray[np.float64]:
    """Returns each document's mean negative log-likelihood of a word, in nats, under the counts of all other documents.

    exp of its negative is the commonness of SoftDedup (He et al. 2024, arXiv 2407.06654), the geometric
    mean of P(w_i | the ngram - 1 words before). There the model is a Kneser-Ney one that has seen the document. Here
    the document's own counts are subtracted from every bucket first, so that a text is common only where others have
    it, and its length alone makes no difference; Kneser-Ney's counts of distinct contexts could not be subtracted.
    Instead every order is smoothed by the one below (the hierarchical Dirichlet model of MacKay and Peto 1995, its
    strength the `prior`):

        P_0 = 1
        P_k = (min(c(h w), c(h)) + prior * P_(k-1)) / (c(h) + prior)        h: the k - 1 words before w

    where c are the counts without the document's own, c of no words is the number of words, and k goes as far as
    there are words before. So a word that nobody else has counts as one that occurs `prior` times (P_0 is no
    distribution, for the number of words that there could be is unknown), and an h that nobody else has leaves P_(k-1)
    as it is. The minimum is for buckets that several runs share; these make texts look more common than they are.

    `table` must include every document that is asked about. NaN for a document without words, or where no other has
    any. The same bits on every machine: the probabilities are multiplied, and only IEEE operations used.
    """
    if prior <= 0:
        raise ValueError(f"prior: must be positive, got {prior}")
    if impl == "reference":
        return commonness_reference.mean_nll(values, offsets, table, ngram, prior)
    words, bounds = shingle_hashes(values, offsets, ngram=1)
    out = np.empty(len(offsets) - 1, np.float64)
    _kernel().mean_nll(words, bounds, at_least_1("ngram", ngram), _shift(table), float(prior), table, out)
    return out


def _shift(table: Counts) -> np.uint64:
    """How far a hash is shifted to give a bucket."""
    bits = (len(table) - 1).bit_length() - 1
    if len(table) != (1 << bits) + 1 or bits < 1:
        raise ValueError(f"table: must be one of empty_counts, got {len(table)} entries")
    return np.uint64(64 - bits)
