"""Compares corpora by how the loss falls with compute on each, and finds where two curves cross.

Nezhurina et al. 2025 (Scaling laws for robust comparison, arXiv 2506.04598): E(C) = A C^-alpha + E_inf a corpus or
recipe, fitted up to some compute and judged above it; a comparison is the crossing of two curves, not one point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]

FEWEST = 5  # points of a curve
GRID = 400  # values of E_inf that are tried, and again around the best
RANGE = 1e6  # how far beyond the largest compute a crossing is looked for


@dataclass(frozen=True)
class ComputeCurve:
    """Holds E(C) = scale * C^-exponent + floor."""

    scale: float
    exponent: float
    floor: float

    def predict(self, compute: npt.ArrayLike) -> Floats:
        """Returns the losses, float64 of the shape of `compute`."""
        return np.asarray(self.scale * np.asarray(compute, np.float64) ** -self.exponent + self.floor)


@dataclass(frozen=True)
class Crossing:
    """Holds the compute at which two curves cross.

    Attributes:
        compute: NaN where they do not, between the least compute and a million times the most.
        low: Where 5 of 100 resamples cross below; NaN where none crosses.
        high: Where 95 do.
        crossed: Share of the resamples that cross.
    """

    compute: float
    low: float
    high: float
    crossed: float


def fit_compute_curve(compute: npt.ArrayLike, losses: npt.ArrayLike) -> ComputeCurve:
    """Returns the curve that fits losses best, by a line through log(E - E_inf) for many E_inf.

    The E_inf of the least squared error of the losses is taken, from [0, least loss), and made better by a second grid.

    Raises:
        UserError: there are fewer than 5 points of different compute, or numbers that are not above 0.
    """
    x, y = (np.asarray(values, np.float64) for values in (compute, losses))
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(np.unique(x)) < FEWEST or not ((x > 0) & (y > 0)).all():
        raise UserError(
            f"corpus_curves: a curve must have {FEWEST} points of different compute with losses above 0, got {len(x)}"
        )
    low, high = 0.0, float(y.min())
    for _ in range(3):
        floors = np.linspace(low, high, GRID, endpoint=False)
        best = int(np.argmin([_line(x, y, float(floor))[1] for floor in floors]))
        floor, width = float(floors[best]), (high - low) / GRID
        low, high = max(low, floor - width), min(float(y.min()), floor + width)
    return _line(x, y, floor)[0]


def _line(x: Floats, y: Floats, floor: float) -> tuple[ComputeCurve, float]:
    """The curve with a known floor, and its squared error."""
    slope, intercept = np.polyfit(np.log(x), np.log(y - floor), 1)
    curve = ComputeCurve(float(np.exp(intercept)), float(-slope), floor)
    return curve, float(((curve.predict(x) - y) ** 2).sum())


def crossing_compute(first: ComputeCurve, second: ComputeCurve, low: float, high: float) -> float:
    """Returns the largest compute between the ends at which two curves cross; NaN where they do not."""
    grid = np.geomspace(low, high, 4000)
    above = first.predict(grid) > second.predict(grid)
    places = np.flatnonzero(above[1:] != above[:-1])
    if not len(places):
        return float("nan")
    a, b = np.log(grid[places[-1]]), np.log(grid[places[-1] + 1])
    for _ in range(60):
        middle = (a + b) / 2
        same = (first.predict(np.exp(middle)) > second.predict(np.exp(middle))) == above[places[-1]]
        a, b = (middle, b) if same else (a, middle)
    return float(np.exp((a + b) / 2))


def crossing(
    first: tuple[npt.ArrayLike, npt.ArrayLike],
    second: tuple[npt.ArrayLike, npt.ArrayLike],
    resamples: int = 200,
    seed: int = 0,
) -> Crossing:
    """Returns where the curves of two corpora cross, with an interval over resamples of their runs.

    Args:
        first: (compute, losses) of one corpus, float64[runs] each.
        second: The same of the other.
        resamples: Of the runs of each, with replacement; those with too few different runs are left out.
        seed: Of the resamples.
    """
    points = [(np.asarray(x, np.float64), np.asarray(y, np.float64)) for x, y in (first, second)]
    every = np.concatenate([compute for compute, _ in points])
    low, high = float(np.nanmin(every)), float(np.nanmax(every)) * RANGE
    found = crossing_compute(fit_compute_curve(*points[0]), fit_compute_curve(*points[1]), low, high)
    generator, made = np.random.default_rng(seed), []
    for _ in range(resamples):
        rows = [generator.integers(len(compute), size=len(compute)) for compute, _ in points]
        drawn = [(x[of], y[of]) for (x, y), of in zip(points, rows, strict=True)]
        if all(len(np.unique(x)) >= FEWEST for x, _ in drawn):
            made.append(crossing_compute(fit_compute_curve(*drawn[0]), fit_compute_curve(*drawn[1]), low, high))
    values = np.array(made)
    crossed = values[np.isfinite(values)]
    ends = np.percentile(crossed, [5, 95]) if len(crossed) else (np.nan, np.nan)
    return Crossing(found, float(ends[0]), float(ends[1]), len(crossed) / len(values) if len(values) else 0.0)
