"""Compares what models learnt from two selections, with the noise of documents, seeds and held-out documents.

An arm is trained several times; a replicate is one draw of its documents with one seed. All replicates are measured on
the same held-out documents, so replicates and held-out documents are crossed: resampling draws replicates within each
arm, and documents within each domain once for all arms. The noise of held-out documents alone says nothing of another
draw of training documents; with a few replicates the noise of replicates alone is unknown, so arms share theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "worse", "tie"]

RESAMPLES = 2_000
CHUNK = 250  # resamples whose weights of documents are in memory at once


@dataclass(frozen=True)
class Measures:
    """Holds the held-out documents that every replicate is measured on.

    Attributes:
        domains: Names of the domains, in the order of `domain`.
        domain: int64[documents], the number of each document's domain.
        sizes: int64[documents], UTF-8 bytes of each document.
    """

    domains: tuple[str, ...]
    domain: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def bits_per_byte(self, bits: Floats) -> Floats:
        """Returns the bits per byte of every domain, float64[..., domains], of the `bits` of every document."""
        return np.asarray(bits @ self.membership / (self.sizes @ self.membership))

    @property
    def membership(self) -> Floats:
        """Returns float64[documents, domains] with 1 where a document is in a domain."""
        return np.asarray(self.domain[:, None] == np.arange(len(self.domains))[None], np.float64)


@dataclass(frozen=True)
class Losses:
    """Holds the losses of one arm's replicates.

    Attributes:
        bits: float64[replicates, documents], -log2 of the probability of each held-out document.
        drawn_share: The share of the arm's documents that one replicate draws, 0 to 1. Draws of a large share have
            documents in common and differ less than draws of fresh documents would.
    """

    bits: Floats
    drawn_share: float = 0.0

    @property
    def replicates(self) -> int:
        return len(self.bits)


@dataclass(frozen=True)
class Effect:
    """Holds by how much an arm is better than another in bits per byte, positive where it is better.

    `low` and `high` bound an interval that holds the true difference with the asked confidence for all compared arms
    at once. `ratio` is the effect divided by its standard error.
    """

    effect: float
    low: float
    high: float
    error: float
    freedom: float

    @property
    def ratio(self) -> float:
        return self.effect / self.error if self.error else float("inf") * np.sign(self.effect)

    @property
    def verdict(self) -> Verdict:
        return "better" if self.low > 0 else "worse" if self.high < 0 else "tie"


@dataclass(frozen=True)
class Comparison:
    """Holds the effect of an arm over its null, on the mean of all domains and in each."""

    arm: str
    null: str
    overall: Effect
    by_domain: dict[str, Effect]
    own_noise: bool  # whether the arm varies more than the others, so that its own noise counts


@dataclass(frozen=True)
class Noise:
    """Holds how the replicates of arms differ.

    Nulls are draws of one kind, and share their noise. An arm shares it too, unless its own replicates vary more: a few
    replicates seldom show by chance that an arm varies less, and an arm that does vary more must not borrow theirs.

    Attributes:
        residuals: By arm float64[replicates, documents], what the losses of each replicate are above the mean of its
            arm, scaled to be unbiased for the variance between fresh draws.
        nulls: Names of the arms that are nulls.
        held_out: The documents that the losses are of.
    """

    residuals: Mapping[str, Floats]
    nulls: frozenset[str]
    held_out: Measures

    @classmethod
    def of(cls, arms: Mapping[str, Losses], nulls: Iterable[str], held_out: Measures) -> Noise:
        """Returns the noise of arms by name; raises UserError unless each has two replicates."""
        few = [name for name, losses in arms.items() if losses.replicates < 2]
        if few:
            raise UserError(f"prove.replicates: must be 2 or more to know the noise, got 1 of {few[0]!r}")
        return cls({name: _residuals(losses) for name, losses in arms.items()}, frozenset(nulls), held_out)

    def shared(self, name: str) -> tuple[Floats, int]:
        """Returns the residuals of all nulls and of one arm, and their degrees of freedom."""
        names = [*sorted(self.nulls - {name}), name]
        rows = np.concatenate([self.residuals[other] for other in names])
        return rows, len(rows) - len(names)

    def varies_more(self, name: str) -> bool:
        """Tells whether an arm's replicates vary more than the nulls' do, on the mean of all domains."""
        own = self.residuals[name]
        return name not in self.nulls and self._variance(own, len(own) - 1) > self._variance(*self.shared(name))

    def of_arm(self, name: str) -> tuple[Floats, float]:
        """Returns residuals whose mean square is the variance of an arm's replicates, and its degrees of freedom."""
        rows, freedom = self.shared(name)
        if self.varies_more(name):
            rows = self.residuals[name]
            return rows * np.sqrt(len(rows) / (len(rows) - 1)), freedom
        return rows * np.sqrt(len(rows) / freedom), freedom

    def variances(self, name: str) -> Floats:
        """Returns the variance of one replicate in bits per byte, float64[1 + domains], that of the mean first."""
        by_domain = self.held_out.bits_per_byte(self.of_arm(name)[0])
        return np.asarray((np.column_stack([by_domain.mean(axis=1), by_domain]) ** 2).mean(axis=0))

    def deviation(self, name: str) -> float:
        """Returns the standard deviation of an arm's replicates, in bits per byte of the mean of all domains."""
        return float(np.sqrt(self.variances(name)[0]))

    def _variance(self, rows: Floats, freedom: int) -> float:
        return float((self.held_out.bits_per_byte(rows).mean(axis=1) ** 2).sum() / freedom)


def compare(
    pairs: Sequence[tuple[str, str]],
    arms: Mapping[str, Losses],
    noise: Noise,
    *,
    level: float = 0.05,
    seed: int = 0,
) -> list[Comparison]:
    """Returns the effect of each (arm, null) pair, with intervals that hold for all pairs at once.

    The standard error is that of a hierarchical resampling: replicates of both arms, then held-out documents within
    their domains, the same for both. The interval is Student's, with Bonferroni's correction for the number of pairs
    and Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946).

    Args:
        pairs: Names of an arm and of what it is compared with.
        arms: The losses of every arm and null by name.
        noise: Of the same arms, on the same documents.
        level: The chance that any interval misses its true difference.
        seed: Of the resampling.
    """
    errors = _resampled(pairs, arms, noise, seed)
    return [_comparison(pair, arms, noise, errors[n], level / len(pairs)) for n, pair in enumerate(pairs)]


def _comparison(
    pair: tuple[str, str], arms: Mapping[str, Losses], noise: Noise, errors: Floats, level: float
) -> Comparison:
    """The comparison of one pair; `errors` is float64[1 + domains], overall first."""
    arm, null = pair
    held_out = noise.held_out
    differences = np.subtract(*(held_out.bits_per_byte(arms[name].bits).mean(axis=0) for name in (null, arm)))
    effects = np.array([differences.mean(), *differences])
    freedoms = _freedoms(pair, arms, noise, errors)
    made = [_effect(*numbers, level) for numbers in zip(effects, errors, freedoms, strict=True)]
    return Comparison(arm, null, made[0], dict(zip(held_out.domains, made[1:], strict=True)), noise.varies_more(arm))


def _effect(effect: float, error: float, freedom: float, level: float) -> Effect:
    reach = float(stats.t.ppf(1 - level / 2, freedom)) * error
    return Effect(float(effect), float(effect - reach), float(effect + reach), float(error), float(freedom))


def _residuals(losses: Losses) -> Floats:
    """Deviations from the arm's mean, scaled by Bessel's and the finite population's corrections.

    The variance between draws without replacement of a share f is 1 - f of that between fresh draws (Cochran, Sampling
    Techniques, section 2.6); where a draw takes all, nothing can be said, and nothing is corrected.
    """
    share = losses.drawn_share if losses.drawn_share < 1 else 0.0
    deviations = losses.bits - losses.bits.mean(axis=0)
    return np.asarray(deviations / np.sqrt(1 - share))


def _freedoms(pair: tuple[str, str], arms: Mapping[str, Losses], noise: Noise, errors: Floats) -> Floats:
    """Satterthwaite's degrees of freedom, float64[1 + domains], of errors that replicates and documents share."""
    of_replicates = sum(noise.variances(name) / arms[name].replicates for name in pair)
    of_documents = np.maximum(errors**2 - of_replicates, 0.0)
    degrees = max(1, len(noise.held_out.sizes) - len(noise.held_out.domains))
    fourth = of_replicates**2 / noise.of_arm(pair[0])[1] + of_documents**2 / degrees
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(fourth > 0, (of_replicates + of_documents) ** 2 / fourth, degrees)


def _resampled(pairs: Sequence[tuple[str, str]], arms: Mapping[str, Losses], noise: Noise, seed: int) -> Floats:
    """Standard errors by resampling, float64[pairs, 1 + domains], overall first."""
    held_out, names = noise.held_out, sorted({name for pair in pairs for name in pair})
    means = {name: arms[name].bits.mean(axis=0) for name in names}
    residuals = {name: noise.of_arm(name)[0] for name in names}
    generator = np.random.default_rng(seed)
    drawn: list[list[Floats]] = [[] for _ in pairs]
    for start in range(0, RESAMPLES, CHUNK):
        count = min(CHUNK, RESAMPLES - start)
        weights = _document_weights(held_out, count, generator)
        values = {}
        for name in names:
            residual = _mean_residual(residuals[name], arms[name].replicates, count, generator)
            values[name] = _weighted(means[name] + residual, weights, held_out)
        for differences, (arm, null) in zip(drawn, pairs, strict=True):
            differences.append(values[null] - values[arm])
    errors = []
    for differences in drawn:
        by_domain = np.concatenate(differences)
        errors.append(np.column_stack([by_domain.mean(axis=1), by_domain]).std(axis=0, ddof=1))
    return np.array(errors)


def _mean_residual(residuals: Floats, replicates: int, count: int, generator: np.random.Generator) -> Floats:
    """The means of `replicates` residuals drawn with replacement, float64[count, documents]."""
    chosen = generator.integers(len(residuals), size=(count, replicates))
    shares = np.zeros((count, len(residuals)))
    np.add.at(shares, (np.arange(count)[:, None], chosen), 1 / replicates)
    return np.asarray(shares @ residuals)


def _document_weights(held_out: Measures, count: int, generator: np.random.Generator) -> Floats:
    """How often each document is drawn when as many as there are in its domain are, float64[count, documents]."""
    weights = np.empty((count, len(held_out.sizes)))
    for number in range(len(held_out.domains)):
        rows = np.flatnonzero(held_out.domain == number)
        weights[:, rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=count)
    return weights


def _weighted(bits: Floats, weights: Floats, held_out: Measures) -> Floats:
    """Bits per byte by domain of resampled losses, float64[count, domains]."""
    membership = held_out.membership
    return np.asarray((bits * weights) @ membership / ((weights * held_out.sizes) @ membership))
