"""Estimators against the theorems, scipy, brute force with ties, and their own invariants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from siftlm.correlate.estimators import estimate, estimate_resampled, partial_spearman, spearman
from siftlm.correlate.settings import EstimatorName
from siftlm.errors import UserError
from siftlm.statistics.ranks import average_ranks

ESTIMATORS: tuple[EstimatorName, ...] = get_args(EstimatorName)
sign_cdf, sign_sign = partial(estimate, estimator="sign_cdf"), partial(estimate, estimator="sign_sign")
sign, product = partial(estimate, estimator="sign"), partial(estimate, estimator="product")
concordant = partial(estimate, estimator="concordant")


def brute(X: np.ndarray, y: np.ndarray, name: str) -> np.ndarray:
    """The definitions, pair by pair, with scipy's average ranks."""
    N = len(y)
    C = scipy.stats.rankdata(X, axis=0) / N
    pairs = list(combinations(range(N), 2))
    scale = 1 / len(pairs)
    if name == "product":
        return np.mean([X[k] * y[k] for k in range(N)], axis=0)
    if name == "sign":
        return scale * sum(np.sign(y[k] - y[i]) * (X[k] - X[i]) for i, k in pairs)
    if name == "sign_cdf":
        return scale * sum(np.sign(y[k] - y[i]) * (C[k] - C[i]) for i, k in pairs)
    if name == "sign_sign":
        return scale * sum(np.sign(y[k] - y[i]) * np.sign(X[k] - X[i]) for i, k in pairs)
    if name == "concordant":
        return scale * sum((np.sign(y[k] - y[i]) * np.sign(X[k] - X[i])) > 0 for i, k in pairs)
    rho = [scipy.stats.spearmanr(x, y).statistic if np.ptp(x) and np.ptp(y) else 0.0 for x in X.T]
    return np.array(rho)


tables = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, st.tuples(st.just(n), st.integers(1, 5)), elements=st.integers(-3, 3).map(float)),
        hnp.arrays(np.float64, n, elements=st.integers(0, 3).map(float)),
    )
)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=60, deadline=None)
@given(tables)
def test_every_estimator_equals_its_definition_with_ties(
    name: EstimatorName, table: tuple[np.ndarray, np.ndarray]
) -> None:
    """Small whole numbers tie often, in x and in y."""
    X, y = table
    np.testing.assert_allclose(estimate(X, y, name), brute(X, y, name), atol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=40, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_no_estimator_depends_on_the_order_of_models_or_units(
    name: EstimatorName, table: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    """Permuting rows changes nothing, permuting columns permutes the estimates."""
    X, y = table
    rng = np.random.default_rng(random.randint(0, 2**32))  # type: ignore[attr-defined]
    rows, columns = rng.permutation(len(y)), rng.permutation(X.shape[1])
    np.testing.assert_allclose(estimate(X[rows][:, columns], y[rows], name), estimate(X, y, name)[columns], atol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=40, deadline=None)
@given(tables, st.integers(0, 2**32 - 1))
def test_a_resample_equals_the_estimate_on_repeated_models(
    name: EstimatorName, table: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    """`counts[b]` means exactly np.repeat, ties between copies included."""
    X, y = table
    counts = np.random.default_rng(seed).multinomial(len(y), np.full(len(y), 1 / len(y)), 3)
    resampled = estimate_resampled(X, y, counts.astype(float), name)
    for drawn, estimates in zip(counts, resampled, strict=True):
        repeated = estimate(np.repeat(X, drawn, axis=0), np.repeat(y, drawn), name)
        np.testing.assert_allclose(estimates, repeated, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(0, 4).map(float)))
def test_average_ranks_are_those_of_scipy(values: np.ndarray) -> None:
    """Of each column, and of a vector."""
    np.testing.assert_array_equal(average_ranks(values), scipy.stats.rankdata(values, axis=0))
    np.testing.assert_array_equal(average_ranks(values[:, 0]), scipy.stats.rankdata(values[:, 0]))


def test_without_ties_sign_cdf_is_spearman_in_another_unit() -> None:
    """sign_cdf = (N+1)/(3N) spearman, and concordant = (1 + sign_sign) / 2 = (1 + Kendall's tau) / 2."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(61, 700)), rng.normal(size=61)
    np.testing.assert_allclose(sign_cdf(X, y), 62 / (3 * 61) * spearman(X, y), atol=1e-13)
    np.testing.assert_allclose(concordant(X, y), (1 + sign_sign(X, y)) / 2, atol=1e-13)
    tau = [scipy.stats.kendalltau(x, y).statistic for x in X.T]
    np.testing.assert_allclose(sign_sign(X, y), tau, atol=1e-12)


def test_pairs_of_more_models_than_a_byte_counts_are_all_counted() -> None:
    """600 models in perfect order: every pair is concordant, in reverse none is."""
    x = np.arange(600.0)[:, None]
    np.testing.assert_array_equal(concordant(np.hstack([x, -x, 0 * x]), x[:, 0]), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(sign_sign(np.hstack([x, -x, 0 * x]), x[:, 0]), [1.0, -1.0, 0.0])


def test_preselects_score_counts_ties_as_discordant() -> None:
    """Six models as in PreSelect: 15 of 15 pairs, 14 with a tie in the losses, 0 in reverse."""
    benchmark = np.array([75.38, 76.30, 77.27, 79.46, 80.47, 81.19])
    falling = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    tied = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 2.0])
    scores = concordant(np.column_stack([falling, tied, falling[::-1]]), -benchmark)
    np.testing.assert_array_equal(scores * 15, [15, 14, 0])


MONOTONE: list[Callable[[np.ndarray], np.ndarray]] = [
    lambda x: x,
    lambda x: 2 / (1 + np.exp(-x)) - 1,
    lambda x: 3.0**x,
]
WEIGHTS = [
    np.arange(10.0),
    -np.arange(10.0),
    np.arange(10.0) * (-1) ** np.arange(10),
    np.arange(10.0) ** 2 * (-1) ** np.arange(10),
]


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("w", WEIGHTS)
def test_gaussian_models_give_the_expected_values(w: np.ndarray, noise: float) -> None:
    """X ~ N(0, I), y = f(<w, x> + e): the expectations of methods 1.1 (arXiv 2409.05816) for every increasing f."""
    rng = np.random.default_rng(7)
    w = w / np.linalg.norm(w)
    X = rng.normal(size=(10_000, 10))
    latent = X @ w + noise * rng.normal(size=10_000)
    spread = np.sqrt(1 + noise**2)
    y = MONOTONE[2](latent)
    np.testing.assert_allclose(sign_cdf(X, y), 2 / np.pi * np.arcsin(w / (2 * spread)), atol=0.015)
    np.testing.assert_allclose(spearman(X, y), 6 / np.pi * np.arcsin(w / (2 * spread)), atol=0.04)
    few = slice(0, 3000)  # all pairs of 10,000 models take a second each time
    np.testing.assert_allclose(sign_sign(X[few], y[few]), 2 / np.pi * np.arcsin(w / spread), atol=0.04)
    for f in MONOTONE:
        np.testing.assert_allclose(unit(sign(X, f(latent))), w, atol=0.04)
    for f in MONOTONE[:2]:
        np.testing.assert_allclose(unit(product(X, f(latent))), w, atol=0.05)


def unit(g: np.ndarray) -> np.ndarray:
    """g of length 1."""
    return g / np.linalg.norm(g)


def test_rank_estimates_see_only_the_order_of_errors() -> None:
    """An increasing function of y changes no bit."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(40, 9)), rng.normal(size=40)
    for name in ("spearman", "sign_cdf", "sign_sign", "sign", "concordant"):
        np.testing.assert_array_equal(estimate(X, y, name), estimate(X, np.exp(y), name))


def test_partial_correlation_is_that_of_residual_ranks() -> None:
    """Against Pearson's correlation of what a regression of ranks on z's ranks leaves."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=80)
    X, y = rng.normal(size=(80, 6)) + z[:, None], rng.normal(size=80) + z
    Rx, ry, rz = (scipy.stats.rankdata(v, axis=0) for v in (X, y, z))

    def left(v: np.ndarray) -> np.ndarray:
        fit = scipy.stats.linregress(rz, v)
        return v - fit.slope * rz - fit.intercept

    expected = [scipy.stats.pearsonr(left(x), left(ry)).statistic for x in Rx.T]
    np.testing.assert_allclose(partial_spearman(X, y, z), expected, atol=1e-12)
    assert partial_spearman(z[:, None], y, z)[0] == 0


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.array([[1.0, np.nan], [1.0, 2.0]]), np.array([1.0, 2.0])),
        (np.ones((2, 2)), np.array([1.0, np.inf])),
        (np.ones((2, 2)), np.ones(3)),
        (np.ones((1, 2)), np.ones(1)),
    ],
)
def test_values_that_are_no_numbers_stop_an_estimate(X: np.ndarray, y: np.ndarray) -> None:
    """Missing values are for cleaning, not for guessing."""
    with pytest.raises(UserError, match="estimate: "):
        estimate(X, y)
