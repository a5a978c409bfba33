"""Computes perplexity and bits per byte from the sums of a language model's scores.

Every function takes sums, of one document or of a corpus: a mean of means is never a corpus's value.
"""

from __future__ import annotations

from math import log

import pyarrow as pa
import pyarrow.compute as pc


def perplexity(nll_sum: pa.Array, scored_token_count: pa.Array) -> pa.Array:
    """Returns exp(nll_sum / scored_token_count), null where no token was predicted.

    It is comparable under one tokenizer only.
    """
    return pc.exp(pc.divide(nll_sum, pc.cast(_positive(scored_token_count), pa.float64())))


def bits_per_byte(nll_sum: pa.Array, byte_count: pa.Array) -> pa.Array:
    """Returns nll_sum / (ln 2 * byte_count), null for an empty text; comparable across tokenizers."""
    return pc.divide(nll_sum, pc.multiply(pc.cast(_positive(byte_count), pa.float64()), log(2)))


def _positive(counts: pa.Array) -> pa.Array:
    """The counts with null in the place of zero."""
    return pc.if_else(pc.greater(counts, 0), counts, pa.scalar(None, counts.type))
