"""Raises the shares of domains in which a proxy model could still learn what a reference model has learnt.

Xie et al. 2023 (DoReMi, arXiv 2305.10429), with the update of the authors' trainer: the excess loss is clipped at 0 a
token, before the mean of its domain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.mixtures.bench import LearnerPlan, Load, TrainingBench, TrainingPlan
from siftlm.mixtures.learning import LearnerSettings, learnt, replayed
from siftlm.mixtures.online import Floats, MeanShares, checked_losses, smoothed, tilted, uniform_shares
from siftlm.mixtures.protocol import MixOutcome, MixResult
from siftlm.mixtures.step_log import read_log
from siftlm.paths import ReadPath

Ints = npt.NDArray[np.int64]

COARSE = "rows of more than one token hide part of the excess, which is clipped a token: shares differ by some percent"


class Doremi(MeanShares):
    """Learns shares w from the clipped excess losses of a step: w <- smoothed(w * exp(eta * excess) / sum).

    A domain that a step does not have keeps its last excess, 0 before the first. The proxy's losses are weighted by
    shares / draws, where its steps draw domains alike, as in the paper's algorithm 1.

    Args:
        domains: Number of domains.
        eta: Step size of the weights.
        smoothing: The part of the shares that all domains have alike.
    """

    kept: ClassVar = ("weights", "excess", "total", "updates")
    weigh_losses: ClassVar = True

    def __init__(self, domains: int, eta: float = 1.0, smoothing: float = 1e-3) -> None:
        super().__init__(domains)
        self._eta, self._smoothing = eta, smoothing
        self.weights = uniform_shares(domains)
        self.excess: Floats = np.zeros(domains)

    def observe(self, seen: Floats) -> Floats:
        """Returns the shares after a step, from the domains' clipped excess losses; NaN for a domain without any."""
        excess = checked_losses(seen, "doremi")
        self.excess = np.where(np.isnan(excess), self.excess, excess)
        self.weights = smoothed(tilted(self.weights, self._eta * self.excess), self._smoothing)
        return self.noted(self.weights)


def clipped_excess(proxy: Floats, reference: Floats, domains: Ints, count: int, tokens: Floats | None = None) -> Floats:
    """Returns the mean over tokens of max(proxy - reference, 0) of every domain, NaN for one without tokens.

    Args:
        proxy: float64[n], nats of the proxy model on every token; one that is no number does not count.
        reference: float64[n], nats of the reference model on the same.
        domains: int64[n], the domain of each.
        count: Number of domains.
        tokens: float64[n], where rows are means over several tokens; one each by default.
    """
    difference = np.asarray(proxy - reference, np.float64)
    weights = np.where(np.isnan(difference), 0.0, 1.0 if tokens is None else tokens)
    sums = np.bincount(domains, np.nan_to_num(np.maximum(difference, 0.0)) * weights, count)
    sizes = np.bincount(domains, weights, count)
    return np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1), np.nan)


class DoremiSettings(LearnerSettings):
    """Mixes domains by how far a proxy model is behind a reference model on each, token by token."""

    method: Literal["doremi"] = "doremi"
    paper: ClassVar = "Xie et al. 2023 (DoReMi, arXiv 2305.10429)"
    needs: ClassVar = "texts to train a reference and a proxy model on, or a log of both models' losses"
    cost: ClassVar = "trains small models"
    unchecked: ClassVar = "the excess of a domain before it was first drawn, taken to be 0"
    example: ClassVar[Mapping[str, Any]] = {"method": "doremi", "log": "losses.csv"}
    observes: ClassVar = "excess"

    log: ReadPath | None = Field(
        None, description="CSV or Parquet with the columns step, domain, loss and reference_loss, a row a token, or a "
        "window with its `tokens`: the losses of a training that is replayed.",
    )  # fmt: skip
    eta: float = Field(1.0, gt=0, description="Step size of the shares; 1 in the paper.")
    smoothing: float = Field(
        1e-3, ge=0, lt=1, description="The part of the shares that all domains have alike, 1e-3 in the published "
        "script and 1e-4 in its trainer's default."
    )  # fmt: skip

    def reads(self) -> Sequence[str]:
        return [self.log] if self.log else []

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> Doremi:  # noqa: ARG002
        return Doremi(domains, self.eta, self.smoothing)

    def loads(self, domains: int, steps: int) -> Sequence[Load]:  # noqa: ARG002
        return [Load(1, steps), Load(1, steps, 1.4)]

    def trained(self, bench: TrainingBench) -> MixOutcome:
        reference = bench.train([TrainingPlan("reference", bench.prior, bench.steps)])[0]
        return learnt(self, bench, LearnerPlan(self.plan(), reference.key))

    def result(self) -> MixResult:
        if self.log is None:
            raise self.not_trained("log", "a log of losses")
        log = read_log(self.log, ("loss", "reference_loss"))
        count = len(log.domains)
        steps: Iterable[Floats] = (
            clipped_excess(step.columns["loss"], step.columns["reference_loss"], step.domains, count, step.tokens)
            for step in log
        )
        coarse = bool((log.tokens > 1).any())
        return replayed(Doremi(count, self.eta, self.smoothing), steps, log.domains, [COARSE] if coarse else ())
