"""Measures how much a training step on a document would change the model's loss on that very document."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.gradients.scorer import GradientScorer
from siftlm.settings import End

if TYPE_CHECKING:
    from siftlm.scorers.gradients.model import GradientModel, Measure

EPSILON = 1e-6
"""Added to the variance of self-influences; the paper does not give it."""


class SelfInfluenceSettings(GradientOptions):
    """Measures the squared norm of a document's gradient in the first block: its influence on itself.

    The column `name` is TracIn's self-influence at the model's weights, without the learning rate. High values are
    unusual or noisy documents: PRESENCE sorts by it offline and keeps the lowest. The layers are those of the paper for
    a decoder alone, which has no encoder: the first block.
    """

    kind: Literal["self_influence"] = "self_influence"
    unchecked: ClassVar[str] = (
        "the constant added to a variance; which layers stand for the encoder's and decoder's first in a decoder"
    )
    paper: ClassVar = "Thakkar et al. 2023 (arXiv 2311.00913)"
    needs: ClassVar = "a causal model, trained a little"
    example: ClassVar = {"name": "influence", "model": "model", "device": "cpu"}
    own_layers: ClassVar = "first_block"

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> SelfInfluenceScorer:
        return SelfInfluenceScorer(self)


class SelfInfluenceScorer(GradientScorer):
    """Computes the columns of `SelfInfluenceSettings`."""

    settings: SelfInfluenceSettings

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "lowest"}

    def measure(self, model: GradientModel) -> Measure:  # noqa: ARG002
        return lambda gradients: gradients.squares()[:, None]


def presence_weights(
    influences: npt.ArrayLike, tau: float = 1.0, *, epsilon: float = EPSILON
) -> npt.NDArray[np.float64]:
    """Returns PRESENCE's weights of documents, which add up to 1: softmax(tau * z) (arXiv 2311.00913, equations 3-12).

    z is the influence less the mean over sqrt(variance + epsilon), with the divisor n. The paper takes the n
    microbatches of a step, tau = 1 for the first tenth of the steps, which favours the unusual, and then -1.

    Args:
        influences: float[n], self-influences.
        tau: Multiplies z.
        epsilon: Added to the variance.
    """
    values = np.asarray(influences, np.float64)
    if not len(values):
        return values
    scaled = tau * (values - values.mean()) / np.sqrt(values.var() + epsilon)
    weights = np.exp(scaled - scaled.max())
    return np.asarray(weights / weights.sum())
