"""Fits losses by the exponential mixing law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, cast

import numpy as np
import numpy.typing as npt
from scipy import linalg

from siftlm.mixtures.law import FittedLaw
from siftlm.mixtures.laws.newton import DONE, damped_newton

Floats = npt.NDArray[np.float64]

STARTS = (0.25, 0.5, 1.0, 2.0)  # c at first, as the distance below the least loss, in ranges of the losses
SPANS = 0.1  # of the range of the losses: errors beyond pull no more than in proportion
RIDGE = 1e-8
MANY = 100  # domains, beyond which steps of Gauss and Newton take minutes
LEVELS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
LINE_RIDGE = 1e-4  # of the mean diagonal
SMALLEST = 1e-3  # distance of a loss from the level, in ranges of the losses
NEARLY = 1e-5  # fall of the cost at which a fit ends that begins near its end
LARGEST = 50.0  # exponent; what is larger is no loss


@dataclass(frozen=True)
class FittedExponential:
    """Holds c + exp(sum over domains of t_j r_j): levels float64[targets], weights float64[domains, targets]."""

    level: Floats
    weights: Floats

    def predict(self, shares: Floats) -> Floats:
        return np.asarray(self.level + np.exp(np.minimum(shares @ self.weights, LARGEST)))


@dataclass(frozen=True)
class Exponential:
    """Fits the loss as c + k exp(sum over domains of t_j r_j), by least squares that outliers pull little.

    Shares add up to 1, so k is in the weights already.

    Attributes:
        start: Of the parameters, float64[targets, 1 + domains], where a fit to all runs is known.
        huber: Errors beyond pull in proportion, in the unit of the losses; by default a tenth of their range.
        levelled: Whether c is fitted; else it is 0, and losses must be above 0.
    """

    start: Floats | None = None
    huber: float | None = None
    levelled: bool = True
    name: ClassVar = "exponential"
    paper: ClassVar = "Ye et al. 2024 (Data Mixing Laws, arXiv 2403.16952)"

    def tuned(self, shares: Floats, losses: Floats) -> Self:
        fit = self.fit(shares, losses)
        return replace(self, start=np.column_stack([fit.level, fit.weights.T]))

    def fit(self, shares: Floats, losses: Floats) -> FittedExponential:
        """Returns the best of fits from several levels, each begun with a line through the logarithms.

        From a known start there is one fit.
        """
        made = []
        for number, column in enumerate(losses.T):
            known = np.isfinite(column)
            made.append(self._target(shares[known], column[known], None if self.start is None else self.start[number]))
        parameters = np.stack(made, axis=1)
        return FittedExponential(parameters[0], parameters[1:])

    def stack(self, fits: Sequence[FittedLaw]) -> FittedExponential:
        laws = [cast(FittedExponential, fit) for fit in fits]
        weights = np.concatenate([law.weights for law in laws], axis=1)
        return FittedExponential(np.concatenate([law.level for law in laws]), weights)

    def parameters(self, domains: int) -> int:
        return domains + int(self.levelled)

    def _target(self, shares: Floats, losses: Floats, start: Floats | None) -> Floats:
        """The level and the weights of one target, float64[1 + domains]."""
        span = max(float(np.ptp(losses)), 1e-6)
        if shares.shape[1] > MANY:
            return self._of_many(shares, losses, span, None if start is None else float(start[0]))
        starts = [start] if start is not None else [self._start(shares, losses, share * span) for share in STARTS]
        done = DONE if start is None else NEARLY
        free = slice(None) if self.levelled else slice(1, None)

        def model(parameters: Floats) -> tuple[Floats, Floats]:
            level, weights = (parameters[0], parameters[1:]) if self.levelled else (0.0, parameters)
            risen = np.exp(np.minimum(shares @ weights, LARGEST))
            slopes = risen[:, None] * shares
            return level + risen - losses, np.column_stack([np.ones(len(shares)), slopes])[:, free]

        huber = self.huber or SPANS * span
        ridge = np.full(1 + shares.shape[1], RIDGE * len(losses) * min(1.0, huber / (SPANS * span)))
        ridge[1:] *= span**2  # weights have no unit, and the level has that of the losses
        fits = [damped_newton(model, begun[free], huber, ridge[free], done) for begun in starts]
        best, _ = min(fits, key=lambda fit: fit[1])
        return best if self.levelled else np.concatenate([[0.0], best])

    def _of_many(self, shares: Floats, losses: Floats, span: float, level: float | None) -> Floats:
        """The level and the weights for hundreds of domains: the best of weighed lines through the logarithms.

        A line is in shares, through log(loss - level), each loss weighed by its distance from the level, so that errors
        count as those of the losses do; the level is the known one, or that of the least squared error.
        """
        levels = [float(losses.min()) - share * span for share in LEVELS] if self.levelled else [0.0]
        made = [self._line(shares, losses, one) for one in (levels if level is None else [level])]
        return min(made, key=lambda fit: float(((fit[0] + np.exp(shares @ fit[1:]) - losses) ** 2).sum()))

    def _line(self, shares: Floats, losses: Floats, level: float) -> Floats:
        above = np.maximum(losses - level, SMALLEST * max(float(np.ptp(losses)), 1e-6))
        weighed = shares * above[:, None]
        normal = weighed.T @ weighed
        normal[np.diag_indices(len(normal))] += LINE_RIDGE * float(np.trace(normal)) / len(normal)
        return np.concatenate([[level], linalg.solve(normal, weighed.T @ (above * np.log(above)), assume_a="pos")])

    def _start(self, shares: Floats, losses: Floats, below: float) -> Floats:
        level = float(losses.min()) - below if self.levelled else 0.0
        line = np.linalg.lstsq(shares, np.log(losses - level), rcond=None)[0]
        return np.concatenate([[level], line])
