"""Predicts the loss of a training run from the groups of documents that it saw, by a sparse linear model.

Ilyas et al. 2022 (arXiv 2202.00622) regress an item's margin on which examples a run had, by LASSO. Here the rows are
runs, the columns groups of documents (sources, domains, clusters): 1 or 0 for seen or not, or the share of a run's
tokens. The objective is sklearn's, (1 / 2 runs) |y - b - X w|^2 + penalty |w|_1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.statistics.ranks import spearman

Floats = npt.NDArray[np.float64]
Method = Literal["lasso", "least_squares"]

FEWEST = 6  # runs
FOLDS = 5
PENALTIES = 20  # of a path from the one that leaves nothing down to a thousandth of it
LOWEST_PENALTY = 1e-3
STEPS = 5000
TOLERANCE = 1e-12  # of the largest change of a weight in a step, beside the largest weight


@dataclass(frozen=True)
class Datamodel:
    """Holds the linear model of a loss over the groups that runs saw.

    Attributes:
        groups: Names of G groups.
        effects: float64[G], the change of the loss from none of a group to all of it; negative helps. Of shares, which
            add up to 1 in every run, effects are known up to one number for all: compare them with each other.
        intervals: float64[G, 2], 95 % intervals over resamples of the runs, at the penalty that was chosen.
        intercept: The prediction of a run with nothing.
        penalty: Of the LASSO; 0 for least squares.
        rank_correlation: Spearman's, of held-out runs' losses and their predictions; None where these do not vary.
        runs: Number of runs with a finite loss and finite shares.
    """

    groups: tuple[str, ...]
    effects: Floats
    intervals: Floats
    intercept: float
    penalty: float
    rank_correlation: float | None
    runs: int

    def predict(self, shares: npt.ArrayLike) -> Floats:
        """Returns the predicted losses of runs, from their shares or indicators float[runs, G]."""
        return np.asarray(np.asarray(shares, np.float64) @ self.effects + self.intercept)

    def order(self) -> list[str]:
        """Returns the groups from the one that lowers the loss most; of equals the first by name."""
        return [name for _, name in sorted(zip(self.effects.tolist(), self.groups, strict=True))]


def fit_datamodel(
    shares: npt.ArrayLike,
    losses: npt.ArrayLike,
    groups: Sequence[str],
    *,
    method: Method = "lasso",
    resamples: int = 200,
    seed: int = 0,
) -> Datamodel:
    """Returns the linear model of losses; runs with a value that is not finite are left out.

    The penalty is the one with the least squared error over five folds of the runs. Held-out predictions come from
    folds whose penalty was chosen without them.

    Args:
        shares: float[runs, G], shares or 0 and 1.
        losses: float[runs], one loss of each run.
        groups: Names of the columns.
        method: `least_squares` takes the solution of least norm.
        resamples: Of the intervals.
        seed: Of folds and resamples.

    Raises:
        UserError: shapes do not agree, there are too few runs, or their losses or groups do not vary.
    """
    if method not in get_args(Method):
        raise UserError(f"datamodel: method must be one of {', '.join(get_args(Method))}, got {method!r}")
    X, y = np.asarray(shares, np.float64), np.asarray(losses, np.float64)
    if not len(groups) or len(set(groups)) < len(groups):
        raise UserError(f"datamodel: must name every group once, and one at least, got {name_some(groups) or 'none'}")
    if X.ndim != 2 or y.shape != X.shape[:1] or X.shape[1] != len(groups):
        raise UserError(
            f"datamodel: must have a loss for each run and a name for each group, got shares {X.shape}, losses "
            f"{y.shape} and {len(groups)} names"
        )
    known = np.isfinite(y) & np.isfinite(X).all(axis=1)
    X, y = X[known], y[known]
    if len(y) < FEWEST:
        raise UserError(f"datamodel: must have {FEWEST} runs with finite losses and shares, got {len(y)}")
    if y.min() == y.max():
        raise UserError(f"datamodel: must have losses that differ, got {y[0]:g} of all {len(y)} runs")
    if (X.min(axis=0) == X.max(axis=0)).all():
        raise UserError(f"datamodel: must have groups whose share varies between runs, got none of {name_some(groups)}")
    fold = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    penalty = _chosen(X, y, fold) if method == "lasso" else 0.0
    effects, intercept = _fitted(X, y, penalty)
    held_out = _held_out(X, y, fold, method)
    intervals = _intervals(X, y, penalty, resamples, seed)
    return Datamodel(tuple(groups), effects, intervals, intercept, penalty, spearman(y, held_out), len(y))


def lasso(X: npt.ArrayLike, y: npt.ArrayLike, penalty: float, start: Floats | None = None) -> tuple[Floats, float]:
    """Returns (weights [G], intercept) of the LASSO, by accelerated proximal gradient steps (FISTA) with restarts."""
    features, wanted = np.asarray(X, np.float64), np.asarray(y, np.float64)
    means, mean = features.mean(axis=0), float(wanted.mean())
    centred = features - means
    gram, along = centred.T @ centred / len(wanted), centred.T @ (wanted - mean) / len(wanted)
    weights = _descended(gram, along, penalty, np.zeros(len(along)) if start is None else start)
    return weights, mean - float(means @ weights)


def _descended(gram: Floats, along: Floats, penalty: float, weights: Floats) -> Floats:
    curvature = float(np.linalg.eigvalsh(gram)[-1])
    if curvature <= 0:
        return np.zeros(len(along))
    ahead, momentum = weights, 1.0
    for _ in range(STEPS):
        moved = ahead - (gram @ ahead - along) / curvature
        new = np.sign(moved) * np.maximum(np.abs(moved) - penalty / curvature, 0.0)
        if float((ahead - new) @ (new - weights)) > 0:  # momentum leads away: begin it again
            momentum = 1.0
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / faster * (new - weights)
        change = float(np.abs(new - weights).max())
        weights, momentum = new, faster
        if change <= TOLERANCE * max(float(np.abs(new).max()), 1e-30):
            break
    return weights


def _fitted(X: Floats, y: Floats, penalty: float) -> tuple[Floats, float]:
    if penalty > 0:
        return lasso(X, y, penalty)
    means = X.mean(axis=0)
    weights = np.linalg.lstsq(X - means, y - y.mean(), rcond=1e-10)[0]
    return weights, float(y.mean() - means @ weights)


def _path(X: Floats, y: Floats) -> Floats:
    """Penalties from the lowest that leaves no weight downward."""
    highest = float(np.abs((X - X.mean(axis=0)).T @ (y - y.mean())).max()) / len(y)
    return np.geomspace(highest, LOWEST_PENALTY * highest, PENALTIES) if highest > 0 else np.zeros(1)


def _chosen(X: Floats, y: Floats, fold: npt.NDArray[np.int64]) -> float:
    """The penalty of a path with the least squared error over folds."""
    path = _path(X, y)
    errors = np.zeros(len(path))
    for number in np.unique(fold):
        test, start = fold == number, np.zeros(X.shape[1])
        for place, penalty in enumerate(path):
            start, intercept = lasso(X[~test], y[~test], float(penalty), start)
            errors[place] += float(((X[test] @ start + intercept - y[test]) ** 2).sum())
    return float(path[errors.argmin()])


def _held_out(X: Floats, y: Floats, fold: npt.NDArray[np.int64], method: Method) -> Floats:
    predicted = np.zeros(len(y))
    for number in range(FOLDS):
        test = fold == number
        inner = np.arange(int((~test).sum())) % FOLDS
        penalty = _chosen(X[~test], y[~test], inner) if method == "lasso" else 0.0
        effects, intercept = _fitted(X[~test], y[~test], penalty)
        predicted[test] = X[test] @ effects + intercept
    return predicted


def _intervals(X: Floats, y: Floats, penalty: float, resamples: int, seed: int) -> Floats:
    if resamples < 1:
        return np.full((X.shape[1], 2), np.nan)
    drawn = np.random.default_rng([seed, 1])
    rows = [drawn.integers(0, len(y), len(y)) for _ in range(resamples)]
    effects = np.stack([_fitted(X[row], y[row], penalty)[0] for row in rows])
    return np.asarray(np.quantile(effects, [0.025, 0.975], axis=0).T)
