"""Draws domains as arms of a bandit whose reward is the loss, which is high where there is more to learn.

Albalak et al. 2023 (Online Data Mixing, arXiv 2312.02406). Which of two forms the paper's results are by is open:
`exp3` is that of the authors' code, `smoothed` has a moving average of rewards in the place of their sum.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np

from siftlm.mixtures.online import Floats, MeanShares, checked_losses, uniform_shares

Variant = Literal["exp3", "smoothed"]
SCALE = {"exp3": 10.0, "smoothed": 1.0}
"""What losses are divided by; 10 in the authors' code."""


class StepLosses(NamedTuple):
    """Holds the mean nats of a step's tokens by domain, NaN where it has none, and the shares of its tokens."""

    losses: Floats
    parts: Floats


class OnlineMixing(MeanShares):
    """Learns shares by EXP3: w = (1 - K e) exp(e' R) / sum + e, with e = min(1/K, sqrt(ln K / (K t))), e' that before.

    R adds up loss / (scale * share) of what is drawn, or is its moving average. A step with several domains gives each
    its part of the reward, so that the estimate stays unbiased; a step of one domain is the published update.

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

    @property
    def shares(self) -> Floats | None:
        return self.weights

    @property
    def loss_weights(self) -> Floats | None:
        return None

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
