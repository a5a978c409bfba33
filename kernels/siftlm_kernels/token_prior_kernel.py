"""Compiles the functions of `token_prior`, which count tokens and measure documents by their priors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from siftlm_kernels.compiling import compiled
from siftlm_kernels.logarithm import ln


@compiled
def count(ids: Any, offsets: Any, tokens: Any, documents: Any) -> None:
    """Adds the tokens of every document to `tokens`, and 1 to `documents` for every different one."""
    last = np.full(len(tokens), -1, np.int64)
    for row in range(len(offsets) - 1):
        for at in range(offsets[row], offsets[row + 1]):
            token = ids[at]
            tokens[token] += 1
            if last[token] != row:
                last[token] = row
                documents[token] += 1


@compiled
def logarithms(priors: Any) -> Any:
    """Returns the natural logarithm of every prior above 0, and 0 for the others."""
    made = np.zeros(len(priors))
    for token in range(len(priors)):
        if priors[token] > 0:
            made[token] = ln(priors[token])
    return made


@compiled
def measure(ids: Any, offsets: Any, priors: Any, logs: Any, mean: Any, log_deviation: Any, deviation: Any) -> None:
    """Fills the numbers of every document that has tokens.

    Values are taken from that of the first token, so that equal ones have that mean and a deviation of exactly 0.
    """
    for row in range(len(mean)):
        start, end = offsets[row], offsets[row + 1]
        if start == end:
            continue
        log_sum, prior_sum = 0.0, 0.0
        first_log, first_prior = logs[ids[start]], priors[ids[start]]
        for at in range(start, end):
            log_sum += logs[ids[at]] - first_log
            prior_sum += priors[ids[at]] - first_prior
        mean[row] = first_log + log_sum / (end - start)
        prior_mean = first_prior + prior_sum / (end - start)
        log_squares, prior_squares = 0.0, 0.0
        for at in range(start, end):
            log_squares += (logs[ids[at]] - mean[row]) ** 2
            prior_squares += (priors[ids[at]] - prior_mean) ** 2
        divisor = max(end - start - 1, 1)
        log_deviation[row] = math.sqrt(log_squares / divisor)
        deviation[row] = math.sqrt(prior_squares / divisor)
