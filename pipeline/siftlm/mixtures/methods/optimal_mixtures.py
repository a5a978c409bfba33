"""Finds the best mixture for a model and a training of given sizes, by a scaling law.

Shukor et al. 2025 (Scaling Laws for Optimal Data Mixtures, arXiv 2507.09404).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.exact import minimised
from siftlm.mixtures.fitted import trust_of, warnings_of
from siftlm.mixtures.laws.additive import TERMS, AdditiveLaw, Scales, fit_additive, layout_of
from siftlm.mixtures.problem import FittedSettings, Problem
from siftlm.mixtures.protocol import MixResult, Shown, Trust, interval_words
from siftlm.mixtures.runs import Runs, read_columns, read_runs

Floats = npt.NDArray[np.float64]
Laws = list[AdditiveLaw]
Interval = tuple[float, float, float]
"""A number, and the ends between which 90 of 100 resamples have it."""

TINY = 1e-300


@dataclass(frozen=True)
class ScaledMixResult(MixResult):
    """Holds a mixture for a model and a training of given sizes.

    Attributes:
        predicted: By target, the loss of the mixture at these sizes, with the ends of an interval.
        laws: By target, the coefficients of the law, each with such ends.
    """

    predicted: dict[str, Interval]
    laws: dict[str, dict[str, Interval]]

    def tables(self) -> Iterator[Shown]:
        yield from super().tables()
        rows = [(name, f"{loss:.4f}", interval_words(low, high)) for name, (loss, low, high) in self.predicted.items()]
        yield Shown(("loss", "predicted", "90 % of resamples"), rows)


class OptimalMixturesSettings(FittedSettings):
    """Finds the best mixture for a size of model and training, by a law of shares, parameters and tokens."""

    paper: ClassVar = "Shukor et al. 2025 (arXiv 2507.09404)"
    needs: ClassVar = "runs of models of several sizes and lengths of training on several mixtures, with their losses"
    cost: ClassVar = "minutes"
    unchecked: ClassVar = "the joint law, which is from memory; the additive one was checked on a public table"
    example: ClassVar[Mapping[str, Any]] = {
        "method": "optimal_mixtures", "runs": "scaled_runs.csv", "train_parameters": 1_000_000_000,
        "tokens": {"web": 900_000_000_000, "wiki": 40_000_000_000, "code": 200_000_000_000},
        "train_tokens": 100_000_000_000, "resamples": 4,
    }  # fmt: skip

    method: Literal["optimal_mixtures"] = "optimal_mixtures"
    law: Literal["additive", "joint"] = Field(
        "additive", description="Whether the terms of parameters and tokens are the same for all mixtures."
    )
    parameters_column: str = Field("parameters", description="The column of the parameters of every run's model.")
    tokens_column: str = Field("tokens", description="The column of the tokens that every run read.")
    train_parameters: int = Field(ge=1, description="Parameters of the model that the mixture is for.")
    resamples: int = Field(20, ge=2, description="Resamples of the mixtures, of which the intervals are made.")

    def result(self) -> ScaledMixResult:
        """Returns the mixture, after fitting a law to every target; raises UserError."""
        runs = read_runs(self)
        parameters, tokens = read_columns(self.runs, (self.parameters_column, self.tokens_column)).T
        return scaled_mixture(self, runs, Scales(runs.shares, parameters, tokens))


def scaled_mixture(settings: OptimalMixturesSettings, runs: Runs, scales: Scales) -> ScaledMixResult:
    """Returns the mixture with the least loss that laws predict for the sizes in the settings; raises UserError."""
    problem = Problem(settings, runs)
    _check(problem, scales)
    first = _fitted(problem, scales, np.arange(len(runs)), None)
    resamples = [_fitted(problem, scales, rows, first) for rows in _resamples(problem)]
    many = [first, *resamples]
    mixtures = minimised(AdditiveObjective(many, problem.weights, problem.prior, _target(settings)), *problem.bounds)
    losses = np.array([_predicted(laws, settings, shares) for laws, shares in zip(many, mixtures, strict=True)])
    priors = np.array([_predicted(laws, settings, problem.prior) for laws in many])
    gains, trust, names = (priors - losses) @ problem.weights, _trust(problem, scales, first), runs.domains
    coefficients = [[law.coefficients(names) for law in laws] for laws in many]
    return ScaledMixResult(
        tuple(_warnings(problem, scales, trust, gains)),
        dict(zip(names, mixtures[0].tolist(), strict=True)),
        dict(zip(names, problem.prior.tolist(), strict=True)),
        {name: _ends(column) for name, column in zip(names, mixtures[1:].T, strict=True)},
        (float(gains[0]), *_ends(gains[1:])),
        trust,
        {name: (float(column[0]), *_ends(column[1:])) for name, column in zip(problem.targets, losses.T, strict=True)},
        {
            target: {
                key: (value, *_ends(np.array([laws[number][key] for laws in coefficients[1:]])))
                for key, value in coefficients[0][number].items()
            }
            for number, target in enumerate(problem.targets)
        },
    )


@dataclass(frozen=True)
class AdditiveObjective:
    """Defines the weighed mean of predicted losses at the sizes of the target, for every list of laws."""

    laws: Sequence[Laws]
    weights: Floats
    prior: Floats
    sizes: tuple[float, float]
    kl: float = 0.0

    @property
    def problems(self) -> int:
        return len(self.laws)

    def value(self, p: Floats) -> Floats:
        return np.array([self._of(laws, shares)[0] for laws, shares in zip(self.laws, p, strict=True)])

    def slope(self, p: Floats) -> Floats:
        return np.stack([self._of(laws, shares)[1] for laws, shares in zip(self.laws, p, strict=True)])

    def _of(self, laws: Laws, shares: Floats) -> tuple[float, Floats]:
        value, slope = 0.0, np.zeros_like(shares)
        for weight, law in zip(self.weights, laws, strict=True):
            loss, slopes = law.slopes(shares, self.sizes)
            value, slope = value + weight * loss, slope + weight * slopes
        return value, slope


def _target(settings: OptimalMixturesSettings) -> tuple[float, float]:
    return float(settings.train_parameters), float(settings.train_tokens or 0)


def _predicted(laws: Laws, settings: OptimalMixturesSettings, shares: Floats) -> Floats:
    parameters, tokens = _target(settings)
    runs = Scales(shares[None], np.array([parameters]), np.array([tokens]))
    return np.array([float(law.predict(runs)[0]) for law in laws])


def _fitted(problem: Problem, scales: Scales, rows: npt.NDArray[np.int64], starts: Laws | None) -> Laws:
    made = []
    for number, losses in enumerate(problem.losses.T):
        known = rows[np.isfinite(losses[rows])]
        joint = problem.settings.law == "joint" if isinstance(problem.settings, OptimalMixturesSettings) else False
        start = starts[number] if starts else None
        made.append(fit_additive(scales.rows(known), losses[known], joint=joint, start=start))
    return made


def _resamples(problem: Problem) -> Iterator[npt.NDArray[np.int64]]:
    """Runs drawn with replacement, all those of a mixture together."""
    count = int(problem.mixture_of.max()) + 1
    for number in range(problem.settings.resamples):
        chosen = np.random.default_rng([problem.settings.seed, number]).integers(count, size=count)
        yield np.concatenate([np.flatnonzero(problem.mixture_of == mixture) for mixture in chosen])


def _trust(problem: Problem, scales: Scales, first: Laws) -> tuple[Trust, ...]:
    """How well the runs of the largest models are predicted by laws that were fitted to the others."""
    largest = scales.parameters == scales.parameters.max()
    inside = np.flatnonzero(~largest) if (~largest).any() else np.arange(len(scales))
    laws = _fitted(problem, scales, inside, first if _same_layout(scales, inside, first) else None)
    made = []
    for name, law, losses in zip(problem.targets, laws, problem.losses.T, strict=True):
        predicted = np.where(largest, law.predict(scales), np.nan)
        made.append(trust_of(name, predicted, losses))
    return tuple(made)


def _same_layout(scales: Scales, inside: npt.NDArray[np.int64], laws: Laws) -> bool:
    layout = layout_of(scales.rows(inside), laws[0].layout.joint)
    return layout.terms == laws[0].layout.terms


def _check(problem: Problem, scales: Scales) -> None:
    settings = problem.settings
    _ = problem.bounds, problem.prior, problem.weights
    if settings.train_tokens is None:
        raise UserError("mix.train_tokens: must be set, the tokens of the training that it is for, got nothing")
    for name, sizes in zip(TERMS, (scales.parameters, scales.tokens), strict=True):
        if not (np.isfinite(sizes) & (sizes > 0)).all():
            raise UserError(f"mix.{name}_column: must hold numbers above 0, got {sizes[~(sizes > 0)][:1].tolist()}")
    if wrong := [n for n, column in zip(problem.targets, problem.losses.T, strict=True) if (column <= 0).any()]:
        raise UserError(f"mix.runs: losses must be above 0 for this law, got others of {name_some(wrong)}")
    needed = layout_of(scales, joint=False).numbers + 1
    for name, column in zip(problem.targets, problem.losses.T, strict=True):
        if (count := int(np.isfinite(column).sum())) < needed:
            raise UserError(
                f"mix.runs: must be {needed} or more with the loss {name!r} for this law of "
                f"{len(problem.runs.domains)} domains, got {count}"
            )


def _warnings(problem: Problem, scales: Scales, trust: tuple[Trust, ...], gains: Floats) -> Iterator[str]:
    settings = problem.settings
    largest = int(scales.parameters.max())
    if len(np.unique(scales.parameters)) == 1:
        yield "all runs have one size: the rank correlations are those of the fit itself, which flatter it"
    yield from warnings_of(trust, largest)
    for name, sizes in zip(TERMS, (scales.parameters, scales.tokens), strict=True):
        if (several := len(np.unique(sizes))) < 3:
            yield f"the runs have {several} different numbers of {name}: the law has no term in these"
    if _ends(gains[1:])[0] <= 0:
        yield "the mixture does not surely beat the prior: the interval of its gain has 0 in it"
    if isinstance(settings, OptimalMixturesSettings) and settings.train_parameters > 10 * largest:
        yield f"the model is more than ten times as large as the largest of the runs ({largest:,} parameters)"


def _ends(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [5, 95])
    return float(low), float(high)
