"""Finds the mixture of domains with the lowest loss that a law predicts, fitted to runs of small models.

Liu et al. 2024 (RegMix, arXiv 2407.01492). The law is least squares on shares and their roots unless another is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.mixtures.fitted import FittedMixture
from siftlm.mixtures.law import FittedLaw, Law
from siftlm.mixtures.laws.exponential import Exponential
from siftlm.mixtures.laws.linear import Log, Roots
from siftlm.mixtures.laws.trees import Trees
from siftlm.mixtures.problem import FittedSettings, Problem
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs, read_runs
from siftlm.mixtures.simplex import Predict, best_mixtures

Floats = npt.NDArray[np.float64]

LAWS: dict[str, type[Law]] = {law.name: law for law in (Roots, Log, Exponential, Trees)}


class RegmixSettings(FittedSettings):
    """Finds the mixture with the lowest loss that a law predicts, fitted to small models on many mixtures."""

    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492)"
    needs: ClassVar = "runs of small models on many mixtures, with their losses"
    example: ClassVar[Mapping[str, Any]] = {"method": "regmix", "runs": "runs.csv"}

    method: Literal["regmix"] = "regmix"
    law: Literal["roots", "log", "exponential", "lightgbm"] = Field(
        "roots", description="What predicts a loss from shares: least squares on shares and their square roots, on "
        "logarithms, c + k exp(sum of t r) (Ye et al. 2024, arXiv 2403.16952), or boosted trees as published, which "
        "need siftlm[lightgbm] and minutes.",
    )  # fmt: skip

    def needed_packages(self) -> Sequence[str]:
        return ["lightgbm"] if self.law == Trees.name else []

    def result(self) -> MixResult:
        """Returns the mean of the best of many drawn mixtures."""
        return regmix(self, read_runs(self))


def regmix(settings: RegmixSettings, runs: Runs) -> MixResult:
    """Returns the mean of the 128 of 100,000 drawn mixtures whose predicted losses are lowest; raises UserError."""
    problem, law = Problem(settings, runs), LAWS[settings.law]()

    def find(fits: Sequence[FittedLaw]) -> Floats:
        predict = predicted_means(law, fits, problem.weights)
        return best_mixtures(predict, problem.prior, *problem.bounds, settings.seed)

    return FittedMixture(problem, law, find).result()


def predicted_means(law: Law, fits: Sequence[FittedLaw], weights: Floats) -> Predict:
    """Returns the function from mixtures to the weighed mean of the losses that each fit predicts."""
    stacked = law.stack(fits)

    def predict(shares: Floats) -> Floats:
        return np.asarray(stacked.predict(shares).reshape(len(shares), len(fits), -1) @ weights)

    return predict
