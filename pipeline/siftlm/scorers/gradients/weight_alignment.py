"""Measures how a document's gradient is aligned with the weights of the output matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.gradients.scorer import GradientScorer
from siftlm.settings import End

if TYPE_CHECKING:
    import torch

    from siftlm.scorers.gradients.model import GradientModel, Measure
    from siftlm.scorers.gradients.products import Gradients

EPSILON = 1e-12
"""Added to the product of norms (alignment.py of the published code)."""
FLATTEST = 1.2
"""Added to the excess kurtosis: a flat distribution has -1.2."""


class WeightAlignmentSettings(GradientOptions):
    """Measures the cosine between the step that a document asks of the output matrix and that matrix.

    The column `name` is cos(-gradient, weights), from -1 to 1; low values are suspect documents. The set score is
    `siftlm.gradient_weight_alignment` of the column.
    """

    kind: Literal["weight_alignment"] = "weight_alignment"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Hoelzl et al. 2025 (arXiv 2510.25480)"
    needs: ClassVar = "a causal model"
    example: ClassVar = {"name": "alignment", "model": "model", "device": "cpu"}

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> WeightAlignmentScorer:
        return WeightAlignmentScorer(self)


class WeightAlignmentScorer(GradientScorer):
    """Computes the columns of `WeightAlignmentSettings`."""

    settings: WeightAlignmentSettings

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def measure(self, model: GradientModel) -> Measure:
        weights = {name: parameter.detach().double() for name, parameter in model.layers.parameters.items()}
        length = float(sum(weight.square().sum() for weight in weights.values()) ** 0.5)

        def alignment(gradients: Gradients) -> torch.Tensor:
            return (-gradients.dots(weights) / (gradients.squares().sqrt() * length + EPSILON))[:, None]

        return alignment


def set_alignment(alignments: npt.ArrayLike) -> float | None:
    """Returns the alignment of a set: mean / (excess kurtosis + 1.2), with the population's kurtosis.

    Hoelzl et al. 2025 (arXiv 2510.25480) stop training where it is highest. None where the denominator is 0 or less, as
    for two values only, where all values are the same, or where there are none; values that are NaN are left out.
    """
    values = np.asarray(alignments, np.float64)
    values = values[np.isfinite(values)]
    deviations = values - values.mean() if len(values) else values
    variance = float((deviations**2).mean()) if len(values) else 0.0
    if variance <= 0:
        return None
    spread = float((deviations**4).mean()) / variance**2 - 3 + FLATTEST
    return float(values.mean()) / spread if spread > 0 else None
