"""Estimates how well each unit's bits per byte tells good models from bad ones.

Shapes: X[N, D] bits per byte of N models on D units, y[N] benchmark error (both: lower is better), g[D]
estimates. Every estimator is a pure function `f(X, y) -> g` in float64, large where models that predict a
unit well do well on the benchmark. None depends on the order of rows or columns: equal values share their
average rank, or count 0.

    product     1/N sum_k x_kj y_k                                        (not centred)
    sign        2/(N(N-1)) sum_{i<k} sgn(y_k - y_i) (x_kj - x_ij)
    sign_cdf    the same with x replaced by rank / N within the unit
    sign_sign   2/(N(N-1)) sum_{i<k} sgn(y_k - y_i) sgn(x_kj - x_ij)      (Kendall's tau-a)
    spearman    Pearson's correlation of the average ranks                (Spearman's rho)
    concordant  the share of the pairs i<k in which y and x are ordered alike; a tie in either counts 0

The first five are those of Thrush, Potts and Hashimoto (arXiv 2409.05816), the last is PreSelect's score of a
document (Shum et al., arXiv 2503.00808), whose Z is N(N-1)/2. Without ties sign_cdf = (N+1)/(3N) spearman
exactly, and concordant = (1 + sign_sign) / 2.

Cost: O(ND) after one sort of each unit; sign_sign and concordant compare all pairs of models, O(N^2 D), in
blocks of units that stay in cache. Memory beyond X: one block.

For the bootstrap each estimator also takes `counts[B, N]`, how often a resample holds each model, and returns
g[B, D]; row b equals the estimate on `np.repeat(X, counts[b], axis=0)`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from siftlm.correlate.settings import EstimatorName
from siftlm.errors import UserError
from siftlm.statistics.ranks import SortedColumns, order_ranks

Floats = npt.NDArray[np.float64]
Weighted = Callable[[Floats, Floats, Floats], Floats]

BLOCK_UNITS = 512
"""Units at a time: a few arrays of N x 512 numbers, near the size of a cache, are all memory beside X."""


def check_inputs(X: Floats, y: Floats) -> None:
    """Raises UserError unless X is [N, D] and y is [N], both finite, with two models or more."""
    if X.ndim != 2 or y.ndim != 1 or X.shape[0] != y.shape[0]:
        raise UserError(f"estimate: X must be [models, units] and y [models], got {X.shape} and {y.shape}")
    if X.shape[0] < 2:
        raise UserError(f"estimate: there must be at least 2 models, got {X.shape[0]}")
    if not np.isfinite(X).all() or not np.isfinite(y).all():
        raise UserError("estimate: X and y must be finite, got missing or infinite values; clean the matrix first")


def _drawn_signs(y: Floats, counts: Floats) -> Floats:
    """S[B, N]: count_k times the sum over the resample of sgn(y_k - y_i), which is 2 rank(y_k) - size - 1."""
    by_error = SortedColumns(y[:, None])
    signs = np.empty_like(counts)
    for b, drawn in enumerate(counts):
        signs[b, by_error.order[0]] = 2 * by_error.ranks_in_order(drawn)[0] - drawn.sum() - 1
    return counts * signs


def _pairs(counts: Floats) -> Floats:
    """N(N-1)/2 of each resample, as [B, 1]."""
    sizes = counts.sum(axis=1, keepdims=True)
    return np.asarray(sizes * (sizes - 1) / 2)


def _sign_cdf(X: Floats, y: Floats, counts: Floats) -> Floats:
    by_unit = SortedColumns(X)
    signs, sizes = _drawn_signs(y, counts), counts.sum(axis=1)
    g = np.empty((len(counts), X.shape[1]))
    for b, drawn in enumerate(counts):
        g[b] = np.einsum("dn,dn->d", signs[b][by_unit.order], by_unit.ranks_in_order(drawn)) / sizes[b]
    return np.asarray(g / _pairs(counts))


def spearman_with_each(X: Floats, Y: Floats, counts: Floats) -> Floats:
    """Returns Spearman's rho [T, B, D] of each unit with each row of Y[T, N], in each resample.

    X is ranked once, and stays sorted in memory: give it one block of units at a time.
    """
    by_unit, by_row = SortedColumns(X), SortedColumns(Y.T)
    rho = np.empty((len(Y), len(counts), X.shape[1]))
    for b, drawn in enumerate(counts):
        middle = (drawn.sum() + 1) / 2  # of average ranks, whatever the ties
        x_ranks = by_unit.ranks_in_order(drawn) - middle
        x_spread = np.einsum("dn,dn,dn->d", drawn[by_unit.order], x_ranks, x_ranks)
        y_ranks = np.empty(Y.shape)
        np.put_along_axis(y_ranks, by_row.order, by_row.ranks_in_order(drawn) - middle, axis=1)
        for t, weighted in enumerate(drawn * y_ranks):
            shared = np.einsum("dn,dn->d", weighted[by_unit.order], x_ranks)
            spread = x_spread * (weighted @ y_ranks[t])
            rho[t, b] = np.divide(shared, np.sqrt(spread), out=np.zeros_like(shared), where=spread > 0)
    return rho


def _ordered_alike(ranks: npt.NDArray[np.signedinteger], y: Floats) -> npt.NDArray[np.int64]:
    """How many pairs of models x and y order alike, for each unit; `ranks` and `y` come in ascending y."""
    below = np.searchsorted(y, y, side="left")  # models with a lower error
    alike = np.zeros(ranks.shape[1], np.int64)
    lower = np.empty(ranks.shape, bool)
    for k in range(len(y)):
        np.greater(ranks[k], ranks[: below[k]], out=lower[: below[k]])
        for start in range(0, int(below[k]), 255):  # as many as one byte can count
            part = lower[start : min(start + 255, int(below[k]))].view(np.uint8)
            alike += np.add.reduce(part, axis=0, dtype=np.uint8)
    return alike


def _drawn_pairs(ranks: npt.NDArray[np.signedinteger], y: Floats, counts: Floats, lowest: float) -> Floats:
    """Sum over pairs with y_i < y_k of count_i count_k clip(rank_k - rank_i, lowest, 1), as [B, D]."""
    below = np.searchsorted(y, y, side="left")
    drawn, places = counts.astype(np.float32), ranks.astype(np.float32)
    total = np.zeros((len(counts), ranks.shape[1]))
    step = np.empty_like(places)
    for k in np.flatnonzero(below):
        lower = int(below[k])
        np.subtract(places[k], places[:lower], out=step[:lower])
        np.maximum(step[:lower], np.float32(lowest), out=step[:lower])
        np.minimum(step[:lower], np.float32(1), out=step[:lower])
        # Exact in float32: whole numbers of at most N * N.
        total += drawn[:, k : k + 1] * (drawn[:, :lower] @ step[:lower])
    return total


def _compared(lowest: float) -> Weighted:
    """The mean over pairs of models: 1 where x and y order them alike, `lowest` where otherwise, 0 for a tie."""

    def weighted(X: Floats, y: Floats, counts: Floats) -> Floats:
        order = np.argsort(y, kind="stable")
        ranks, errors = order_ranks(X)[order], y[order]
        if not (counts == 1).all():
            return np.asarray(_drawn_pairs(ranks, errors, counts[:, order], lowest) / _pairs(counts))
        alike = _ordered_alike(ranks, errors)
        return np.asarray((alike + lowest * _ordered_alike(-ranks, errors) if lowest else alike) / _pairs(counts))

    return weighted


_WEIGHTED: dict[EstimatorName, Weighted] = {
    "spearman": lambda X, y, counts: spearman_with_each(X, y[None, :], counts)[0],
    "sign_cdf": _sign_cdf,
    "sign_sign": _compared(lowest=-1.0),
    "sign": lambda X, y, counts: _drawn_signs(y, counts) @ X / _pairs(counts),
    "product": lambda X, y, counts: (counts * y) @ X / counts.sum(axis=1, keepdims=True),
    "concordant": _compared(lowest=0.0),
}


def estimate_resampled(X: Floats, y: Floats, counts: Floats, estimator: EstimatorName) -> Floats:
    """Returns estimates g[B, D] on B resamples of the models, where resample b holds model k `counts[b, k]` times."""
    check_inputs(X, y)
    blocks = [X[:, start : start + BLOCK_UNITS] for start in range(0, X.shape[1], BLOCK_UNITS)]
    parts = [_WEIGHTED[estimator](block, y, counts) for block in blocks]
    return np.concatenate(parts, axis=1) if parts else np.empty((len(counts), 0))


def estimate(X: Floats, y: Floats, estimator: EstimatorName = "spearman") -> Floats:
    """Returns an estimate g[D], float64, for each unit by the named estimator.

    A unit that all models predict alike gets 0, but under `product`, which is not centred.
    """
    return np.asarray(estimate_resampled(X, y, np.ones((1, len(y))), estimator)[0])


def spearman(X: Floats, y: Floats) -> Floats:
    """Returns Spearman's rank correlation [D] of each unit with y, with average ranks for ties."""
    return estimate(X, y, "spearman")


def partial_spearman(X: Floats, y: Floats, z: Floats) -> Floats:
    """Returns Spearman's partial correlation [D] of each unit with y, given z[N].

    It is (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)), and 0 where x or y orders the models exactly as z does,
    or in reverse.
    """
    return partial_given(spearman(X, y), spearman(X, z), float(spearman(z[:, None], y)[0]))


def partial_given(r_xy: Floats, r_xz: Floats, r_yz: float | Floats) -> Floats:
    """Returns the partial correlation of x and y given z from their correlations; 0 where z determines x or y."""
    left = (1 - np.square(r_xz)) * (1 - np.square(r_yz))
    numerator = np.asarray(r_xy - r_xz * r_yz)
    spread = np.sqrt(np.maximum(left, 0))
    return np.asarray(np.divide(numerator, spread, out=np.zeros_like(numerator), where=left > 1e-12))


def model_strength(X: Floats) -> Floats:
    """Returns the strength z[N] of each model, a trivial baseline: its mean rank over all units, 1 is the best.

    A mean of bits per byte would be that of the few units on which models differ most; in ranks every unit counts the
    same. Equal values share their mean rank, so the sums are exact in any order of the units.
    """
    return np.asarray(mean_places(X, X) * len(X) + 0.5)


def mean_places(X: Floats, among: Floats) -> Floats:
    """Returns the mean place [N] of models X[N, D] among other models[M, D]: a share, 0 is the best.

    It is a mean over units, in each of which the place is (models below + models equal / 2) / M, of each model of X by
    itself; of the models `among` themselves that is (average rank - 1/2) / M. So a model that was held out is placed
    without the others held out.
    """
    twice = np.zeros(len(X))
    for start in range(0, X.shape[1], BLOCK_UNITS):
        block, others = (part[:, start : start + BLOCK_UNITS] for part in (X, among))
        twice += [2 * np.count_nonzero(others < row) + np.count_nonzero(others == row) for row in block]
    return np.asarray(twice / (2 * len(among) * X.shape[1]))
