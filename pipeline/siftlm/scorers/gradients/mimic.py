"""Measures whether a training step on a document leads towards the weights of a reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from siftlm.scorers.gradients.pair import PairScorer
from siftlm.scorers.gradients.pair_options import PairOptions
from siftlm.settings import End

if TYPE_CHECKING:
    import torch

    from siftlm.scorers.gradients.model import GradientModel, Measure
    from siftlm.scorers.gradients.products import Gradients


class MimicSettings(PairOptions):
    """Measures how far a document's gradient step goes towards a reference model of the same architecture.

    The column `name` is <-gradient, v> / |v|, where v is the reference's weights less the model's; high values are to
    be kept. `<name>_cosine` is the same over the gradient's norm. The gradient is that of the mean nll of a document in
    the output matrix; that the published filter keeps what is above 0 in most scored steps is recalled, not checked.
    """

    kind: Literal["mimic"] = "mimic"
    unchecked: ClassVar[str] = (
        "how its steps are aggregated into a filter; which layer, and the mean over tokens, for language models"
    )
    paper: ClassVar = "Huang et al. 2025 (arXiv 2501.06708)"
    needs: ClassVar = "a causal model, and a better one of the same architecture"
    example: ClassVar = {"name": "mimic", "model": "model", "reference": "trained", "device": "cpu"}

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> MimicScorer:
        return MimicScorer(self)


class MimicScorer(PairScorer):
    """Computes the columns of `MimicSettings`."""

    settings: MimicSettings
    suffixes = ("", "_cosine")

    def good_ends(self) -> dict[str, End]:
        return {field.name: "highest" for field in self.fields()[:-1]}

    def measure(self, model: GradientModel) -> Measure:
        import torch

        from siftlm.scorers.gradients.pair_model import PairModel

        assert isinstance(model, PairModel), "of two models"

        def towards(gradients: Gradients) -> torch.Tensor:
            projection = -gradients.dots(model.directions) / model.distance
            norms = gradients.squares().sqrt()
            cosine = torch.where(norms > 0, projection / norms, 0.0)
            return torch.stack([projection, cosine], 1)

        return towards
