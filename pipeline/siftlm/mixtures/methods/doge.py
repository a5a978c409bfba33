"""Raises the shares of domains whose gradients point where the losses of the target domains fall.

Fan et al. 2024 (DoGE, arXiv 2310.15393), as the authors' code has it: gradients are clipped, and alignments are summed
over target domains. The port in Aioli's repository averages over training domains, which is another method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.errors import UserError
from siftlm.mixtures.bench import LearnerPlan, Load, TrainingBench
from siftlm.mixtures.learning import LearnerSettings, learnt
from siftlm.mixtures.online import Floats, MeanShares, smoothed, tilted, uniform_shares
from siftlm.mixtures.protocol import MixOutcome

CLIPPED_NORM = 5.0  # of a domain's gradient
LARGEST = 5.0  # times the learning rate is the highest score
TINY = 1e-6
RATES = 20.0  # times the learning rate is mu: .01 at 5e-4 in config/doge.json of the authors
WINDOWS = 4  # of a step with the default settings, for the cost of a gradient
Rows = npt.NDArray[np.floating]


@dataclass(frozen=True)
class DomainGradients:
    """Holds gradients of the mean nats of domains, a row each, and the learning rate of the step.

    `train` is [domains, parameters], of NaN for a domain that the step does not have. `target` is
    [targets, parameters].
    """

    train: Rows
    target: Rows
    rate: float


class Doge(MeanShares):
    """Learns shares w from gradients: w <- smoothed(w * exp(score / mu) / sum).

    score_i = rate * sum_j <g_i, t_j> / (mean_i |g_i| + 1e-6), between 0 and 5 rates. A domain without a gradient keeps
    its last one; one that never had any has the score 0.

    Args:
        domains: Number of domains.
        mu: The higher, the slower shares change; .01 in the published configuration.
        smoothing: The part of the shares that all domains have alike; none as published.
        own: Whether a domain's own target counts for it, as in the authors' code; the targets are the domains then.
    """

    kept: ClassVar = ("weights", "total", "updates")
    weigh_losses: ClassVar = True

    def __init__(self, domains: int, mu: float = 0.01, smoothing: float = 0.0, own: bool = True) -> None:
        super().__init__(domains)
        self._mu, self._smoothing, self._own = mu, smoothing, own
        self._last: dict[int, Rows] = {}
        self.weights = uniform_shares(domains)

    def observe(self, seen: DomainGradients) -> Floats:
        """Returns the shares after a step."""
        for domain, row in enumerate(seen.train):
            if not np.isnan(row[0]):
                self._last[domain] = row
        score = np.clip(seen.rate * self._alignments(seen.target), 0.0, LARGEST * seen.rate)
        self.weights = smoothed(tilted(self.weights, score / self._mu), self._smoothing)
        return self.noted(self.weights)

    def _alignments(self, target: Rows) -> Floats:
        """sum_j <g_i, t_j> / (mean_i |g_i| + 1e-6) of every domain."""
        targets = [clipped(row) for row in target]
        whole, products, norms = np.sum(targets, axis=0), np.zeros(len(self.weights)), np.zeros(len(self.weights))
        for domain, last in self._last.items():
            row = clipped(last)
            norms[domain] = np.linalg.norm(row)
            products[domain] = row @ (whole if self._own else whole - targets[domain])
        return np.asarray(products / (norms[list(self._last)].mean() + TINY)) if self._last else products


def clipped(row: Rows) -> Floats:
    """Returns a gradient of the norm 5 at most, float64[parameters]."""
    wide = np.asarray(row, np.float64)
    return np.asarray(wide * min(1.0, CLIPPED_NORM / (float(np.linalg.norm(wide)) + TINY)))


class DogeSettings(LearnerSettings):
    """Mixes domains by how well their gradients lower the losses of held-out text, while a model is trained."""

    method: Literal["doge"] = "doge"
    paper: ClassVar = "Fan et al. 2024 (DoGE, arXiv 2310.15393)"
    needs: ClassVar = "texts to train a model on"
    cost: ClassVar = "trains small models"
    example: ClassVar[Mapping[str, Any]] = {"method": "doge"}
    observes: ClassVar = "gradients"

    mu: float | None = Field(
        None, gt=0, description="The higher, the slower shares change; by default 20 times the learning rate, as in "
        "the published configuration, where it is .01 at a rate of 5e-4.",
    )  # fmt: skip
    smoothing: float = Field(0.0, ge=0, lt=1, description="The part of the shares that all domains have alike.")
    own: bool = Field(
        True, description="Whether a domain's own held-out text counts for it, as it does in the authors' code."
    )
    every: int = Field(10, ge=1, description="Steps from one update of the shares to the next.")
    windows: int = Field(1, ge=1, description="Windows of every domain, and of its held-out text, in a gradient.")

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> Doge:
        return Doge(domains, arrays["mu"], self.smoothing, self.own)

    def trained(self, bench: TrainingBench) -> MixOutcome:
        if not self.own and bench.targets != bench.domains:
            raise UserError("mix.own: must be true where train.held_out gives the targets, got false")
        mu = self.mu or RATES * bench.settings.training.learning_rate
        return learnt(self, bench, LearnerPlan(self.plan(), arrays={"mu": mu}))

    def pace(self) -> tuple[int, int]:
        return self.every, self.windows

    def loads(self, domains: int, steps: int) -> Sequence[Load]:
        return [Load(1, steps, 1 + 2 * domains * self.windows / (self.every * WINDOWS))]

    def result(self) -> MixOutcome:
        raise UserError("mix.method: must be trained, so call siftlm mix doge with --train")
