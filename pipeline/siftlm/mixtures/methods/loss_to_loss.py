"""Predicts the loss of a model on one text from that on another, by a law of smaller models.

Brandfonbrener et al. 2024 (arXiv 2411.12925).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.mixtures.fitted import trust_of
from siftlm.mixtures.protocol import MixOutcome, MixSettings, Shown, Trust, interval_words
from siftlm.mixtures.runs import read_columns
from siftlm.paths import ReadPath
from siftlm.scaling.loss_to_loss import FEWEST, LossToLoss, fit_loss_to_loss

Floats = npt.NDArray[np.float64]

LEFT_OUT = 5  # one model in so many, those with the least loss, is predicted by a law fitted to the others


@dataclass(frozen=True)
class Prediction:
    """Holds a loss on the source, that predicted on the target, and where 90 of 100 resamples predict it."""

    source: float
    target: float
    low: float
    high: float


@dataclass(frozen=True)
class LossToLossResult(MixOutcome):
    """Holds a law between two losses, and what it predicts."""

    law: LossToLoss
    predictions: tuple[Prediction, ...]
    trust: tuple[Trust, ...]

    def tables(self) -> Iterator[Shown]:
        """Yields the predictions, and how well the best models are predicted by a law of the others."""
        rows = [(f"{p.source:.4f}", f"{p.target:.4f}", interval_words(p.low, p.high)) for p in self.predictions]
        if rows:
            yield Shown(("source", "predicted target", "90 % of resamples"), rows)
        told = [(one.runs, one.rank_correlation, f"{one.error:.4f}") for one in self.trust]
        yield Shown(("models left out", "rank correlation", "error"), told)

    def verdict(self) -> str:
        law = self.law
        return (
            f"target = {law.scale:.4f} (source - {law.source_floor:.4f})^{law.exponent:.4f} + {law.target_floor:.4f}, "
            f"R2 {law.r2:.4f} over {law.pairs} models"
        )


class LossToLossSettings(MixSettings):
    """Predicts losses on one text or corpus from those on another, by a shifted power law."""

    paper: ClassVar = "Brandfonbrener et al. 2024 (arXiv 2411.12925)"
    needs: ClassVar = "losses of the same models on two texts, or of models of equal size on two corpora"
    default_output: ClassVar = "loss_to_loss.json"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "loss_to_loss", "runs": "pairs.csv", "source": "web", "target": "code", "at": [2.1], "resamples": 4,
    }  # fmt: skip

    method: Literal["loss_to_loss"] = "loss_to_loss"
    runs: ReadPath = Field(description="CSV or Parquet, a row a model.")
    source: str = Field(description="The column of losses that are known.")
    target: str = Field(description="The column of losses to predict.")
    source_floor: float | None = Field(None, ge=0, description="E0, what no model gets below on the source.")
    target_floor: float | None = Field(None, ge=0, description="E1, the same of the target; only with source_floor.")
    at: list[float] = Field(default_factory=list, description="Losses on the source to predict the target's for.")
    resamples: int = Field(40, ge=2, description="Resamples of the models, of which the intervals are made.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the resamples.")

    def reads(self) -> Sequence[str]:
        return [self.runs]

    def result(self) -> LossToLossResult:
        """Returns the law, its predictions with intervals, and how well it predicts the best models."""
        pairs = read_columns(self.runs, (self.source, self.target))
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        law = self._law(pairs)
        at, generator = np.array(self.at, np.float64), np.random.default_rng(self.seed)
        made: list[Floats] = []
        while len(made) < self.resamples:
            rows = generator.integers(len(pairs), size=len(pairs))
            if len(np.unique(pairs[rows, 0])) >= FEWEST:
                made.append(self._law(pairs[rows]).predict(at))
        ends = np.nanpercentile(made, [5, 95], axis=0) if len(at) else np.empty((2, 0))
        predictions = tuple(Prediction(*map(float, row)) for row in zip(at, law.predict(at), *ends, strict=True))
        return LossToLossResult(tuple(self._warnings(law, pairs)), law, predictions, (self._trust(pairs),))

    def _law(self, pairs: Floats) -> LossToLoss:
        source, target = pairs.T
        return fit_loss_to_loss(source, target, source_floor=self.source_floor, target_floor=self.target_floor)

    def _trust(self, pairs: Floats) -> Trust:
        ordered = pairs[np.argsort(pairs[:, 0], kind="stable")]
        count = max(len(pairs) // LEFT_OUT, 1)
        if len(np.unique(ordered[count:, 0])) < FEWEST:
            return Trust(self.target, 0, None, float("nan"))
        return trust_of(self.target, self._law(ordered[count:]).predict(ordered[:count, 0]), ordered[:count, 1])

    def _warnings(self, law: LossToLoss, pairs: Floats) -> Iterator[str]:
        if below := [x for x in self.at if x <= law.source_floor]:
            yield f"the law says nothing below its floor of {law.source_floor:.4f}, where {below[0]:g} is"
        if any(x < 0.8 * pairs[:, 0].min() for x in self.at):
            yield "a loss to predict for lies far below those of all models"
