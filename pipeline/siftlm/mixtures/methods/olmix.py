"""Finds the mixture with the lowest loss that log-linear laws predict, held near the prior by a divergence.

Olmix (arXiv 2602.12237; allenai/olmix, `log_linear` with the proposer `exact`): y = e^c + e^(t p) a loss, and
minimise sum over losses of w e^(t p) + kl KL(p || prior), within caps by tokens at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.mixtures.exact import Exponentials, minimised
from siftlm.mixtures.fitted import FittedMixture
from siftlm.mixtures.law import FittedLaw
from siftlm.mixtures.laws.exponential import Exponential, FittedExponential
from siftlm.mixtures.problem import FittedSettings, Problem
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs, read_runs

Floats = npt.NDArray[np.float64]

HUBER = 0.02  # bits per byte, in which upstream's losses are (olmix/fit/utils.py)


class OlmixSettings(FittedSettings):
    """Finds the mixture with the lowest loss that log-linear laws predict, held near the prior by a divergence."""

    paper: ClassVar = "Olmix (arXiv 2602.12237)"
    needs: ClassVar = "runs of small models on many mixtures, with their losses"
    unchecked: ClassVar = "the strength kl: .05, .1 and none stand in different places of the published code"
    example: ClassVar[Mapping[str, Any]] = {"method": "olmix", "runs": "runs.csv"}
    extrapolates: ClassVar = True

    method: Literal["olmix"] = "olmix"
    kl: float = Field(0.05, ge=0, description="Strength with which the mixture is held near the prior.")
    huber: float = Field(HUBER, gt=0, description="Errors beyond it pull in proportion, in the unit of the losses.")

    def result(self) -> MixResult:
        """Returns the mixture that is optimal for the fitted laws."""
        return optimum(self, read_runs(self), Exponential(huber=self.huber), self.kl)


def optimum(settings: FittedSettings, runs: Runs, law: Exponential, kl: float) -> MixResult:
    """Returns the optimum of laws that are sums of exponentials, with a divergence from the prior; raises UserError."""
    problem = Problem(settings, runs)

    def find(fits: Sequence[FittedLaw]) -> Floats:
        exponents = np.stack([cast(FittedExponential, fit).weights.T for fit in fits])
        return minimised(Exponentials(exponents, problem.weights, problem.prior, kl), *problem.bounds)

    return FittedMixture(problem, law, find).result()
