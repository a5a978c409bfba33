"""Fits losses by least squares on functions of the shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = Callable[[Floats], Floats]

SMALLEST = 1e-3  # is added to a share whose logarithm is taken
RIDGE = 1e-9  # of the features' variance, where shares that add up to 1 leave a sum undecided


@dataclass(frozen=True)
class FittedLinear:
    """Holds a straight line in features of the shares: their means, their spreads, the weights, and the mean loss."""

    features: Features
    mean: Floats
    spread: Floats
    weights: Floats
    level: float

    def predict(self, shares: Floats) -> Floats:
        return np.asarray((self.features(shares) - self.mean) / self.spread @ self.weights + self.level)


def least_squares(features: Features, shares: Floats, losses: Floats) -> FittedLinear:
    """Returns the line in standardised features that fits the losses best."""
    made = features(shares)
    mean, spread = made.mean(axis=0), made.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    standard = (made - mean) / spread
    normal = standard.T @ standard + RIDGE * len(shares) * np.eye(standard.shape[1])
    weights = np.linalg.solve(normal, standard.T @ (losses - losses.mean()))
    return FittedLinear(features, mean, spread, weights, float(losses.mean()))


def with_roots(shares: Floats) -> Floats:
    """Returns the shares and their square roots, float64[mixtures, 2 domains]."""
    return np.concatenate([shares, np.sqrt(shares)], axis=1)


def logarithms(shares: Floats) -> Floats:
    """Returns the logarithms of the shares and a thousandth, float64[mixtures, domains]."""
    return np.log(shares + SMALLEST)


class Roots:
    """Fits the loss as a sum over domains of a share and its square root, each times a weight."""

    name: ClassVar = "roots"
    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492), with least squares in the place of LightGBM"

    def fit(self, shares: Floats, losses: Floats) -> FittedLinear:
        return least_squares(with_roots, shares, losses)

    def parameters(self, domains: int) -> int:
        return 2 * domains


class Log:
    """Fits the loss as a sum over domains of the logarithm of a share, times a weight."""

    name: ClassVar = "log"
    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492), with least squares on logarithms"

    def fit(self, shares: Floats, losses: Floats) -> FittedLinear:
        return least_squares(logarithms, shares, losses)

    def parameters(self, domains: int) -> int:
        return domains + 1
