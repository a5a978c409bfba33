"""Predicts the loss of models on one text from their loss on another, by a shifted power law.

Brandfonbrener et al. 2024 (arXiv 2411.12925): L1 = K (L0 - E0)^kappa + E1, where E0 and E1 are what no model of the
family gets below on either text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]

FEWEST = 3  # pairs of losses from which two numbers are fitted
GRID = 100  # values of each floor that are tried


@dataclass(frozen=True)
class LossToLoss:
    """Holds the law K (x - E0)^kappa + E1 that was fitted to pairs of losses.

    Attributes:
        scale: K.
        exponent: kappa.
        source_floor: E0, in the unit of the losses.
        target_floor: E1.
        r2: 1 - squared errors / squared deviations from the mean of the fitted losses.
        pairs: Number of pairs that were fitted.
    """

    scale: float
    exponent: float
    source_floor: float
    target_floor: float
    r2: float
    pairs: int

    def predict(self, source: npt.ArrayLike) -> Floats:
        """Returns the predicted losses, float64 of the shape of `source`; NaN at and below the source's floor."""
        x = np.asarray(source, np.float64) - self.source_floor
        with np.errstate(invalid="ignore"):
            return np.where(x > 0, self.scale * x**self.exponent + self.target_floor, np.nan)


def fit_loss_to_loss(
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    source_floor: float | None = None,
    target_floor: float | None = None,
) -> LossToLoss:
    """Returns the law between the losses of the same models on two texts; pairs with a NaN are left out.

    With both floors known, a straight line is fitted to the logarithms. With that of the source known, the rest comes
    from bounded least squares. With neither, a grid of both floors is tried, each with a line, and the least squared
    error of the losses decides.

    Args:
        source: float[models], losses on the text that is known.
        target: float[models], losses on the text to predict, in any unit.
        source_floor: E0, from a scaling law of the source.
        target_floor: E1, from a scaling law of the target; only with `source_floor`.

    Raises:
        UserError: there are too few pairs, or none above the floors.
    """
    x, y = (np.asarray(values, np.float64) for values in (source, target))
    if x.shape != y.shape or x.ndim != 1:
        raise UserError(f"loss_to_loss: source and target must have a loss a model each, got {x.shape} and {y.shape}")
    if target_floor is not None and source_floor is None:
        raise UserError("loss_to_loss: target_floor must come with source_floor, got it alone")
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    above = (x > (source_floor or 0.0)) & (y > (target_floor or 0.0))
    if above.sum() < FEWEST or len(np.unique(x[above])) < FEWEST - 1:
        raise UserError(
            f"loss_to_loss: there must be {FEWEST} models with different losses above the floors, got {above.sum()}"
        )
    x, y = x[above], y[above]
    if source_floor is None:
        found = _by_grid(x, y)
    elif target_floor is None:
        found = _bounded(x, y, source_floor)
    else:
        found = (*_line(x, y, source_floor, target_floor), source_floor, target_floor)
    law = LossToLoss(*found, r2=0.0, pairs=len(x))
    errors, spread = ((law.predict(x) - y) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return LossToLoss(*found, r2=float(1 - errors / spread) if spread else float("nan"), pairs=len(x))


def _line(x: Floats, y: Floats, source_floor: float, target_floor: float) -> tuple[float, float]:
    """K and kappa of a line through the logarithms of what is above the floors."""
    slope, intercept = np.polyfit(np.log(x - source_floor), np.log(y - target_floor), 1)
    return float(np.exp(intercept)), float(slope)


def _bounded(x: Floats, y: Floats, source_floor: float) -> tuple[float, float, float, float]:
    """The law with a known floor of the source, by bounded least squares of the losses."""

    def residuals(parameters: Any) -> Floats:
        scale, exponent, floor = parameters
        return np.asarray(scale * (x - source_floor) ** exponent + floor - y)

    start = (1.0, 1.0, min(1.0, float(y.min())))
    fit = optimize.least_squares(residuals, start, bounds=((0, 0, 0), (np.inf, np.inf, float(y.min()))), xtol=1e-12)
    scale, exponent, floor = map(float, fit.x)
    return scale, exponent, source_floor, floor


def _by_grid(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    """The law with unknown floors: those of a grid whose line has the least squared error."""
    # The ends of the grid are the least losses themselves, whose logarithms there are none of.
    sources, targets = (np.linspace(0, values.min(), GRID, endpoint=False) for values in (x, y))
    logs = np.log(y - targets[:, None])
    best: tuple[float, tuple[float, float, float, float]] | None = None
    for source_floor in sources.tolist():
        along = np.log(x - source_floor)
        slopes = (
            (logs - logs.mean(axis=1, keepdims=True)) @ (along - along.mean()) / ((along - along.mean()) ** 2).sum()
        )
        intercepts = logs.mean(axis=1) - slopes * along.mean()
        predicted = np.exp(intercepts[:, None] + slopes[:, None] * along) + targets[:, None]
        errors = ((predicted - y) ** 2).sum(axis=1)
        row = int(np.argmin(errors))
        if best is None or errors[row] < best[0]:
            law = (float(np.exp(intercepts[row])), float(slopes[row]), source_floor, float(targets[row]))
            best = float(errors[row]), law
    assert best is not None, "the grid has a member"
    return best[1]
