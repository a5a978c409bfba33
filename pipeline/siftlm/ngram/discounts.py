"""Estimates the discounts of modified Kneser-Ney smoothing, and the probabilities of single words.

Sources: Chen and Goodman 1998; Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation", and
KenLM's lmplz, from whose code (lm/builder, commit 4cb443e) the details are: what counts, which errors there are, and
that the last n-gram of each order enters the statistics by its raw count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.ngram.parts import PartCounts
from siftlm_kernels.ngram_count_kernel import BEGIN, UNKNOWN

FALLBACK = (0.0, 0.5, 1.0, 1.5)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """Holds the numbers of n-grams, the discounts of each order, and the probabilities of words.

    Attributes:
        counts: N-grams of each order, from 1 on.
        discounts: D(0) to D(3) of each order from 1 on; 3 is for all higher counts. Shape [order, 4].
        fallbacks: The orders whose discounts are those of the fallback.
        unigrams: Probability of each id. Shape [words].
    """

    counts: tuple[int, ...]
    discounts: Floats
    fallbacks: tuple[int, ...]
    unigrams: Floats


def smoothing(parts: Sequence[PartCounts], raw: NDArray[np.int64], order: int, fallback: bool, place: str) -> Smoothing:
    """Returns the discounts and the probabilities of words, from the counts of all parts.

    Args:
        parts: The counts of bigrams and longer n-grams; empty for order 1.
        raw: How often each id is a token.
        order: Words of the longest n-grams.
        fallback: Whether orders without an estimate get the fallback's discounts.
        place: Where the texts are from, for errors.

    Raises:
        UserError: an order has no estimate.
    """
    adjusted = raw.copy() if order == 1 else _left_words(parts, len(raw))
    tallies = sum((part.tallies for part in parts), np.zeros((order + 1, 5), np.int64))
    tallies[1] = [len(raw), *(int((adjusted == count).sum()) for count in range(1, 5))]
    if order > 1:
        _enter_last_raw(tallies, parts, raw, adjusted)
    found = [_discounts(tallies[n], n) for n in range(1, order + 1)]
    failed = [reason for reason in found if isinstance(reason, str)]
    if failed and not fallback:
        raise UserError(
            f"{place}: {failed[0]}; this is common for small or artificial text: discount_fallback "
            "(--discount-fallback) takes 0.5, 1, 1.5"
        )
    discounts = np.array([FALLBACK if isinstance(of, str) else of for of in found])
    missing = tuple(n for n, of in enumerate(found, 1) if isinstance(of, str))
    counts = tuple(int(tallies[n][0]) for n in range(1, order + 1))
    return Smoothing(counts, discounts, missing, _unigrams(adjusted, discounts[0]))


def _left_words(parts: Sequence[PartCounts], size: int) -> NDArray[np.int64]:
    """How many different words stand before each id."""
    adjusted = np.zeros(size, np.int64)
    for part in parts:
        adjusted[part.words[0]] += part.words[1]
    return adjusted


def _enter_last_raw(
    tallies: NDArray[np.int64], parts: Sequence[PartCounts], raw: NDArray[np.int64], adjusted: NDArray[np.int64]
) -> None:
    """Counts the last n-gram of each order below the highest by its raw count, as lmplz does."""
    last = max(parts, key=lambda part: part.last)
    word = last.last[0]
    pairs = [(1, (int(raw[word]), int(adjusted[word])))]
    pairs += [(n, pair) for n, pair in enumerate(last.corrections[1:], 2) if pair is not None]
    for n, (mine, others) in pairs:
        for count, change in ((others, -1), (mine, 1)):
            if count < 5:
                tallies[n][count] += change


def _discounts(tally: NDArray[np.int64], order: int) -> tuple[float, ...] | str:
    """D(0) to D(3), or why there is no estimate; equation 26 of Chen and Goodman, in lmplz's float32."""
    for k in (1, 2, 3):
        if not tally[k]:
            told = f"no Kneser-Ney discount for {order}-grams with adjusted count {k + 1} can be estimated"
            return f"{told}: there must be {order}-grams with adjusted count {k}, got none"
    n = tally.astype(np.float32)
    y = n[1] / np.float32(float(tally[1]) + 2.0 * float(tally[2]))
    found = [0.0, *(float(np.float32(k) - np.float32(k + 1) * y * n[k + 1] / n[k]) for k in (1, 2, 3))]
    for k in (1, 2, 3):
        if not 0 <= found[k] <= k:
            told = f"the discount of {order}-grams with adjusted count {k}"
            return f"{told} must be between 0 and {k}, got {found[k]:g}"
    return tuple(found)


def _unigrams(adjusted: NDArray[np.int64], discounts: Floats) -> Floats:
    """The probabilities of words: the mass that is held back is shared by all, <unk> among them, <s> not."""
    held = discounts[np.minimum(adjusted, 3)]
    counted = adjusted > 0
    total = float(adjusted.sum())
    shared = float(held[counted].sum()) / total / (len(adjusted) - 1)
    found = np.where(counted, (adjusted - held) / total, 0.0) + shared
    found[BEGIN], found[UNKNOWN] = 1.0, shared
    return found
