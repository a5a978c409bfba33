"""Finds the documents whose gradient steps lead from a model to one that was trained from it."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from siftlm.errors import UserError
from siftlm.scorers.gradients.pair import PairScorer
from siftlm.scorers.gradients.pair_options import PairOptions
from siftlm.settings import End

if TYPE_CHECKING:
    import torch

    from siftlm.scorers.gradients.model import GradientModel, Measure
    from siftlm.scorers.gradients.pair_model import PairModel
    from siftlm.scorers.gradients.products import Gradients, Sketch

Floats = npt.NDArray[np.float64]


class WeightUpdateSettings(PairOptions):
    """Measures how far a document's gradient step is along the update from a model to one trained from it.

    The column `name` is cos(-gradient, reference - model) in the output matrix, of each document by itself. What the
    method (SELECT) takes is a set whose gradients add up to the update: `siftlm distil` and
    `siftlm.training_data_from_weights` order documents so, by random projections of their gradients.
    """

    kind: Literal["weight_update"] = "weight_update"
    unchecked: ClassVar[str] = (
        "whether gradients match by cosine or product, the number of checkpoints, the size of the projection"
    )
    paper: ClassVar = "Morris et al. 2025 (arXiv 2506.15553)"
    needs: ClassVar = "a causal model, and one trained from it"
    example: ClassVar = {"name": "update", "model": "model", "reference": "trained", "device": "cpu"}
    between: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Where gradients are taken: 0 at the model, else a share of the way to the reference.",
    )
    projection: int = Field(
        1024, ge=1, description="Numbers that a gradient is projected to for the order, the square of a whole number."
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the projection.")

    @field_validator("projection")
    @classmethod
    def _square(cls, numbers: int) -> int:
        if isqrt(numbers) ** 2 != numbers:
            raise ValueError(f"must be the square of a whole number, got {numbers}")
        return numbers

    @property
    def at(self) -> float:
        return self.between

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> WeightUpdateScorer:
        return WeightUpdateScorer(self)


class WeightUpdateScorer(PairScorer):
    """Computes the columns of `WeightUpdateSettings`, and the order of the documents of a sample."""

    settings: WeightUpdateSettings

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def measure(self, model: GradientModel) -> Measure:
        import torch

        pair = _pair(model)

        def alignment(gradients: Gradients) -> torch.Tensor:
            norms = gradients.squares().sqrt()
            projection = -gradients.dots(pair.directions) / pair.distance
            return torch.where(norms > 0, projection / norms, 0.0)[:, None]

        return alignment

    def labels(self, texts: pa.Array) -> Floats:
        """Returns the place of each text in the greedy order, from 1 for the first to 0; NaN without tokens."""
        gradients, update = self.projected(texts)
        known = np.isfinite(gradients).all(axis=1)
        order, _ = greedy_order(gradients[known], update)
        places, numbers = np.full(len(gradients), np.nan), np.flatnonzero(known)
        places[numbers[order]] = 1 - np.arange(len(order)) / max(1, len(order) - 1)
        return places

    def projected(self, texts: pa.Array) -> tuple[Floats, Floats]:
        """Returns the projections of the gradients of N texts, [N, K], and that of the update, [K]."""
        model = _pair(self.loaded())
        sketches = self._sketches(model)
        values = np.full((len(texts), self.settings.projection), np.nan)

        def keep(found: Floats, truncated: npt.NDArray[np.bool_]) -> pa.RecordBatch:
            values[:] = found
            return pa.record_batch({"truncated": pa.array(truncated)})

        model.begin(model.tokenise(texts), lambda of: of.sketches(sketches), self.settings.projection, keep).finish()
        from siftlm.scorers.gradients.products import WholeGradient

        return values, WholeGradient({name: of.float() for name, of in model.directions.items()}).sketches(sketches)[
            0
        ].numpy()

    def _sketches(self, model: PairModel) -> dict[str, Sketch]:
        import torch

        from siftlm.scorers.gradients.products import Sketch

        side, drawn = isqrt(self.settings.projection), torch.Generator().manual_seed(self.settings.seed)
        made = {}
        for name, parameter in model.layers.parameters.items():
            if parameter.dim() != 2:
                raise UserError(
                    f"{self.settings.place}.layers: must be matrices alone for an order by projections, got {name!r}"
                )
            left, right = (torch.randn(side, size, generator=drawn) / side**0.5 for size in parameter.shape)
            made[name] = Sketch(left.to(model.device), right.to(model.device))
        return made


def _pair(model: GradientModel) -> PairModel:
    from siftlm.scorers.gradients.pair_model import PairModel

    assert isinstance(model, PairModel), "of two models"
    return model


def greedy_order(
    gradients: npt.ArrayLike, update: npt.ArrayLike, count: int | None = None
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Returns the order of documents in which their gradients best add up to an update, and the cosines.

    Each is the one for which cos(-(sum of the gradients taken + its own), update) is highest; of equals the first. A
    sum of nothing has the cosine 0. (Morris et al. 2025, arXiv 2506.15553; whether the paper takes the cosine or the
    scalar product is open: a scalar product would be a sort.) Takes N * K operations for each document of the order.

    Args:
        gradients: float[N, K].
        update: float[K], the later weights less the earlier ones, projected as the gradients are.
        count: How many documents are ordered; default all.
    """
    each, wanted = np.asarray(gradients, np.float64), np.asarray(update, np.float64)
    along, squares, length = -(each @ wanted), (each**2).sum(axis=1), float(np.sqrt(wanted @ wanted))
    total, beside = (
        np.zeros(2),
        np.zeros(len(each)),
    )  # (along the update, squared norm) of the sum; its products with each
    left, order, cosines = np.ones(len(each), bool), [], []
    for _ in range(min(len(each), len(each) if count is None else count)):
        norms = np.sqrt(np.maximum(total[1] + 2 * beside + squares, 0.0)) * length
        cosine = np.divide(total[0] + along, norms, out=np.zeros(len(each)), where=norms > 0)
        chosen = int(np.where(left, cosine, -np.inf).argmax())
        order.append(chosen)
        cosines.append(float(cosine[chosen]))
        total += along[chosen], 2 * beside[chosen] + squares[chosen]
        beside += each @ each[chosen]
        left[chosen] = False
    return np.array(order, np.int64), np.array(cosines)
