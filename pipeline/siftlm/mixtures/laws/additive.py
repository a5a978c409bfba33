"""Fits losses by a law of the mixture, the size of the model and the tokens it reads.

Shukor et al. 2025 (Scaling Laws for Optimal Data Mixtures, arXiv 2507.09404), the additive law:
L = E + 1 / (sum over domains of C_i h_i^g_i) + A / N^a + B / D^b. In the joint law A and B depend on the mixture,
A = (sum of A_i h_i)^e and B = (sum of B_i h_i)^f.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.laws.newton import damped_newton

Floats = npt.NDArray[np.float64]

HUBER = 1e-3  # of logarithms of losses
RIDGE = 1e-9
STARTS = 12
TINY = 1e-300
STEEPEST = 1e6  # derivative by a share, where a share is nearly 0
TERMS = ("parameters", "tokens")


@dataclass(frozen=True)
class Scales:
    """Holds what runs were trained with: shares float64[runs, domains], parameters and tokens float64[runs]."""

    shares: Floats
    parameters: Floats
    tokens: Floats

    def rows(self, rows: npt.NDArray[np.int64]) -> Scales:
        """Returns some of the runs."""
        return Scales(self.shares[rows], self.parameters[rows], self.tokens[rows])

    def __len__(self) -> int:
        return len(self.shares)


@dataclass(frozen=True)
class LawLayout:
    """Says where the numbers of a law stand in the vector that is fitted; all are logarithms.

    Attributes:
        domains: Their number.
        units: What parameters and tokens are divided by, so that their terms are of one size.
        terms: Whether the law has a term in the parameters, and one in the tokens.
        joint: Whether these terms depend on the mixture.
    """

    domains: int
    units: tuple[float, float]
    terms: tuple[bool, bool]
    joint: bool

    @property
    def places(self) -> list[slice]:
        """Returns E, C and g, then of every term its exponent and its scale, or the scale's parts."""
        width = self.domains + 1 if self.joint else 1
        sizes = [1, self.domains, self.domains, *(1 + width for term in self.terms if term)]
        ends = np.cumsum([0, *sizes]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]

    @property
    def numbers(self) -> int:
        return int(self.places[-1].stop)


@dataclass(frozen=True)
class AdditiveLaw:
    """Holds a fitted law of one target; `numbers` is as the layout says."""

    layout: LawLayout
    numbers: Floats

    def predict(self, runs: Scales) -> Floats:
        """Returns the predicted losses, float64[runs]."""
        return np.exp(_logs(self.layout, self.numbers, runs)[0])

    def slopes(self, shares: Floats, sizes: tuple[float, float]) -> tuple[float, Floats]:
        """Returns the predicted loss of one mixture at (parameters, tokens), and its derivative by the shares."""
        _, scales, powers, *terms = (self.numbers[place] for place in self.layout.places)
        runs = Scales(shares[None], *(np.array([size]) for size in sizes))
        exponents = np.exp(powers)
        with np.errstate(over="ignore"):
            rise = np.where(shares > 0, np.exp(scales) * exponents * np.maximum(shares, TINY) ** (exponents - 1), 0.0)
        total = (np.exp(scales) * np.maximum(shares, TINY) ** exponents * (shares > 0)).sum()
        slope = -np.minimum(rise, STEEPEST) / total**2
        if self.layout.joint:
            logs = [np.log(size / unit) for size, unit, term in _used(self.layout, runs) if term]
            for term, size in zip(terms, logs, strict=True):
                parts, power = np.exp(term[1:-1]), np.exp(term[-1])
                slope = slope + power * (shares @ parts) ** (power - 1) * parts * np.exp(-np.exp(term[0]) * size[0])
        return float(self.predict(runs)[0]), slope

    def coefficients(self, domains: Sequence[str]) -> dict[str, float]:
        """Returns E, C and g by domain, and scales and exponents in the units of the runs."""
        level, scales, powers, *terms = (self.numbers[place] for place in self.layout.places)
        made = {"E": float(np.exp(level[0]))}
        made |= {f"C_{name}": float(c) for name, c in zip(domains, np.exp(scales), strict=True)}
        made |= {f"g_{name}": float(g) for name, g in zip(domains, np.exp(powers), strict=True)}
        listed = [(n, unit) for n, unit, term in zip(TERMS, self.layout.units, self.layout.terms, strict=True) if term]
        for (name, unit), term in zip(listed, terms, strict=True):
            exponent = float(np.exp(term[0]))
            made[f"exponent_{name}"] = exponent
            if not self.layout.joint:
                made[f"scale_{name}"] = float(np.exp(term[1]) * unit**exponent)
        return made


def fit_additive(runs: Scales, losses: Floats, *, joint: bool = False, start: AdditiveLaw | None = None) -> AdditiveLaw:
    """Returns the law that fits finite losses above 0, float64[runs], best: in logarithms, by Huber's function.

    Several starts are tried, or the one that is given. A term is left out where the runs have fewer than three
    different sizes of it.
    """
    layout = start.layout if start else layout_of(runs, joint)
    known = np.log(losses)

    def model(numbers: Floats) -> tuple[Floats, Floats]:
        logs, slopes = _logs(layout, numbers, runs)
        return logs - known, slopes

    starts = [start.numbers] if start else _starts(layout, losses)
    fits = [damped_newton(model, begun, HUBER, RIDGE * len(losses)) for begun in starts]
    return AdditiveLaw(layout, min(fits, key=lambda fit: fit[1])[0])


def layout_of(runs: Scales, joint: bool) -> LawLayout:
    """Returns the numbers of a law that runs can tell."""
    sizes = (runs.parameters, runs.tokens)
    units = [float(np.exp(np.log(size).mean())) for size in sizes]
    several = [len(np.unique(size)) >= 3 for size in sizes]
    return LawLayout(runs.shares.shape[1], (units[0], units[1]), (several[0], several[1]), joint)


def _starts(layout: LawLayout, losses: Floats) -> list[Floats]:
    generator, least = np.random.default_rng(0), float(losses.min())
    span = max(float(np.ptp(losses)), 1e-3 * least)
    made = []
    for number in range(STARTS):
        numbers = np.empty(layout.numbers)
        level, scales, powers, *terms = layout.places
        numbers[level] = np.log(least * (0.3, 0.6, 0.85)[number % 3])
        numbers[scales] = np.log(4.0 / span) + generator.normal(0, 0.7, layout.domains)
        numbers[powers] = np.log((0.1, 0.3, 0.8)[number // 3 % 3]) + generator.normal(0, 0.3, layout.domains)
        for term in terms:
            numbers[term] = np.log(0.3 * span)
            numbers[term.start] = np.log(0.3)
            if layout.joint:
                numbers[term.stop - 1] = 0.0
        made.append(numbers)
    return made


def _logs(layout: LawLayout, numbers: Floats, runs: Scales) -> tuple[Floats, Floats]:
    """Logarithms of the predicted losses, and their derivatives, float64[runs, numbers]."""
    numbers = np.clip(numbers, -50.0, 50.0)
    level, scales, powers, *terms = layout.places
    logs = np.log(np.maximum(runs.shares, TINY))
    exponents = np.exp(numbers[powers])
    parts = np.exp(np.clip(numbers[scales] + exponents * logs, -700, 100)) * (runs.shares > 0)
    total = np.maximum(parts.sum(axis=1), TINY)
    slopes = np.zeros((len(runs), layout.numbers))
    slopes[:, level] = np.exp(numbers[level])
    made = slopes[:, level][:, 0] + 1 / total
    slopes[:, scales] = -parts / total[:, None] ** 2
    slopes[:, powers] = slopes[:, scales] * exponents * np.where(runs.shares > 0, logs, 0.0)
    sizes = [np.log(size / unit) for size, unit, term in _used(layout, runs) if term]
    for term, size in zip(terms, sizes, strict=True):
        value, slopes[:, term] = _term(layout, numbers[term], runs.shares, size)
        made = made + value
    made = np.maximum(made, TINY)
    return np.log(made), slopes / made[:, None]


def _used(layout: LawLayout, runs: Scales) -> list[tuple[Floats, float, bool]]:
    return list(zip((runs.parameters, runs.tokens), layout.units, layout.terms, strict=True))


def _term(layout: LawLayout, numbers: Floats, shares: Floats, size: Floats) -> tuple[Floats, Floats]:
    """scale * size^-exponent and its derivatives; in the joint law the scale is (sum of A_i h_i)^e."""
    exponent = np.exp(numbers[0])
    if not layout.joint:
        value = np.exp(np.clip(numbers[1] - exponent * size, -700, 100))
        return value, np.column_stack([-value * exponent * size, value])
    parts, power = shares * np.exp(numbers[1:-1]), np.exp(numbers[-1])
    total = np.maximum(parts.sum(axis=1), TINY)
    value = np.exp(np.clip(power * np.log(total) - exponent * size, -700, 100))
    by_part = (value * power / total)[:, None] * parts
    return value, np.column_stack([-value * exponent * size, by_part, value * power * np.log(total)])
