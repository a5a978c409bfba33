"""Finds a mixture by a law that is fitted to runs, and says how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.law import FittedLaw, Law
from siftlm.mixtures.problem import Problem
from siftlm.mixtures.protocol import MixResult, Trust
from siftlm.statistics.ranks import spearman

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Find = Callable[[Sequence[FittedLaw]], Floats]
"""Takes laws to the best mixture of each, float64[laws, domains]."""

FOLDS = 5
ENOUGH = 40
"""Runs that always do: a law of more numbers is held by a ridge, and says by held-out runs what it is worth."""
TRIES = 100
SMALL_MODELS = 15_000_000
"""Parameters of the models from which on ranks of mixtures hold for large ones: .73 at 1M, above .89 from here on
(Olmix, arXiv 2602.12237)."""
KNOWN_RANKS = 0.5  # a held-out rank correlation below says that the law does not know which mixture is better


@dataclass(frozen=True)
class FittedMixture:
    """Fits a law to the losses of runs, and finds the mixture that lowers their weighed mean most.

    Attributes:
        problem: The runs and the settings.
        law: What is fitted, once to all runs, and again to resamples and folds of them.
        find: How the best mixtures of fitted laws are found.
    """

    problem: Problem
    law: Law
    find: Find

    def result(self) -> MixResult:
        """Returns the mixture; raises UserError for names that the runs do not have and bounds that nothing keeps."""
        problem, domains = self.problem, self.problem.runs.domains
        if len(domains) == 1:
            _ = problem.bounds, problem.weights
            told = "there is one domain, so there is nothing to choose"
            return MixResult((told,), {domains[0]: 1.0}, {domains[0]: 1.0}, {}, None, ())
        self._check()
        resamples = [self._resample(number) for number in range(problem.settings.resamples)]
        fits = [self._fit(np.arange(len(problem.runs))), *(self._fit(rows) for rows, _ in resamples)]
        mixtures = self.find(fits)
        gain = self._gain(fits[0], mixtures[0])
        gains = [self._gain(self._fit(judges), made) for (_, judges), made in zip(resamples, mixtures[1:], strict=True)]
        low, high = (float(end) for end in np.percentile(gains, [5, 95]))
        ends = np.percentile(mixtures[1:], [5, 95], axis=0).T
        trust = self.trust()
        return MixResult(
            tuple(self._warnings(trust, low)),
            dict(zip(domains, mixtures[0].tolist(), strict=True)),
            dict(zip(domains, problem.prior.tolist(), strict=True)),
            {name: (float(a), float(b)) for name, (a, b) in zip(domains, ends, strict=True)},
            (gain, low, high),
            trust,
        )

    def trust(self) -> tuple[Trust, ...]:
        """Returns for every target how well runs are predicted by laws fitted without their fold.

        Runs of one mixture are in one fold.
        """
        problem = self.problem
        count = int(problem.mixture_of.max()) + 1
        fold = (np.random.default_rng(problem.settings.seed).permutation(count) % FOLDS)[problem.mixture_of]
        predicted = np.full(problem.losses.shape, np.nan)
        for number in range(FOLDS):
            outside = fold == number
            law = self._fit(np.flatnonzero(~outside))
            predicted[outside] = law.predict(problem.runs.shares[outside])
        return tuple(
            trust_of(name, made, losses)
            for name, made, losses in zip(problem.targets, predicted.T, problem.losses.T, strict=True)
        )

    @cached_property
    def tuned(self) -> Law:
        """Returns the law with what is chosen once from all runs."""
        return self.law.tuned(self.problem.runs.shares, self.problem.losses)

    @cached_property
    def needed(self) -> int:
        """Returns how many different mixtures every target must have a loss of."""
        return min(self.law.parameters(len(self.problem.runs.domains)) + FOLDS, ENOUGH)

    def _check(self) -> None:
        problem = self.problem
        _ = problem.bounds, problem.prior, problem.weights
        for name, losses in zip(problem.targets, problem.losses.T, strict=True):
            known = np.isfinite(losses)
            if (mixtures := len(np.unique(problem.mixture_of[known]))) < self.needed:
                raise UserError(
                    f"mix.runs: must be {self.needed} or more with the loss {name!r} for the law {self.law.name!r} of "
                    f"{len(problem.runs.domains)} domains, got {mixtures} of different mixtures"
                )

    def _fit(self, rows: Rows) -> FittedLaw:
        return self.tuned.fit(self.problem.runs.shares[rows], self.problem.losses[rows])

    def _gain(self, law: FittedLaw, mixture: Floats) -> float:
        """How much lower the weighed mean of the losses is than with the prior, as a law predicts."""
        prior, made = law.predict(np.stack([self.problem.prior, mixture])) @ self.problem.weights
        return float(prior - made)

    def _resample(self, number: int) -> tuple[Rows, Rows]:
        """Runs drawn with replacement, by their mixtures, and the runs by which their mixture is judged.

        The laws that judge are fitted to the runs that were not drawn, where these are enough: a law flatters its own
        optimum.
        """
        problem = self.problem
        generator = np.random.default_rng([problem.settings.seed, number])
        order = np.argsort(problem.mixture_of, kind="stable")
        ends = np.cumsum(np.bincount(problem.mixture_of))
        runs_of = np.split(order, ends[:-1])
        for _ in range(TRIES):
            chosen = generator.integers(len(runs_of), size=len(runs_of))
            rows = np.concatenate([runs_of[mixture] for mixture in chosen])
            if (np.isfinite(problem.losses[rows]).sum(axis=0) >= FOLDS).all():
                break
        left = np.setdiff1d(np.arange(len(problem.runs)), rows)
        enough = (np.isfinite(problem.losses[left]).sum(axis=0) >= self.needed).all()
        return rows, left if enough else rows

    def _warnings(self, trust: Sequence[Trust], low: float) -> Iterator[str]:
        yield from warnings_of(trust, self.problem.settings.parameters)
        if low <= 0:
            yield "the mixture does not surely beat the prior: the interval of its gain has 0 in it"
        fewest = min(one.runs for one in trust)
        if fewest < (numbers := self.law.parameters(len(self.problem.runs.domains))):
            yield f"the law fits {numbers} numbers to {fewest} runs: only what these say in common is in it"


def trust_of(target: str, predicted: Floats, losses: Floats) -> Trust:
    """Returns how well held-out losses, float64[runs] with NaN where there is none, are predicted."""
    known = np.isfinite(losses) & np.isfinite(predicted)
    error = float(np.sqrt(np.mean((predicted[known] - losses[known]) ** 2))) if known.any() else float("nan")
    return Trust(target, int(known.sum()), spearman(predicted[known], losses[known]), error)


def warnings_of(trust: Sequence[Trust], parameters: int | None) -> Iterator[str]:
    """Yields what to know of laws that rank badly, and of models too small for their ranks to hold."""
    if unsure := [one.target for one in trust if (one.rank_correlation or 0.0) < KNOWN_RANKS]:
        yield (
            f"the law ranks held-out runs badly (Spearman below {KNOWN_RANKS}) by {name_some(unsure)}: its mixture is "
            "a guess there"
        )
    if parameters is not None and parameters < SMALL_MODELS:
        yield (
            f"the runs trained models of {parameters:,} parameters: ranks of mixtures are known to hold for large "
            f"models from about {SMALL_MODELS:,} on (Olmix, arXiv 2602.12237)"
        )
