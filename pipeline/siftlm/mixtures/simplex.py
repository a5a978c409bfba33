"""Draws mixtures of domains, and finds those with the lowest predicted loss, within bounds on the shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.mixing.projection import project_l2

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats], Floats]

DRAWS = 100_000
BEST = 128  # mixtures whose mean is the result, as RegMix has it
STRENGTHS = np.logspace(-1, 5, 15, base=10)
AT_A_TIME = 10_000


def bounded(shares: Floats, least: Floats, most: Floats) -> Floats:
    """Returns the mixtures nearest to `shares`, float64[mixtures, domains], that keep the bounds.

    Raises:
        UserError: no mixture keeps the bounds.
    """
    check_bounds(least, most)
    outside = (shares < least - 1e-12).any(axis=1) | (shares > most + 1e-12).any(axis=1)
    made = shares.copy()
    room = 1 - least.sum()
    for row in np.flatnonzero(outside).tolist():
        if room <= 0:
            made[row] = least / least.sum()
            continue
        free = np.maximum(most - least, 1e-300) / room
        made[row] = least + room * project_l2((shares[row] - least) / room, free)
    return made


def check_bounds(least: Floats, most: Floats) -> None:
    """Raises UserError where no mixture keeps the bounds."""
    if least.sum() > 1 + 1e-9:
        raise UserError(f"mix.least: must leave room, got least shares that add up to {least.sum():.4g}")
    if most.sum() < 1 - 1e-9:
        raise UserError(
            f"mix: the most that domains may have must add up to 1 or more, got {most.sum():.4g}; raise mix.most or "
            "mix.epochs, or lower mix.train_tokens"
        )
    if (least > most + 1e-12).any():
        raise UserError("mix.least: must be below what a domain may have at most, got more")


def drawn(prior: Floats, count: int, seed: int, strengths: Floats = STRENGTHS[:1] * 10) -> Floats:
    """Returns random mixtures, float64[count, domains], around a prior: Dirichlet(strength * prior).

    Args:
        prior: Shares of the domains, which add up to 1; a domain of no share has none in any mixture.
        count: Number of mixtures.
        seed: Of the draw.
        strengths: Of which every mixture takes one; the larger, the nearer it is to the prior. By default 1.
    """
    generator = np.random.default_rng(seed)
    chosen = strengths[generator.integers(len(strengths), size=count)]
    # A Dirichlet is gamma variables divided by their sum; in logarithms, for small shapes underflow.
    shapes = np.where(prior > 0, chosen[:, None] * prior, 1.0)
    logs = np.log(generator.gamma(shapes + 1)) + np.log(generator.random(shapes.shape)) / shapes
    logs = np.where(prior > 0, logs, -np.inf)
    made = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(made / made.sum(axis=1, keepdims=True))


def best_mixture(predict: Predict, prior: Floats, least: Floats, most: Floats, seed: int) -> Floats:
    """Returns the mean of the best of many drawn mixtures, float64[domains], which keeps the bounds.

    It is RegMix's: 100,000 mixtures from Dirichlet(prior), the mean of the 128 with the lowest predicted loss.
    A single best one follows the fit's mistakes further than their mean does.
    """
    mixtures = bounded(prior[None], least, most)
    values = predict(mixtures)
    for number, start in enumerate(range(0, DRAWS, AT_A_TIME)):
        more = drawn(prior, min(AT_A_TIME, DRAWS - start), seed + number)
        inside = ((more >= least - 1e-12) & (more <= most + 1e-12)).all(axis=1)
        if inside.sum() < BEST:  # bounds that few draws keep: the best are moved to where they hold
            order = np.argsort(predict(more), kind="stable")[: 2 * BEST]
            more = bounded(more[order], least, most)
        else:
            more = more[inside]
        mixtures, values = np.concatenate([mixtures, more]), np.concatenate([values, predict(more)])
        order = np.argsort(values, kind="stable")[:BEST]
        mixtures, values = mixtures[order], values[order]
    return np.asarray(mixtures.mean(axis=0))
