"""Fits losses by the exponential mixing law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy import optimize

Floats = npt.NDArray[np.float64]

STARTS = (0.25, 0.5, 1.0, 2.0)  # c at first, as the distance below the least loss, in ranges of the losses
HUBER = 0.01


@dataclass(frozen=True)
class FittedExponential:
    """Holds c + k exp(sum over domains of t_j r_j); k is exp(log_scale)."""

    level: float
    log_scale: float
    weights: Floats

    def predict(self, shares: Floats) -> Floats:
        return np.asarray(self.level + np.exp(self.log_scale + shares @ self.weights))


class Exponential:
    """Fits the loss as c + k exp(sum over domains of t_j r_j), by least squares that outliers pull little."""

    name: ClassVar = "exponential"
    paper: ClassVar = "Ye et al. 2024 (Data Mixing Laws, arXiv 2403.16952)"

    def fit(self, shares: Floats, losses: Floats) -> FittedExponential:
        """Returns the best of fits from several levels, each begun with a line through the logarithms."""
        span = max(float(np.ptp(losses)), 1e-6)
        fits = [self._from(shares, losses, float(losses.min()) - start * span, span) for start in STARTS]
        return min(fits, key=lambda fit: float(((fit.predict(shares) - losses) ** 2).sum()))

    def parameters(self, domains: int) -> int:
        return domains + 1

    def _from(self, shares: Floats, losses: Floats, level: float, span: float) -> FittedExponential:
        # Shares add up to 1, so the scale is in the weights already.
        line, *_ = np.linalg.lstsq(shares, np.log(losses - level), rcond=None)
        start = np.concatenate([[level], line])
        fit = optimize.least_squares(
            lambda p: p[0] + np.exp(np.minimum(shares @ p[1:], 50.0)) - losses,
            start,
            jac=lambda p: np.column_stack(
                [np.ones(len(shares)), np.exp(np.minimum(shares @ p[1:], 50.0))[:, None] * shares]
            ),
            loss="huber",
            f_scale=HUBER * max(span, 1e-6) * 10,
            max_nfev=200,
        )
        return FittedExponential(float(fit.x[0]), 0.0, np.asarray(fit.x[1:], np.float64))
