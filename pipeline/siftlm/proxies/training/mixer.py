"""Defines what may change the shares of groups while a model is trained, and what it gets to see.

A mixer is called after every step. Methods that need more than the losses of the step ask the model for them: losses
and gradients on any windows of any token file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from siftlm.proxies.training.marks import Evaluation
from siftlm.proxies.training.sampler import Floats
from siftlm.proxies.training.tokens import Ints, TokenFile

Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GroupShares:
    """Holds what a mixer changes from the next step on; None leaves it as it is.

    `shares` [groups] are those of the windows that are drawn, in any unit. `loss_weights` [groups] multiply the losses
    of a group's tokens, as DoReMi's are: the loss of a step is sum(weight * nats) / tokens.
    """

    shares: Floats | None = None
    loss_weights: Floats | None = None


class ModelView(Protocol):
    """Shows the model as it is after a step; nothing here changes it, or what is drawn."""

    def token_nats(self, file: TokenFile, groups: Ints, numbers: Ints) -> Singles:
        """Returns the nats of every token of some windows, [windows, context]."""

    def gradient(self, file: TokenFile, groups: Ints, numbers: Ints) -> Singles:
        """Returns the gradient of the mean nats per token over some windows, [parameters], always in one order."""


@dataclass(frozen=True)
class Observation:
    """Holds what a mixer sees after a step."""

    step: int  # steps that are done, this one included
    steps: int  # of the whole training
    learning_rate: float  # of this step
    file: TokenFile
    shares: Floats  # [groups], that this step was drawn by
    window_groups: Ints  # [windows] of this step
    window_numbers: Ints  # [windows], within their groups
    token_nats: Singles  # [windows, context], before the update
    windows_drawn: Ints  # [groups], since the training began
    evaluation: Evaluation | None  # where this step is a mark
    model: ModelView

    @property
    def group_nats(self) -> Floats:
        """Returns the mean nats per token of each group, not a number where a group is not in the step."""
        sums = np.bincount(self.window_groups, self.token_nats.sum(1, dtype=np.float64), len(self.shares))
        tokens = np.bincount(self.window_groups, minlength=len(self.shares)) * self.token_nats.shape[1]
        return np.where(tokens > 0, sums / np.maximum(tokens, 1), np.nan)


class OnlineMixer(Protocol):
    """Changes the shares of groups while a model is trained.

    It must be deterministic: the same observations, the same mixtures. `state` is JSON; it goes into checkpoints, and
    `restore` takes it back.
    """

    def identity(self) -> object: ...

    def observe(self, seen: Observation) -> GroupShares | None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class WindowBatch:
    """Holds the windows of a step that is about to be taken, int64 [windows] each, and the model before it."""

    file: TokenFile
    window_groups: Ints
    window_numbers: Ints  # within their groups
    windows_drawn: Ints  # [groups], since the training began, these included
    model: ModelView


@runtime_checkable
class WindowWeigher(Protocol):
    """Is a mixer that weighs every window of a step, beside what it says after it."""

    def weigh(self, batch: WindowBatch) -> Floats:
        """Returns what the losses of each window are multiplied by, float64 [windows]."""
        ...
