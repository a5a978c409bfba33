"""Fits losses by gradient-boosted trees, as the published RegMix does; needs the package lightgbm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.law import FittedLaw, Stacked

Floats = npt.NDArray[np.float64]

PARAMETERS: dict[str, Any] = {
    "objective": "regression", "boosting_type": "gbdt", "metric": "l2", "learning_rate": 0.01, "seed": 42,
    "deterministic": True, "force_row_wise": True, "num_threads": 2, "verbose": -1,
}  # fmt: skip
"""Of sail-sg/regmix, regression_fitting/regression.ipynb; what is not there is the package's default."""
ROUNDS = 1000
PATIENCE = 3  # rounds in which the error of held-out runs does not fall
HELD_OUT = 5  # one run in so many
FEWEST = 40  # runs: a leaf has 20


class FittedTrees:
    """Holds a model of trees a target."""

    def __init__(self, models: Sequence[Any]) -> None:
        self.models = models

    def predict(self, shares: Floats) -> Floats:
        return np.column_stack([model.predict(shares) for model in self.models])


@dataclass(frozen=True)
class Trees:
    """Fits the loss by gradient-boosted trees (LightGBM).

    The published code stops at the round at which the error of the test set no longer falls; here that of a fifth of
    the runs decides, once, and the trees are then fitted to all runs.

    Attributes:
        rounds: Trees a target; 1000 where nothing was held out.
    """

    rounds: tuple[int, ...] = ()
    name: ClassVar = "lightgbm"
    paper: ClassVar = "Ke et al. 2017 (LightGBM), as Liu et al. 2024 (RegMix, arXiv 2407.01492) use it"

    def tuned(self, shares: Floats, losses: Floats) -> Self:
        held_out = np.random.default_rng(PARAMETERS["seed"]).permutation(len(shares)) % HELD_OUT == 0
        return replace(self, rounds=tuple(_rounds(shares, column, held_out) for column in losses.T))

    def fit(self, shares: Floats, losses: Floats) -> FittedTrees:
        lightgbm = import_module("lightgbm")
        made = []
        for number, column in enumerate(losses.T):
            known = np.isfinite(column)
            data = lightgbm.Dataset(shares[known], column[known])
            made.append(lightgbm.train(PARAMETERS, data, self.rounds[number] if self.rounds else ROUNDS))
        return FittedTrees(made)

    def stack(self, fits: Sequence[FittedLaw]) -> Stacked:
        return Stacked(fits)

    def parameters(self, domains: int) -> int:  # noqa: ARG002
        return FEWEST


def _rounds(shares: Floats, losses: Floats, held_out: npt.NDArray[np.bool_]) -> int:
    """The round after which the error of held-out runs no longer falls; all where none of them has the loss."""
    lightgbm = import_module("lightgbm")
    known = np.isfinite(losses)
    inside, outside = known & ~held_out, known & held_out
    if not outside.any():
        return ROUNDS
    train = lightgbm.Dataset(shares[inside], losses[inside])
    judge = lightgbm.Dataset(shares[outside], losses[outside], reference=train)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return int(lightgbm.train(PARAMETERS, train, ROUNDS, valid_sets=[judge], callbacks=[stop]).best_iteration)
