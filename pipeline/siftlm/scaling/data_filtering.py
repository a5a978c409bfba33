"""Predicts the error of a model that reads pools of text of different quality, small ones several times.

Goyal et al. 2024 (Scaling Laws for Data Filtering, arXiv 2404.07177; locuslab/scaling_laws_data_filtering). In epoch k
a pool lowers the error y as dy / dn = b_k y / n with b_k = b * 0.5^(k / tau): its use halves every tau repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]
Objective = Literal["utility", "data"]
"""What a repeat lessens: the utility b of what is read, or the amount that it counts as."""

UNIT = 100_000.0  # samples, in which the law counts
SCALES = np.linspace(1e-4, 0.2, 100)
UTILITIES = np.linspace(-0.005, -0.5, 100)
HALVINGS = np.linspace(1.0, 10.0, 100)
"""The grids of a, b and tau in the published search (grid_search.py)."""
FLOOR = 0.1  # d, the error that no text lowers


@dataclass(frozen=True)
class Pool:
    """Holds a pool of text.

    Attributes:
        name: Of the pool.
        size: Samples (or tokens) of one epoch.
        utility: b, below 0; the lower, the better the text.
        halving: tau, the repeats after which the utility is half.
    """

    name: str
    size: float
    utility: float
    halving: float


def epochs_of(size: float, seen: float) -> tuple[Floats, Floats]:
    """Returns the numbers of the epochs from 0, and log(n_k / n_(k-1)) of each, whose first is log min(size, seen)."""
    numbers = np.arange(int(seen // size) + 1, dtype=np.float64)
    ends = np.minimum(size * (numbers + 1), seen)
    steps = np.log(ends)
    steps[1:] -= np.log(size * numbers[1:])
    return numbers, steps


def predicted_error(
    pools: Sequence[Pool],
    seen: float,
    scale: float,
    floor: float = FLOOR,
    objective: Objective = "utility",
    multiplied: bool = False,
) -> float:
    """Returns the error after `seen` samples of the union of pools, epoch by epoch.

    It is d + n_0^(b_0) * product over epochs of (n_k / n_(k-1))^(b_k), n counted in a / 100,000 samples, where b_k is
    the mean of the pools' b * 0.5^(k / tau'), each weighed by its size, and tau' = tau * union / size: in a union a
    sample is repeated less often. With `multiplied` the product multiplies d too, as the published code has it and the
    formula does not.

    Args:
        pools: What is read together.
        seen: Samples read, above 0.
        scale: a.
        floor: d.
        objective: `data` counts what repeats are worth as samples, and weighs b by it.
        multiplied: See above; for `utility` alone.
    """
    sizes = np.array([pool.size for pool in pools])
    union = float(sizes.sum())
    numbers, steps = epochs_of(union, seen)
    steps[0] += np.log(scale / UNIT)
    left = np.stack([0.5 ** (numbers / (pool.halving * union / pool.size)) for pool in pools])
    utilities, weights = np.array([pool.utility for pool in pools]), sizes / union
    if objective == "utility":
        decayed = (weights * utilities) @ left
        first, later = np.exp(decayed[0] * steps[0]), np.exp(decayed[1:] @ steps[1:])
        return float((floor + first) * later if multiplied else floor + first * later)
    worth = weights @ left
    decayed = (weights * utilities) @ left / worth
    amounts = np.diff(np.minimum(union * (numbers + 1), seen), prepend=0.0) * worth * scale / UNIT
    total = np.cumsum(amounts)
    logs = np.concatenate([[steps[0]], np.log(total[1:] / total[:-1])])
    return float(floor + np.exp(decayed @ logs))


@dataclass(frozen=True)
class Curve:
    """Holds the errors of a model that reads one pool, float64[points], after so many samples, float64[points]."""

    name: str
    size: float
    seen: Floats
    errors: Floats


@dataclass(frozen=True)
class Form:
    """Holds which form of the law is fitted: its floor, and what `predicted_error` calls objective and multiplied."""

    floor: float = FLOOR
    objective: Objective = "utility"
    multiplied: bool = False

    def errors(self, curve: Curve, scale: float, utilities: Floats, halvings: Floats) -> Floats:
        """Returns the errors of a curve's points, float64[points, utilities, halvings], by pools of the given numbers.

        It is `predicted_error` of one pool, for many of them.
        """
        powers = [_powers(curve.size, seen, scale, halvings, self.objective) for seen in curve.seen.tolist()]
        first, later = (utilities[:, None] * np.stack(made)[:, None] for made in zip(*powers, strict=True))
        if self.multiplied and self.objective == "utility":
            return np.asarray((self.floor + np.exp(first)) * np.exp(later))
        return np.asarray(self.floor + np.exp(first + later))


def fit_pools(
    curves: Sequence[Curve],
    floor: float = FLOOR,
    scale: float | None = None,
    objective: Objective = "utility",
    multiplied: bool = False,
) -> tuple[list[Pool], float]:
    """Returns the pools and the a, one for all of them, that fit the curves best by squared error.

    The published grids are searched, and the best point of each is made better within their ends. The last two
    arguments are those of `predicted_error`.

    Raises:
        UserError: a curve has fewer than two points, or an error at or below the floor.
    """
    for curve in curves:
        if len(curve.seen) < 2 or not (curve.seen > 0).all() or not curve.size > 0:
            raise UserError(
                f"data_filtering: the pool {curve.name!r} must have a size and two errors after reading text"
            )
        if (curve.errors <= floor).any():
            raise UserError(
                f"data_filtering: errors of {curve.name!r} must be above the floor of {floor:g}, got "
                f"{curve.errors.min():g}; lower mix.floor"
            )
    form = Form(floor, objective, multiplied)
    scales = SCALES if scale is None else np.array([scale])
    best = np.array([[_grid(curve, float(a), form)[1] for curve in curves] for a in scales])
    chosen = float(scales[int(np.argmin(best.sum(axis=1)))])
    return [_refined(curve, chosen, form) for curve in curves], chosen


def _grid(curve: Curve, scale: float, form: Form) -> tuple[tuple[float, float], float]:
    """The best (b, tau) of the grid, and its squared error."""
    errors = form.errors(curve, scale, UTILITIES, HALVINGS) - curve.errors[:, None, None]
    squares = (errors**2).sum(axis=0)
    row, column = np.unravel_index(int(np.argmin(squares)), squares.shape)
    return (float(UTILITIES[row]), float(HALVINGS[column])), float(squares[row, column])


def _powers(size: float, seen: float, scale: float, halvings: Floats, objective: Objective) -> tuple[Floats, Floats]:
    """What b is multiplied by in logarithms: of the error after the first epoch, and of its fall in later ones.

    float64[halvings] each.
    """
    numbers, steps = epochs_of(size, seen)
    first = np.full(len(halvings), steps[0] + np.log(scale / UNIT))
    left = 0.5 ** (numbers / halvings[:, None])
    if objective == "utility":
        return first, np.asarray(left[:, 1:] @ steps[1:])
    amounts = np.diff(np.minimum(size * (numbers + 1), seen), prepend=0.0)
    return first, np.log(left @ amounts / amounts[0])


def _refined(curve: Curve, scale: float, form: Form) -> Pool:
    (utility, halving), _ = _grid(curve, scale, form)

    def residuals(numbers: Floats) -> Floats:
        return np.asarray(form.errors(curve, scale, numbers[:1], numbers[1:])[:, 0, 0] - curve.errors)

    ends = ([UTILITIES.min(), HALVINGS.min()], [UTILITIES.max(), HALVINGS.max()])
    start = np.clip([utility, halving], np.array(ends[0]) + 1e-9, np.array(ends[1]) - 1e-9)
    fit = optimize.least_squares(residuals, start, bounds=ends, xtol=1e-12, ftol=1e-12)
    return Pool(curve.name, curve.size, float(fit.x[0]), float(fit.x[1]))
