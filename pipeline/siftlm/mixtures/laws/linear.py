"""Fits losses by least squares on functions of the shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
from scipy import linalg

from siftlm.mixtures.law import FittedLaw, by_pattern

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Features = Callable[[Floats], Floats]

SMALLEST = 1e-3  # is added to a share whose logarithm is taken
RIDGE = 1e-9  # of the features' variance, where shares that add up to 1 leave a sum undecided
RIDGES = np.logspace(-9, 2, 23)
TINY_RIDGE = 1e-7  # below which a system of as many numbers as runs is solved by its least solution
PLENTY = 4  # runs a feature from which on no more ridge is needed


@dataclass(frozen=True)
class FittedLinear:
    """Holds a line in features of the shares: weights float64[features, targets] and levels float64[targets]."""

    features: Features
    weights: Floats
    level: Floats

    def predict(self, shares: Floats) -> Floats:
        return np.asarray(self.features(shares) @ self.weights + self.level)


def standardised(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns features with mean 0 and variance 1, float64[runs, features], their means and their spreads."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-12, spread, 1.0)
    return (features - mean) / spread, mean, spread


def least_squares(features: Features, shares: Floats, losses: Floats, ridge: float = RIDGE) -> FittedLinear:
    """Returns the line in standardised features that fits the losses, float64[runs, targets], best.

    It minimises |line - losses|^2 + ridge * runs * |weights|^2 for every target, in the smaller of both spaces. What
    all targets share is computed once; runs that lack a loss are taken out of it.
    """
    standard, mean, spread = standardised(features(shares))
    few = standard.shape[1] < len(standard)
    solve = _Normal(standard, ridge) if few else _Kernel(standard, ridge)
    weights, level = np.empty((standard.shape[1], losses.shape[1])), np.empty(losses.shape[1])
    for runs, targets in by_pattern(losses):
        weights[:, targets], level[targets] = solve(runs, losses[np.ix_(runs, targets)])
    weights /= spread[:, None]
    return FittedLinear(features, weights, level - mean @ weights)


class _Normal:
    """Solves for the weights of features, of which there are fewer than runs."""

    def __init__(self, standard: Floats, ridge: float) -> None:
        self.columns = np.concatenate([np.ones((len(standard), 1)), standard], axis=1)
        self.normal, self.ridge = self.columns.T @ self.columns, ridge

    def __call__(self, runs: Bools, losses: Floats) -> tuple[Floats, Floats]:
        count = int(runs.sum())
        if 2 * count > len(runs):
            missing = self.columns[~runs]
            normal = self.normal - missing.T @ missing
        else:
            normal = self.columns[runs].T @ self.columns[runs]
        normal[np.diag_indices(len(normal))] += self.ridge * count * (np.arange(len(normal)) > 0)
        right = self.columns[runs].T @ losses
        try:
            made = linalg.solve(normal, right, assume_a="pos")
        except linalg.LinAlgError:  # rounding left it without a positive least value
            made = np.linalg.lstsq(normal, right, rcond=None)[0]
        return made[1:], made[0]


class _Kernel:
    """Solves for the weights of runs, of which there are no more than features."""

    def __init__(self, standard: Floats, ridge: float) -> None:
        self.standard, self.kernel, self.ridge = standard, standard @ standard.T, ridge

    def __call__(self, runs: Bools, losses: Floats) -> tuple[Floats, Floats]:
        count = int(runs.sum())
        kernel = self.kernel[np.ix_(runs, runs)]
        kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1, keepdims=True) + kernel.mean()
        system = kernel + self.ridge * count * np.eye(count)
        duals = (
            np.linalg.lstsq(system, losses - losses.mean(axis=0), rcond=None)[0]
            if self.ridge < TINY_RIDGE
            else (linalg.solve(system, losses - losses.mean(axis=0), assume_a="pos"))
        )
        weights = self.standard[runs].T @ (duals - duals.mean(axis=0))
        return weights, losses.mean(axis=0) - self.standard[runs].mean(axis=0) @ weights


def chosen_ridge(features: Floats, losses: Floats) -> float:
    """Returns the ridge with the least generalised cross-validation error (Golub, Heath and Wahba 1979).

    The error is |y - H y|^2 / (1 - trace(H) / runs)^2, each target's divided by its variance.
    With four runs a feature or more it is the least one.
    """
    errors = np.zeros(len(RIDGES))
    for runs, targets in by_pattern(losses):
        if runs.sum() >= PLENTY * features.shape[1]:
            continue
        standard, _, _ = standardised(features[runs])
        known = losses[np.ix_(runs, targets)]
        deviations = (known - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-12)
        errors += _validation_errors(standard, deviations)
    return float(RIDGES[int(np.argmin(errors))])


def _validation_errors(standard: Floats, deviations: Floats) -> Floats:
    """The generalised cross-validation errors of all ridges, float64[ridges]."""
    runs = len(standard)
    vectors, values, _ = np.linalg.svd(standard, full_matrices=False)
    squares, along = values**2, vectors.T @ deviations
    rest = (deviations**2).sum() - (along**2).sum()
    made = []
    for ridge in RIDGES:
        left = ridge * runs / (squares + ridge * runs)
        free = runs - 1 - (1 - left).sum()
        error = rest + ((left[:, None] * along) ** 2).sum()
        made.append(error / max(free / runs, 1e-6) ** 2 / runs)
    return np.array(made)


def with_roots(shares: Floats) -> Floats:
    """Returns the shares and their square roots, float64[mixtures, 2 domains]."""
    return np.concatenate([shares, np.sqrt(shares)], axis=1)


def logarithms(shares: Floats) -> Floats:
    """Returns the logarithms of the shares and a thousandth, float64[mixtures, domains]."""
    return np.log(shares + SMALLEST)


@dataclass(frozen=True)
class LinearLaw:
    """Fits losses by ridge regression on features of the shares."""

    ridge: float = RIDGE
    name: ClassVar[str]
    paper: ClassVar[str]

    @staticmethod
    def features(shares: Floats) -> Floats:
        """Returns what the line is in, float64[mixtures, features]."""
        raise NotImplementedError("a linear law must have features")

    def tuned(self, shares: Floats, losses: Floats) -> Self:
        return replace(self, ridge=chosen_ridge(self.features(shares), losses))

    def fit(self, shares: Floats, losses: Floats) -> FittedLinear:
        return least_squares(self.features, shares, losses, self.ridge)

    def stack(self, fits: Sequence[FittedLaw]) -> FittedLinear:
        lines = [cast(FittedLinear, fit) for fit in fits]
        weights = np.concatenate([line.weights for line in lines], axis=1)
        return FittedLinear(lines[0].features, weights, np.concatenate([line.level for line in lines]))


class Roots(LinearLaw):
    """Fits the loss as a sum over domains of a share and its square root, each times a weight."""

    name: ClassVar = "roots"
    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492), with least squares in the place of LightGBM"

    @staticmethod
    def features(shares: Floats) -> Floats:
        return with_roots(shares)

    def parameters(self, domains: int) -> int:
        return 2 * domains


class Log(LinearLaw):
    """Fits the loss as a sum over domains of the logarithm of a share, times a weight."""

    name: ClassVar = "log"
    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492), with least squares on logarithms"

    @staticmethod
    def features(shares: Floats) -> Floats:
        return logarithms(shares)

    def parameters(self, domains: int) -> int:
        return domains + 1
