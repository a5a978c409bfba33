"""Defines what methods that read runs have in common: what to lower, what to beat, and what bounds the shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.protocol import MixSettings
from siftlm.mixtures.runs import Runs, RunsSettings
from siftlm.mixtures.simplex import check_bounds

Floats = npt.NDArray[np.float64]


class BoundsSettings(MixSettings):
    """Configures what a mixture must beat, and what bounds its shares."""

    prior: dict[str, float] = Field(
        default_factory=dict, description="Shares that the domains have by themselves, which the mixture must beat; by "
        "default those of `tokens`, else the mean of the runs.",
    )  # fmt: skip
    tokens: dict[str, int] = Field(default_factory=dict, description="Tokens at hand by domain.")
    train_tokens: int | None = Field(
        None, ge=1, description="Tokens of the training that the mixture is for: a domain has at most its tokens times "
        "`epochs` of these.",
    )  # fmt: skip
    epochs: float = Field(4.0, gt=0, description="How often the tokens of a domain may be read.")
    least: dict[str, float] = Field(default_factory=dict, description="The least share of a domain.")
    most: dict[str, float] = Field(
        default_factory=dict, description="The most that a domain may have; by default the most that it had in a run, "
        "for beyond that a law is a guess.",
    )  # fmt: skip
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of everything random.")

    @model_validator(mode="after")
    def _tokens_with_training(self) -> Self:
        if self.train_tokens is not None and not self.tokens:
            raise ValueError("train_tokens must come with tokens, what each domain has")
        return self

    def prior_of(self, domains: Sequence[str], default: Floats) -> Floats:
        """Returns what the mixture must beat, float64[domains], which adds up to 1; raises UserError."""
        given: Mapping[str, float] = self.prior or self.tokens
        if not given:
            return np.asarray(default / default.sum())
        shares = np.array([given.get(name, 0.0) for name in domains], np.float64)
        if not shares.sum() > 0 or (shares < 0).any():
            raise UserError(f"mix.prior: must hold a share above 0 and none below, got {dict(given)}")
        return np.asarray(shares / shares.sum())

    def bounds_of(self, domains: Sequence[str], seen: Floats) -> tuple[Floats, Floats]:
        """Returns the least and the most of every domain, float64[domains] each; raises UserError.

        Args:
            domains: Their names.
            seen: float64[domains], the most where the settings do not say.
        """
        for key in ("prior", "tokens", "least", "most"):
            if unknown := [name for name in getattr(self, key) if name not in domains]:
                raise UserError(f"mix.{key}: must name what the runs have, got {unknown[0]!r}; {name_some(domains)}")
        if negative := [name for name, tokens in self.tokens.items() if tokens < 0]:
            raise UserError(f"mix.tokens: must be 0 or more, got {self.tokens[negative[0]]} of {negative[0]!r}")
        for key in ("least", "most"):
            if wrong := [name for name, share in getattr(self, key).items() if not 0 <= share <= 1]:
                raise UserError(
                    f"mix.{key}: must be shares from 0 to 1, got {getattr(self, key)[wrong[0]]:g} of {wrong[0]!r}"
                )
        least = np.array([self.least.get(name, 0.0) for name in domains])
        most = np.array([self.most.get(name, share) for name, share in zip(domains, seen.tolist(), strict=True)])
        if self.train_tokens is not None and self.tokens:
            at_hand = np.array([self.tokens.get(name, 0) for name in domains], np.float64)
            most = np.minimum(most, at_hand * self.epochs / self.train_tokens)
        check_bounds(least, most)
        return least, most


class FittedSettings(RunsSettings, BoundsSettings):
    """Configures a method that fits laws to the losses of runs, and finds the mixture that lowers them most.

    Attributes:
        extrapolates: Whether a domain may have more than it had in any run, unless `most` says otherwise.
    """

    targets: dict[str, float] = Field(
        default_factory=dict, description="Weights of the losses to lower, by name; by default all alike."
    )
    parameters: int | None = Field(None, ge=1, description="Parameters of the models that the runs trained.")
    resamples: int = Field(40, ge=2, description="Resamples of the runs, of which the intervals are made.")
    extrapolates: ClassVar[bool] = False

    def reads(self) -> Sequence[str]:
        return [self.runs, *([self.losses] if self.losses else [])]


@dataclass(frozen=True)
class Problem:
    """Holds the runs, and the settings of what to find in them."""

    settings: FittedSettings
    runs: Runs

    @cached_property
    def prior(self) -> Floats:
        """Returns what the mixture must beat, float64[domains]."""
        return self.settings.prior_of(self.runs.domains, self.runs.shares.mean(axis=0))

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Returns the least and the most of every domain, float64[domains] each; raises UserError."""
        seen = self.runs.shares.max(axis=0)
        return self.settings.bounds_of(self.runs.domains, np.ones_like(seen) if self.settings.extrapolates else seen)

    @cached_property
    def targets(self) -> dict[str, float]:
        """Returns the targets that have a weight, with their weights, which add up to 1; raises UserError."""
        given = self.settings.targets
        if unknown := [name for name in given if name not in self.runs.targets]:
            raise UserError(
                f"mix.targets: must name what the runs have, got {unknown[0]!r}; {name_some(self.runs.targets)}"
            )
        made = {name: given.get(name, 0.0) if given else 1.0 for name in self.runs.targets}
        total = sum(made.values())
        if min(made.values()) < 0 or not 0 < total < np.inf:
            raise UserError(f"mix.targets: must have a weight above 0 and none below, got {given}")
        return {name: weight / total for name, weight in made.items() if weight}

    @cached_property
    def weights(self) -> Floats:
        """Returns the weights of the targets that have one, float64[targets]."""
        return np.array(list(self.targets.values()))

    @cached_property
    def losses(self) -> Floats:
        """Returns the losses on the targets that have a weight, float64[runs, targets]."""
        return self.runs.losses[:, [self.runs.targets.index(name) for name in self.targets]]

    @cached_property
    def mixture_of(self) -> npt.NDArray[np.int64]:
        """Returns the number of the mixture of every run; runs of one mixture have one number."""
        _, which = np.unique(self.runs.shares.round(9), axis=0, return_inverse=True)
        return np.asarray(which.reshape(-1), np.int64)
