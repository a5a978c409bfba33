"""Defines how methods learn shares of domains from what they observe, a step or a round after another.

A method is one class with `observe`. The loop of `mixtures.trained` shows it a model in training; a log of losses
replays the same method without one.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]
Seen = TypeVar("Seen", contravariant=True)


class ShareLearner(Protocol[Seen]):
    """Learns shares of domains from observations; all arrays are float64 and of domains in one order."""

    @property
    def shares(self) -> Floats | None:
        """Returns the shares that the next step is to be drawn by; None where the draws stay as they are."""
        ...

    @property
    def loss_weights(self) -> Floats | None:
        """Returns what the losses of a domain's tokens are multiplied by in the next step; None for 1."""
        ...

    def observe(self, seen: Seen) -> Floats:
        """Returns the shares after one more observation."""
        ...

    def result(self) -> Floats:
        """Returns the shares that were learnt from all observations, which add up to 1."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns all that later observations depend on, as JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` returned."""
        ...


class KeptArrays:
    """Gives a learner its state: the arrays that `kept` names. Numbers that are not there, NaN, are null in JSON."""

    kept: ClassVar[tuple[str, ...]]

    def state(self) -> dict[str, Any]:
        """Returns the arrays as lists."""
        return {name: np.asarray(getattr(self, name), np.float64).tolist() for name in self.kept}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes the arrays back, to the bit."""
        for name in self.kept:
            setattr(self, name, np.array(state[name], np.float64))


class MeanShares(KeptArrays):
    """Keeps the sum of the shares after every observation; their mean is the result, as DoReMi and DoGE have it.

    A subclass has its present shares in `weights`. By these the next step is drawn, unless they are said to weigh
    losses (`weigh_losses`): then draws stay as they are, and a domain's losses count its share times the domains.
    """

    weights: Floats
    weigh_losses: ClassVar[bool] = False

    @property
    def shares(self) -> Floats | None:
        """Returns the shares that the next step is to be drawn by; None where they weigh losses."""
        return None if self.weigh_losses else self.weights

    @property
    def loss_weights(self) -> Floats | None:
        """Returns what a domain's losses are multiplied by; None where the shares are those of draws."""
        return self.weights * len(self.weights) if self.weigh_losses else None

    def __init__(self, domains: int) -> None:
        self.total: Floats = np.zeros(domains)
        self.updates: Floats = np.zeros(())

    def noted(self, shares: Floats) -> Floats:
        """Counts the shares after an observation, and returns them."""
        self.total = self.total + shares
        self.updates = self.updates + 1
        return shares

    def result(self) -> Floats:
        """Returns the mean over observations; equal shares before the first."""
        if not self.updates:
            return uniform_shares(len(self.total))
        return np.asarray(self.total / self.updates)


def uniform_shares(domains: int) -> Floats:
    """Returns equal shares, float64[domains]."""
    return np.full(domains, 1 / domains)


def tilted(shares: Floats, gains: Floats) -> Floats:
    """Returns shares * exp(gains), divided by their sum: one step of exponentiated gradient ascent."""
    with np.errstate(divide="ignore"):
        logs = np.log(shares) + gains
    made = np.exp(logs - logs.max())
    return np.asarray(made / made.sum())


def smoothed(shares: Floats, part: float) -> Floats:
    """Returns (1 - part) * shares + part / domains, by which no share is 0."""
    return np.asarray((1 - part) * shares + part / len(shares))


def checked_losses(losses: Floats, place: str) -> Floats:
    """Returns losses of which NaN means that there is none; raises UserError for infinite ones."""
    if np.isinf(losses).any():
        raise UserError(f"{place}: losses must be finite numbers, got {losses[np.isinf(losses)][0]:g}")
    return np.asarray(losses, np.float64)
