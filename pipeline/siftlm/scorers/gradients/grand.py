"""Measures the norm of a document's gradient over all parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.gradients.scorer import GradientScorer

if TYPE_CHECKING:
    from siftlm.scorers.gradients.model import GradientModel, Measure


class GrandSettings(GradientOptions):
    """Measures the norm of a document's gradient over all parameters (GraNd).

    The column `name` is |gradient of the mean nll|, of one model. The paper means models early in their training and
    averages over about ten seeds: one table a model, and a formula for the mean. With `layers = "output"` no backward
    pass is needed; of a single token it is then EL2N times the norm of what the head reads.
    """

    kind: Literal["grand"] = "grand"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Paul et al. 2021 (arXiv 2107.07075)"
    needs: ClassVar = "a causal model, early in its training"
    example: ClassVar = {"name": "grand", "model": "model", "device": "cpu"}
    own_layers: ClassVar = "all"

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> GrandScorer:
        return GrandScorer(self)


class GrandScorer(GradientScorer):
    """Computes the columns of `GrandSettings`."""

    settings: GrandSettings

    def measure(self, model: GradientModel) -> Measure:  # noqa: ARG002
        return lambda gradients: gradients.squares().sqrt()[:, None]
