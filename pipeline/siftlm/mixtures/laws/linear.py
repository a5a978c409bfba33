"""Fits losses by least squares on functions of the shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.law import FittedLaw, by_pattern

Floats = npt.NDArray[np.float64]
Features = Callable[[Floats], Floats]

SMALLEST = 1e-3  # is added to a share whose logarithm is taken
RIDGE = 1e-9  # of the features' variance, where shares that add up to 1 leave a sum undecided
RIDGES = np.logspace(-9, 2, 23)
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


def ridge_weights(standard: Floats, deviations: Floats, ridge: float) -> Floats:
    """Returns the weights, float64[features, targets], of a ridge regression.

    It minimises |standard w - deviations|^2 + ridge * runs * |w|^2, in the smaller of both spaces.
    """
    runs, features = standard.shape
    if features <= runs:
        normal = standard.T @ standard + ridge * runs * np.eye(features)
        return np.asarray(np.linalg.solve(normal, standard.T @ deviations))
    kernel = standard @ standard.T + ridge * runs * np.eye(runs)
    return np.asarray(standard.T @ np.linalg.solve(kernel, deviations))


def least_squares(features: Features, shares: Floats, losses: Floats, ridge: float = RIDGE) -> FittedLinear:
    """Returns the line in standardised features that fits the losses, float64[runs, targets], best."""
    made = features(shares)
    weights, level = np.empty((made.shape[1], losses.shape[1])), np.empty(losses.shape[1])
    for runs, targets in by_pattern(losses):
        standard, mean, spread = standardised(made[runs])
        known = losses[np.ix_(runs, targets)]
        weights[:, targets] = ridge_weights(standard, known - known.mean(axis=0), ridge) / spread[:, None]
        level[targets] = known.mean(axis=0) - mean @ weights[:, targets]
    return FittedLinear(features, weights, level)


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
