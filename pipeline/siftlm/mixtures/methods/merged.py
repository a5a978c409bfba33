"""Finds the mixture by averages of models of single domains, which stand for models of mixtures.

Na et al. 2024 (arXiv 2410.15661): models that go on from one model, each on one part of a corpus at a constant learning
rate, are averaged; the losses of the mean order mixtures as trained models do, if their weights have not moved far. How
far that holds is checked on mixtures that models are trained on. Means that weigh parts by their shares are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.mixtures.bench import Floats, Load, TrainedModel, TrainingBench, TrainingPlan
from siftlm.mixtures.learning import TrainableSettings, judged
from siftlm.mixtures.protocol import MixOutcome, Trust
from siftlm.mixtures.simplex import drawn
from siftlm.statistics.ranks import spearman

ENOUGH = 6  # trained mixtures from which on the order of averages can be trusted
BEST = 1 / 8  # of the mixtures, whose mean is the result
STRENGTHS = np.array([1.0, 3.0, 10.0])
KNOWN_RANKS = 0.5


class MergedSettings(TrainableSettings):
    """Mixes domains by averages of models of single domains, which cost no training for each mixture."""

    method: Literal["merged"] = "merged"
    paper: ClassVar = "Na et al. 2024 (arXiv 2410.15661)"
    needs: ClassVar = "texts to train a model of every domain on"
    cost: ClassVar = "trains small models"
    unchecked: ClassVar = "weights of domains in an average, which is uniform in the paper"
    example: ClassVar[Mapping[str, Any]] = {"method": "merged"}

    mixtures: int = Field(64, ge=1, description="Mixtures that are averaged and measured.")
    checks: int = Field(
        ENOUGH, ge=0, description="Mixtures that models are trained on, by which the averages are judged; below 6 they "
        "cannot be."
    )  # fmt: skip
    branch: float = Field(0.5, gt=0, le=1, description="Steps of a domain's model, as a share of those of the start.")
    rate: float = Field(1e-3, gt=0, description="Constant learning rate of the models of domains.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the drawn mixtures.")

    def loads(self, domains: int, steps: int) -> Sequence[Load]:
        branches = max(1, round(self.branch * steps))
        return [Load(1, steps), Load(domains + self.checks, branches), Load(self.mixtures, 0)]

    def trained(self, bench: TrainingBench) -> MixOutcome:
        start = bench.train([TrainingPlan("start", bench.prior, bench.steps)])[0]
        alone = zip(bench.domains, np.eye(len(bench.domains)), strict=True)
        domains = [self._branch(bench, f"only {name}", shares, start) for name, shares in alone]
        generator = np.random.default_rng(self.seed)
        mixtures = np.concatenate([bench.prior[None], drawn(bench.prior, self.mixtures, generator, STRENGTHS)])
        checks = [self._branch(bench, f"mixture {number}", mixtures[number], start) for number in range(self.checks)]
        models = bench.train([*domains, *checks])
        keys = [model.key for model in models[: len(domains)]]
        losses = bench.averages(keys, mixtures)
        order = np.argsort(losses.mean(axis=1), kind="stable")
        trust = agreement(bench.targets, losses[: self.checks], models[len(domains) :])
        shares = np.asarray(mixtures[order[: max(1, round(BEST * self.mixtures))]].mean(axis=0))
        return judged(bench, shares, models[: len(domains)], _doubts(trust, self.checks), trust)

    def _branch(self, bench: TrainingBench, name: str, shares: Floats, start: TrainedModel) -> TrainingPlan:
        return TrainingPlan(name, shares, max(1, round(self.branch * bench.steps)), start=start.key, rate=self.rate)

    def result(self) -> MixOutcome:
        raise UserError("mix.method: must be trained, so call siftlm mix merged with --train")


def agreement(targets: Sequence[str], averages: Floats, trained: Sequence[TrainedModel]) -> tuple[Trust, ...]:
    """Returns how averages order trained mixtures by the loss on each target, and by their mean.

    Args:
        targets: Their names.
        averages: float64[mixtures, targets], losses of averages.
        trained: The models of the same mixtures.
    """
    if len(trained) < 2:
        return ()
    truth = np.stack([model.losses for model in trained])
    pairs = [*zip((*targets,), averages.T, truth.T, strict=True), ("mean", averages.mean(axis=1), truth.mean(axis=1))]
    return tuple(
        Trust(name, len(trained), spearman(made, true), float(np.sqrt(np.mean((made - true) ** 2))))
        for name, made, true in pairs
    )


def _doubts(trust: Sequence[Trust], checks: int) -> list[str]:
    if checks < ENOUGH:
        return [f"{checks} trained mixtures are too few to say how averages order mixtures, {ENOUGH} are needed"]
    overall = trust[-1].rank_correlation
    if overall is None or overall < KNOWN_RANKS:
        told = "no rank correlation" if overall is None else f"a rank correlation of {overall:.2f}"
        return [f"averages order the {checks} trained mixtures with {told}: the mixture is a guess"]
    return []
