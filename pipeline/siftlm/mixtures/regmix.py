"""Finds the mixture of domains with the lowest loss that a law predicts, fitted to runs of small models.

Liu et al. 2024 (RegMix, arXiv 2407.01492). The law is least squares on shares and their roots unless another is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.law import FittedLaw, Law
from siftlm.mixtures.laws.exponential import Exponential
from siftlm.mixtures.laws.linear import Log, Roots
from siftlm.mixtures.runs import Runs, RunsSettings
from siftlm.mixtures.simplex import best_mixture, check_bounds
from siftlm.statistics.ranks import spearman

Floats = npt.NDArray[np.float64]

LAWS: dict[str, Law] = {law.name: law for law in (Roots(), Log(), Exponential())}
FOLDS = 5
RESAMPLES = 40
SMALL_MODELS = 15_000_000
"""Parameters of the models from which on ranks of mixtures hold for large ones: .73 at 1M, above .89 from here on
(Olmix, arXiv 2602.12237)."""
KNOWN_RANKS = 0.5  # a held-out rank correlation below says that the law does not know which mixture is better


class RegmixSettings(RunsSettings):
    """Mixes domains by the losses of small models on many mixtures."""

    method: Literal["regmix"] = "regmix"
    paper: ClassVar = "Liu et al. 2024 (RegMix, arXiv 2407.01492)"
    law: Literal["roots", "log", "exponential"] = Field(
        "roots", description="What predicts a loss from shares: least squares on shares and their square roots, on "
        "logarithms, or c + k exp(sum of t r) (Ye et al. 2024, arXiv 2403.16952).",
    )  # fmt: skip
    targets: dict[str, float] = Field(
        default_factory=dict, description="Weights of the losses to lower, by name; by default all alike."
    )
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
    parameters: int | None = Field(None, ge=1, description="Parameters of the models that the runs trained.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of folds, resamples and drawn mixtures.")

    @model_validator(mode="after")
    def _tokens_with_training(self) -> Self:
        if self.train_tokens is not None and not self.tokens:
            raise ValueError("train_tokens must come with tokens, what each domain has")
        return self


@dataclass(frozen=True)
class Trust:
    """Holds how well the law of one target predicts runs that it was not fitted to.

    Attributes:
        target: Name of the loss.
        runs: Runs that have it.
        rank_correlation: Spearman's, over all runs, each predicted by a law fitted without its fold.
        error: Root mean square of the predictions' errors, in the unit of the loss.
    """

    target: str
    runs: int
    rank_correlation: float | None
    error: float


@dataclass(frozen=True)
class MixResult:
    """Holds a mixture, and how far it is to be trusted.

    Attributes:
        shares: By domain.
        intervals: By domain, where 90 of 100 mixtures from resampled runs have its share.
        gain: Predicted loss of the prior less that of the mixture, weighed over targets, with such an interval.
        prior: By domain.
        trust: A row a target.
        warnings: What a user should know, a sentence each.
    """

    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    gain: tuple[float, float, float]
    prior: dict[str, float]
    trust: tuple[Trust, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Regmix:
    """Fits a law for every target to the runs, and finds the mixture that lowers their weighed mean most."""

    settings: RegmixSettings
    runs: Runs

    def result(self) -> MixResult:
        """Returns the mixture; raises UserError for names that the runs do not have and bounds that nothing keeps."""
        self._check()
        mixture, domains = self._best(self.runs), self.runs.domains
        resampled = [self._resampled(number) for number in range(RESAMPLES)]
        ends = np.percentile([made for made, _ in resampled], [5, 95], axis=0).T
        gain = self._gain(self._fitted(self.runs), mixture)
        low, high = (float(end) for end in np.percentile([gained for _, gained in resampled], [5, 95]))
        trust = self._trust()
        return MixResult(
            dict(zip(domains, mixture.tolist(), strict=True)),
            {name: (float(a), float(b)) for name, (a, b) in zip(domains, ends, strict=True)},
            (gain, low, high),
            dict(zip(domains, self.prior.tolist(), strict=True)),
            trust,
            tuple(self._warnings(trust, low)),
        )

    @cached_property
    def prior(self) -> Floats:
        """Returns what the mixture must beat, float64[domains]."""
        given: Mapping[str, float] = self.settings.prior or self.settings.tokens
        if not given:
            return np.asarray(self.runs.shares.mean(axis=0))
        shares = np.array([given.get(name, 0.0) for name in self.runs.domains], np.float64)
        if not shares.sum() > 0 or (shares < 0).any():
            raise UserError(f"mix.prior: must hold a share above 0 and none below, got {dict(given)}")
        return np.asarray(shares / shares.sum())

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Returns the least and the most of every domain, float64[domains] each; raises UserError."""
        settings, domains = self.settings, self.runs.domains
        least = np.array([settings.least.get(name, 0.0) for name in domains])
        seen = dict(zip(domains, self.runs.shares.max(axis=0).tolist(), strict=True))
        most = np.array([settings.most.get(name, seen[name]) for name in domains])
        if settings.train_tokens is not None:
            at_hand = np.array([settings.tokens.get(name, 0) for name in domains], np.float64)
            most = np.minimum(most, at_hand * settings.epochs / settings.train_tokens)
        check_bounds(least, most)
        return least, most

    @cached_property
    def weights(self) -> Floats:
        """Returns the weight of every target, float64[targets], which add up to 1."""
        given = self.settings.targets
        made = np.array([given.get(name, 0.0) if given else 1.0 for name in self.runs.targets], np.float64)
        if (made < 0).any() or not made.sum() > 0:
            raise UserError(f"mix.targets: must have a weight above 0 and none below, got {given}")
        return np.asarray(made / made.sum())

    def _check(self) -> None:
        settings, runs = self.settings, self.runs
        for key, known in (
            ("targets", runs.targets), ("prior", runs.domains), ("tokens", runs.domains),
            ("least", runs.domains), ("most", runs.domains),
        ):  # fmt: skip
            if unknown := [name for name in getattr(settings, key) if name not in known]:
                raise UserError(f"mix.{key}: must name what the runs have, got {unknown[0]!r}; {name_some(known)}")
        needed = LAWS[settings.law].parameters(len(runs.domains)) + FOLDS
        for name, losses, weight in zip(runs.targets, runs.losses.T, self.weights, strict=True):
            if weight and (known_runs := int(np.isfinite(losses).sum())) < needed:
                raise UserError(
                    f"mix.runs: must be {needed} or more with the loss {name!r} for the law {settings.law!r} of "
                    f"{len(runs.domains)} domains, got {known_runs}"
                )
        _ = self.bounds

    def _fitted(self, runs: Runs) -> list[tuple[float, FittedLaw]]:
        """The weight and the law of every target that counts."""
        law, made = LAWS[self.settings.law], []
        for number, weight in enumerate(self.weights.tolist()):
            if weight:
                known = np.isfinite(runs.losses[:, number])
                made.append((weight, law.fit(runs.shares[known], runs.losses[known, number])))
        return made

    def _best(self, runs: Runs) -> Floats:
        laws = self._fitted(runs)
        return best_mixture(lambda shares: _predicted(laws, shares), self.prior, *self.bounds, self.settings.seed)

    def _gain(self, laws: list[tuple[float, FittedLaw]], mixture: Floats) -> float:
        prior, made = _predicted(laws, np.stack([self.prior, mixture]))
        return float(prior - made)

    def _resampled(self, number: int) -> tuple[Floats, float]:
        """The mixture of runs drawn with replacement, and what the laws of others say it gains.

        The laws that judge are fitted to the runs that were not drawn, where these are enough: a law flatters its own
        optimum.
        """
        generator = np.random.default_rng([self.settings.seed, number])
        rows = generator.integers(len(self.runs), size=len(self.runs))
        left = np.setdiff1d(np.arange(len(self.runs)), rows)
        mixture = self._best(_rows(self.runs, rows))
        enough = len(left) > 2 * LAWS[self.settings.law].parameters(len(self.runs.domains))
        return mixture, self._gain(self._fitted(_rows(self.runs, left if enough else rows)), mixture)

    def _trust(self) -> tuple[Trust, ...]:
        law, runs = LAWS[self.settings.law], self.runs
        fold = np.random.default_rng(self.settings.seed).permutation(len(runs)) % FOLDS
        made = []
        for name, losses, weight in zip(runs.targets, runs.losses.T, self.weights.tolist(), strict=True):
            known = np.isfinite(losses)
            if not weight:
                continue
            predicted = np.full(len(losses), np.nan)
            for number in range(FOLDS):
                inside, outside = known & (fold != number), known & (fold == number)
                predicted[outside] = law.fit(runs.shares[inside], losses[inside]).predict(runs.shares[outside])
            error = float(np.sqrt(np.mean((predicted[known] - losses[known]) ** 2)))
            made.append(Trust(name, int(known.sum()), spearman(predicted[known], losses[known]), error))
        return tuple(made)

    def _warnings(self, trust: tuple[Trust, ...], low: float) -> list[str]:
        settings = self.settings
        unsure = [one.target for one in trust if (one.rank_correlation or 0.0) < KNOWN_RANKS]
        lines = []
        if unsure:
            lines.append(
                f"the law ranks held-out runs badly (Spearman below {KNOWN_RANKS}) by {name_some(unsure)}: its "
                "mixture is a guess there"
            )
        if low <= 0:
            lines.append("the mixture does not surely beat the prior: the interval of its gain has 0 in it")
        if settings.parameters is not None and settings.parameters < SMALL_MODELS:
            lines.append(
                f"the runs trained models of {settings.parameters:,} parameters: ranks of mixtures are known to hold "
                f"for large models from about {SMALL_MODELS:,} on (Olmix, arXiv 2602.12237)"
            )
        return lines


def _predicted(laws: list[tuple[float, FittedLaw]], shares: Floats) -> Floats:
    """The weighed mean of the targets' predicted losses, float64[mixtures]."""
    return np.asarray(sum(weight * law.predict(shares) for weight, law in laws))


def _rows(runs: Runs, rows: npt.NDArray[np.int64]) -> Runs:
    return Runs(runs.domains, runs.targets, runs.shares[rows], runs.losses[rows])
