"""Fits a linear model of texts to numbers by ridge regression, with a penalty that held-out texts choose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import lsqr

from siftlm.scorers.linear_text import LinearText, features

Floats = npt.NDArray[np.float64]

DAMPING = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Roots of the ridge penalties that are tried."""
ITERATIONS = 200
CONSTANT = 10.0  # of the column for the intercept, which the penalty hardly shrinks


def fit_linear(
    texts: Sequence[str], wanted: npt.ArrayLike, choosing: npt.NDArray[np.bool_], ngrams: int, buckets: int
) -> LinearText:
    """Returns the linear model of texts whose penalty predicts best what it was not fitted to, then fitted to all.

    Args:
        texts: N texts.
        wanted: float[N], what is to be predicted.
        choosing: bool[N], the texts that choose the penalty; with none, or all, it is 1.
        ngrams: All orders of n-grams from 1 to this are features.
        buckets: Hash buckets of n-grams.
    """
    known = features(texts, ngrams, buckets)
    constant = sparse.csr_array(np.full((len(texts), 1), CONSTANT))
    X, y = sparse.csr_array(sparse.hstack([known, constant], format="csr")), np.asarray(wanted, np.float64)
    damping = 1.0
    if choosing.any() and not choosing.all():
        errors = [_error(X, y, choosing, tried) for tried in DAMPING]
        damping = DAMPING[int(np.argmin(errors))]
    weights = _ridge(X, y, damping)
    return LinearText(ngrams, weights[:-1], float(CONSTANT * weights[-1]))


def _error(X: sparse.csr_array, y: Floats, choosing: npt.NDArray[np.bool_], damping: float) -> float:
    weights = _ridge(X[np.flatnonzero(~choosing)], y[~choosing], damping)
    return float(((X[np.flatnonzero(choosing)] @ weights - y[choosing]) ** 2).mean())


def _ridge(X: sparse.csr_array, y: Floats, damping: float) -> Floats:
    """argmin |Xw - y|^2 + damping^2 |w|^2."""
    return np.asarray(lsqr(X, y, damp=damping, atol=1e-8, btol=1e-8, iter_lim=ITERATIONS)[0])
