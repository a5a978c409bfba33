"""Draws domains as arms of a bandit whose reward is the loss, high where there is more to learn.

Albalak et al. 2023 (Online Data Mixing, arXiv 2312.02406). Which of two forms the paper's results are by is open:
`exp3` is that of the authors' code, `smoothed` has a moving average of rewards in the place of their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from siftlm.mixtures.bench import Load
from siftlm.mixtures.learning import LearnerSettings, replayed
from siftlm.mixtures.online import Floats, MeanShares, checked_losses, uniform_shares
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.step_log import read_log
from siftlm.paths import ReadPath

Variant = Literal["exp3", "smoothed"]
SCALE = {"exp3": 10.0, "smoothed": 1.0}
"""What losses are divided by; 10 in the authors' code."""


class StepLosses(NamedTuple):
    """Holds the mean nats of a step's tokens by domain, NaN without any, and the shares of its tokens."""

    losses: Floats
    parts: Floats


class OnlineMixing(MeanShares):
    """Learns shares of K domains by EXP3, which draws by estimated rewards R and by chance.

    w = (1 - K e) exp(e' R) / sum + e, with e = min(1/K, sqrt(ln K / (K t))) in step t and e' that of the step before,
    1/K at first. R adds up loss / (scale * share) of what is drawn, or is its moving average. A step with several
    domains gives each its part of the reward, so that the estimate stays unbiased; a step of one domain is the
    published update.

    Args:
        domains: Number of domains.
        variant: `exp3` or `smoothed`.
        smoothing: What the moving average keeps of the past, in `smoothed`.
        start: The shares at first; by default equal ones.
    """

    kept: ClassVar = ("weights", "rewards", "rate", "steps", "total", "updates")

    def __init__(
        self, domains: int, variant: Variant = "exp3", smoothing: float = 0.9, start: Floats | None = None
    ) -> None:
        super().__init__(domains)
        self._variant, self._smoothing = variant, smoothing
        self.weights = uniform_shares(domains) if start is None else start
        self.rewards: Floats = np.zeros(domains)
        self.rate: Floats = np.array(1 / domains)
        self.steps: Floats = np.zeros(())

    def observe(self, seen: StepLosses) -> Floats:
        """Returns the shares after a step."""
        losses, count = checked_losses(seen.losses, "odm"), len(self.weights)
        drawn = ~np.isnan(losses) & (seen.parts > 0)
        reward = np.where(drawn, losses, 0.0) * seen.parts / (SCALE[self._variant] * self.weights)
        if self._variant == "exp3":
            self.rewards = self.rewards + reward
        else:
            kept, new = self._smoothing, (1 - self._smoothing) * reward
            self.rewards = np.where(drawn, kept * self.rewards + new, self.rewards)
        self.steps = self.steps + 1
        before = self.rate
        self.rate = np.minimum(1 / count, np.sqrt(np.log(count) / (count * self.steps)))
        powers = np.exp(before * (self.rewards - self.rewards.max()))
        made = (1 - count * self.rate) * powers / powers.sum() + self.rate
        self.weights = np.asarray(made / made.sum())
        return self.noted(self.weights)


class OdmSettings(LearnerSettings):
    """Mixes domains by a bandit, which draws more where the losses of a model in training are high."""

    method: Literal["odm"] = "odm"
    paper: ClassVar = "Albalak et al. 2023 (Online Data Mixing, arXiv 2312.02406)"
    needs: ClassVar = "texts to train a model on, or a log of losses"
    cost: ClassVar = "trains small models"
    unchecked: ClassVar = "which of the two variants, and which moving average, the paper's results are by"
    example: ClassVar[Mapping[str, Any]] = {"method": "odm", "log": "losses.csv"}
    observes: ClassVar = "losses"

    log: ReadPath | None = Field(
        None, description="CSV or Parquet with the columns step, domain, loss and perhaps tokens: the losses of a "
        "training that is replayed.",
    )  # fmt: skip
    variant: Variant = Field(
        "exp3", description="exp3 adds up rewards, as the authors' code does; smoothed has their moving average."
    )
    smoothing: float = Field(0.9, ge=0, lt=1, description="What the moving average of `smoothed` keeps of the past.")

    def reads(self) -> Sequence[str]:
        return [self.log] if self.log else []

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> OnlineMixing:  # noqa: ARG002
        return OnlineMixing(domains, self.variant, self.smoothing)

    def loads(self, domains: int, steps: int) -> Sequence[Load]:  # noqa: ARG002
        return [Load(1, steps)]

    def result(self) -> MixResult:
        if self.log is None:
            raise self.not_trained("log", "a log of losses")
        log = read_log(self.log, ("loss",))
        return replayed(self.learner(len(log.domains), {}), (StepLosses(*log.losses(s)) for s in log), log.domains)
