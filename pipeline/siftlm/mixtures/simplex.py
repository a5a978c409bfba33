"""Draws mixtures of domains, and finds those with the lowest predicted loss, within bounds on the shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats], Floats]
"""Takes mixtures, float64[mixtures, domains], to the losses of some problems, float64[mixtures, problems]."""

DRAWS = 100_000
BEST = 128  # mixtures whose mean is the result, as RegMix has it
STRENGTHS = np.logspace(-1, np.log10(5), 15)
"""Of RegMix's draws: from .1 to 5 (sail-sg/regmix, synthesize_mixture.py)."""
AT_A_TIME = 10_000
NUMBERS = 4_000_000  # shares in memory at a time
FEW = BEST / AT_A_TIME  # of the draws; where fewer keep the bounds, draws are moved to where they do
ROUNDS = 200


def bounded(shares: Floats, least: Floats, most: Floats) -> Floats:
    """Returns the mixtures nearest to `shares`, float64[mixtures, domains], that keep the bounds.

    The nearest is clip(share + c, least, most) with the c, one a mixture, that makes the sum 1; c is found by Newton's
    steps within an interval that is halved where one leaves it.

    Raises:
        UserError: no mixture keeps the bounds.
    """
    check_bounds(least, most)
    outside = (shares < least - 1e-12).any(axis=1) | (shares > most + 1e-12).any(axis=1)
    outside |= np.abs(shares.sum(axis=1) - 1) > 1e-9
    made = shares.copy()
    if outside.any():
        made[outside] = _nearest(shares[outside], least, np.maximum(most, least))
    return made


def _nearest(shares: Floats, least: Floats, most: Floats) -> Floats:
    low, high = (least - shares).min(axis=1), (most - shares).max(axis=1)
    offset = np.clip((1 - shares.sum(axis=1)) / shares.shape[1], low, high)
    for _ in range(ROUNDS):
        moved = shares + offset[:, None]
        missing = 1 - np.clip(moved, least, most).sum(axis=1)
        if (np.abs(missing) < 1e-13).all():
            break
        low, high = np.where(missing > 0, offset, low), np.where(missing < 0, offset, high)
        free = ((moved > least) & (moved < most)).sum(axis=1)
        step = offset + missing / np.maximum(free, 1)
        offset = np.where((free > 0) & (step > low) & (step < high), step, (low + high) / 2)
    made = np.clip(shares + offset[:, None], least, most)
    return np.asarray(made / made.sum(axis=1, keepdims=True))


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


def drawn(prior: Floats, count: int, generator: np.random.Generator, strengths: Floats | float = 1.0) -> Floats:
    """Returns random mixtures, float64[count, domains], around a prior: Dirichlet(strength * prior).

    Args:
        prior: Shares of the domains, which add up to 1; a domain of no share has none in any mixture.
        count: Number of mixtures.
        generator: Of the draw.
        strengths: Of which every mixture takes one; the larger, the nearer it is to the prior.
    """
    listed = np.atleast_1d(np.asarray(strengths, np.float64))
    chosen = listed[generator.integers(len(listed), size=count)]
    # A Dirichlet is gamma variables divided by their sum; in logarithms, for small shapes underflow.
    inside = prior > 0
    shapes = chosen[:, None] * prior[inside]
    logs = np.log(generator.standard_gamma(shapes + 1)) + np.log1p(-generator.random(shapes.shape)) / shapes
    made = np.zeros((count, len(prior)))
    risen = np.exp(logs - logs.max(axis=1, keepdims=True))
    made[:, inside] = risen / risen.sum(axis=1, keepdims=True)
    return made


def best_mixtures(
    predict: Predict, prior: Floats, least: Floats, most: Floats, seed: int, *, strength: float = 1.0, best: int = BEST
) -> Floats:
    """Returns for every problem the mean of the best of many drawn mixtures, float64[problems, domains].

    It is RegMix's: 100,000 mixtures from Dirichlet(prior), the mean of the 128 with the lowest predicted loss, all
    within the bounds. A single best one follows the fit's mistakes further than their mean does. The problems look at
    the same draws. Others draw from Dirichlet(strength * prior), and take the mean of the `best`.
    """
    first = bounded(prior[None], least, most)
    losses = predict(first)
    kept = [(first, losses[:, problem]) for problem in range(losses.shape[1])]
    size = max(min(AT_A_TIME, NUMBERS // len(prior)), BEST)
    for number, start in enumerate(range(0, DRAWS, size)):
        generator = np.random.default_rng([seed, number])
        more = drawn(prior, min(size, DRAWS - start), generator, strength)
        inside = ((more >= least - 1e-12) & (more <= most + 1e-12)).all(axis=1)
        more = more[inside] if inside.mean() > FEW else bounded(more, least, most)
        losses = predict(more)
        kept = [_better(one, more, losses[:, problem], best) for problem, one in enumerate(kept)]
    return np.stack([mixtures.mean(axis=0) for mixtures, _ in kept])


def _better(kept: tuple[Floats, Floats], more: Floats, losses: Floats, best: int) -> tuple[Floats, Floats]:
    """The best of the mixtures that were kept and some more, with their losses."""
    few = np.argsort(losses, kind="stable")[:best]
    mixtures, values = np.concatenate([kept[0], more[few]]), np.concatenate([kept[1], losses[few]])
    order = np.argsort(values, kind="stable")[:best]
    return mixtures[order], values[order]
