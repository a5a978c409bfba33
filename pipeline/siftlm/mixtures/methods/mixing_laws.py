"""Finds the mixture with the lowest loss that exponential mixing laws predict: their exact optimum.

Ye et al. 2024 (Data Mixing Laws, arXiv 2403.16952): L = c + k exp(sum of t r) a loss. The sum of such laws is convex in
the shares, so its least value within the bounds is found, not searched for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from siftlm.mixtures.laws.exponential import Exponential
from siftlm.mixtures.methods.olmix import optimum
from siftlm.mixtures.problem import FittedSettings
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import read_runs


class MixingLawsSettings(FittedSettings):
    """Finds the mixture with the lowest loss that exponential mixing laws predict: their exact optimum."""

    paper: ClassVar = "Ye et al. 2024 (Data Mixing Laws, arXiv 2403.16952)"
    needs: ClassVar = "runs of small models on many mixtures, with their losses"
    unchecked: ClassVar = "laws of steps and sizes that the paper nests around these are not here"
    example: ClassVar[Mapping[str, Any]] = {"method": "mixing_laws", "runs": "runs.csv"}

    method: Literal["mixing_laws"] = "mixing_laws"

    def result(self) -> MixResult:
        """Returns the mixture that is optimal for the fitted laws."""
        return optimum(self, read_runs(self), Exponential(), kl=0.0)
