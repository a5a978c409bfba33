"""Computes the units of a language model's scores: sums are added, then divided once.

Every function takes sums, of one document or of a corpus; a mean of means is never a corpus's value. A zero
divisor gives NaN, as nothing was measured.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siftlm.statistics.ordered import Float64Array


def _ratio(sums: npt.ArrayLike, counts: npt.ArrayLike) -> Float64Array:
    numerators, divisors = np.asarray(sums, np.float64), np.asarray(counts, np.float64)
    undefined = np.full(np.broadcast_shapes(numerators.shape, divisors.shape), np.nan)
    return np.asarray(np.divide(numerators, divisors, out=undefined, where=divisors > 0), np.float64)


def nats_per_token(nll_sum: npt.ArrayLike, token_count: npt.ArrayLike) -> Float64Array:
    """Returns mean negative log-likelihood in nats per predicted token."""
    return _ratio(nll_sum, token_count)


def perplexity(nll_sum: npt.ArrayLike, token_count: npt.ArrayLike) -> Float64Array:
    """Returns exp of nats per predicted token; it depends on the tokenizer. Above exp(709) it is inf."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(_ratio(nll_sum, token_count)), np.float64)


def bits_per_token(nll_sum: npt.ArrayLike, token_count: npt.ArrayLike) -> Float64Array:
    """Returns mean negative log2-likelihood per predicted token."""
    return np.asarray(_ratio(nll_sum, token_count) / math.log(2), np.float64)


def bits_per_byte(nll_sum: npt.ArrayLike, byte_count: npt.ArrayLike) -> Float64Array:
    """Returns negative log2-likelihood per UTF-8 byte, comparable between tokenizers."""
    return np.asarray(_ratio(nll_sum, byte_count) / math.log(2), np.float64)


def bytes_per_token(byte_count: npt.ArrayLike, token_count: npt.ArrayLike) -> Float64Array:
    """Returns UTF-8 bytes that one predicted token stands for."""
    return _ratio(byte_count, token_count)
