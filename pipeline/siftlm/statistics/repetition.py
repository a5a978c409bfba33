"""Computes what repeated text is worth in new text, under the data-constrained scaling law."""

from __future__ import annotations

import numpy as np

from siftlm.statistics.exponential import exp_negative
from siftlm.statistics.ordered import Float64Array

DECAY_REPEATS = 15.387756
"""R*_D of Muennighoff et al. 2023 (arXiv 2305.16264): after so many repeats one more is worth 1 / e of new text."""


def effective_copies(copies: Float64Array) -> Float64Array:
    """Returns how many copies of new text so many copies of a document are worth: float64[n], from floats >= 0.

    It is min(c, 1) + R* (1 - exp(-max(c - 1, 0) / R*)). With c = D / U copies of U tokens, U times it is the law's
    D' = U + U R* (1 - exp(-(D / U - 1) / R*)). Less than one copy is new text all of it. (arXiv 2305.16264)
    """
    repeats = np.maximum(copies - 1.0, 0.0)
    return np.asarray(np.minimum(copies, 1.0) + DECAY_REPEATS * (1.0 - exp_negative(repeats / DECAY_REPEATS)))
