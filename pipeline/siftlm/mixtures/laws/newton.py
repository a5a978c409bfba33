"""Fits the parameters of a function to values by damped Gauss-Newton steps that outliers pull little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Model = Callable[[Floats], tuple[Floats, Floats]]
"""Takes parameters to residuals, float64[values], and their derivatives, float64[values, parameters]."""

STEPS = 200
DONE = 1e-12  # relative fall of the cost
LARGEST_DAMPING = 1e12


def damped_newton(
    model: Model, start: Floats, huber: float, ridge: Floats | float = 0.0, done: float = DONE
) -> tuple[Floats, float]:
    """Returns the parameters of a local minimum, and its cost.

    The cost is the sum of Huber's function of the residuals (r^2 / 2 up to `huber`, linear beyond) and the sum of
    ridge / 2 * parameters^2, one ridge for all or one each (Levenberg 1944, Marquardt 1963). Steps end where one lowers
    it by no more than `done` times itself.
    """
    at, damping = np.array(start, np.float64), 1e-3
    residuals, slopes = model(at)
    cost = _cost(residuals, at, huber, ridge)
    for _ in range(STEPS):
        weights = np.minimum(1.0, huber / np.maximum(np.abs(residuals), 1e-300))
        normal = (slopes * weights[:, None]).T @ slopes
        gradient = slopes.T @ (weights * residuals) + ridge * at
        while True:
            diagonal = np.diag(normal) + ridge
            system = normal + np.diag(ridge + damping * np.maximum(diagonal, 1e-12 * max(float(diagonal.max()), 1e-12)))
            try:
                step = np.linalg.solve(system, gradient)
            except np.linalg.LinAlgError:
                step = np.full_like(at, np.nan)
            new_residuals, new_slopes = model(at - step)
            new_cost = _cost(new_residuals, at - step, huber, ridge)
            if new_cost <= cost:
                break
            damping *= 8.0
            if damping > LARGEST_DAMPING:
                return at, cost
        fall, at, cost, residuals, slopes = cost - new_cost, at - step, new_cost, new_residuals, new_slopes
        damping = max(damping / 4.0, 1e-12)
        if fall <= done * max(cost, 1e-300):
            break
    return at, cost


def _cost(residuals: Floats, at: Floats, huber: float, ridge: Floats | float) -> float:
    size = np.abs(residuals)
    made = np.where(size <= huber, 0.5 * size**2, huber * (size - 0.5 * huber)).sum() + 0.5 * float((ridge * at) @ at)
    return float(made) if np.isfinite(made) else np.inf
