"""Weights the windows of every step by a small network that is taught by held-out text.

Yu et al. 2025 (dynamic bi-level weighting, arXiv 2507.16178). The paper's network and schedule were not found in any
source: the network here is linear in a window's loss, length and age, and is updated once in a hundred steps. The
gradient through one step of the model is exact: theta' = theta - eta sum_i w_i g_i gives dL/dw_i = -eta <g_val, g_i>.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.mixtures.bench import Load
from siftlm.mixtures.learning import LearnerSettings
from siftlm.mixtures.online import Floats, MeanShares, uniform_shares
from siftlm.mixtures.protocol import MixOutcome

FEATURES = ("loss", "length", "age")


@dataclass(frozen=True)
class WeighedWindows:
    """Holds the windows of a step.

    Attributes:
        domains: int64[windows], the domain of each.
        features: float64[windows, 3], see `FEATURES`.
        alignments: float64[windows], <g_val, g_i>, where the network is to be updated, else None.
        rate: Learning rate of the step.
    """

    domains: np.ndarray
    features: Floats
    alignments: Floats | None = None
    rate: float = 0.0


class BilevelWeights(MeanShares):
    """Learns weights of windows, and from these the share that every domain has in the loss.

    Of n windows they are w = n softmax(features u). An update is u <- u - speed * features^T (dL/dz) / eta: without the
    model's own learning rate, which would make it tiny.

    Args:
        domains: Number of domains.
        speed: Step size of the network.
    """

    kept: ClassVar = ("network", "weights", "total", "updates")

    def __init__(self, domains: int, speed: float = 1.0) -> None:
        super().__init__(domains)
        self._speed = speed
        self.network: Floats = np.zeros(len(FEATURES))
        self.weights = uniform_shares(domains)

    @property
    def shares(self) -> Floats | None:
        return None

    @property
    def loss_weights(self) -> Floats | None:
        return None

    def weigh(self, features: Floats) -> Floats:
        """Returns the weights of windows, float64[windows], whose mean is 1."""
        return window_weights(features @ self.network)

    def observe(self, seen: WeighedWindows) -> Floats:
        """Returns the domains' shares of the weights of a step, after an update where alignments are given."""
        sums = np.bincount(seen.domains, self.weigh(seen.features), len(self.weights))
        self.weights = np.asarray(sums / sums.sum())
        if seen.alignments is not None:
            slope = score_gradient(seen.features @ self.network, seen.alignments, 1.0)
            self.network = self.network - self._speed * (seen.features.T @ slope)
        return self.noted(self.weights)


def window_weights(scores: Floats) -> Floats:
    """Returns n softmax(z) of n scores."""
    powers = np.exp(scores - scores.max())
    return np.asarray(len(scores) * powers / powers.sum())


def score_gradient(scores: Floats, alignments: Floats, rate: float) -> Floats:
    """Returns the gradient of the held-out loss after one step in the scores of windows, float64[windows].

    It is dL/dz = -rate J a, with w = n softmax(z), a_i = <g_val, g_i>, and J = n (diag(p) - p p^T), p = softmax(z).
    """
    shares = window_weights(scores) / len(scores)
    return np.asarray(-rate * len(scores) * (shares * alignments - shares * (shares @ alignments)))


class BilevelSettings(LearnerSettings):
    """Mixes domains by weights of single windows, which a small network learns to lower the loss of held-out text."""

    method: Literal["bilevel"] = "bilevel"
    paper: ClassVar = "Yu et al. 2025 (dynamic bi-level weighting, arXiv 2507.16178)"
    needs: ClassVar = "texts to train a model on"
    cost: ClassVar = "trains small models"
    unchecked: ClassVar = "the network, what it sees of a text, its step size, and how often it is updated"
    example: ClassVar[Mapping[str, Any]] = {"method": "bilevel"}
    observes: ClassVar = "windows"

    speed: float = Field(1.0, gt=0, description="Step size of the network.")
    every: int = Field(100, ge=1, description="Steps from one update of the network to the next.")
    windows: int = Field(1, ge=1, description="Windows of every domain's held-out text that an update looks at.")

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> BilevelWeights:  # noqa: ARG002
        return BilevelWeights(domains, self.speed)

    def starting_shares(self, prior: Floats, arrays: Mapping[str, Any]) -> Floats:  # noqa: ARG002
        return prior

    def pace(self) -> tuple[int, int]:
        return self.every, self.windows

    def loads(self, domains: int, steps: int) -> Sequence[Load]:  # noqa: ARG002
        return [Load(1, steps, 1.4)]

    def result(self) -> MixOutcome:
        raise UserError("mix.method: must be trained, so call siftlm mix bilevel with --train")
