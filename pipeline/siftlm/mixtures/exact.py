"""Finds the mixture within bounds at which a smooth function is least, by steps that are exact on the simplex."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.simplex import bounded

Floats = npt.NDArray[np.float64]

STEPS = 20_000
GAP = 1e-9  # relative; how far above the least value a result may be
STILL = 1e-13  # relative fall of the value between two looks, at which rounding hides what is left
CHECKED = 25  # steps between two looks at the gap
HALVINGS = 200
TINY = 1e-300
LOWEST = -200.0  # logarithm of a share, below the largest one's
LONGEST = 30.0  # change of the logarithm of a share in a step


class Objective(Protocol):
    """Defines functions of mixtures to minimise, one a problem.

    Attributes:
        prior: float64[domains], where the search begins; a domain of no share has none in the result.
        kl: The strength of a divergence from the prior that is in the functions; 0 without.
    """

    @property
    def prior(self) -> Floats: ...

    @property
    def kl(self) -> float: ...

    @property
    def problems(self) -> int:
        """Returns how many functions there are."""
        ...

    def value(self, p: Floats) -> Floats:
        """Returns the values, float64[problems], of one mixture a problem, float64[problems, domains]."""
        ...

    def slope(self, p: Floats) -> Floats:
        """Returns the derivatives, float64[problems, domains], but for what is the same for all domains."""
        ...


@dataclass(frozen=True)
class Exponentials:
    """Defines for every problem F(p) = sum over targets of w_m exp(t_m p) + kl KL(p || prior).

    Attributes:
        exponents: t, float64[problems, targets, domains].
        weights: w, float64[targets].
        prior: float64[domains]; a domain of no share has none in the result.
        kl: Strength with which the mixture is held near the prior; from 0.
    """

    exponents: Floats
    weights: Floats
    prior: Floats
    kl: float

    @property
    def problems(self) -> int:
        return len(self.exponents)

    def value(self, p: Floats) -> Floats:
        return np.asarray(self._risen(p).sum(axis=1) + self.kl * self._divergence(p).sum(axis=1))

    def slope(self, p: Floats) -> Floats:
        fall = np.einsum("km,kmd->kd", self._risen(p), self.exponents)
        return np.asarray(fall + self.kl * np.where(p > 0, np.log(np.maximum(p, TINY) / self._floor), 0.0))

    def _risen(self, p: Floats) -> Floats:
        return np.asarray(self.weights * np.exp(np.einsum("kmd,kd->km", self.exponents, p)))

    def _divergence(self, p: Floats) -> Floats:
        return np.asarray(np.where(p > 0, p * np.log(np.maximum(p, TINY) / self._floor), 0.0))

    @property
    def _floor(self) -> Floats:
        return np.maximum(self.prior, TINY)


def minimised(of: Objective, least: Floats, most: Floats) -> Floats:
    """Returns the mixtures with the least values within the bounds, float64[problems, domains]; of convex functions.

    Of others it is a local least one.

    Steps p' = argmin <g, p> + KL(p || p_t) / step, each exact, with steps that grow while they lower F as promised
    (mirror descent; Nemirovski and Yudin 1983). They end where the slope proves the value to be within a relative gap
    of 1e-9 of the least, or where it has stopped to fall.

    Raises:
        UserError: no mixture keeps the bounds.
    """
    inside = of.prior > 0
    most = np.where(inside, most, 0.0)
    begun = bounded(of.prior[None], least, most)
    p = np.repeat(np.maximum(begun, 1e-12 * inside), of.problems, axis=0)
    p /= p.sum(axis=1, keepdims=True)
    step, value, before = np.full((len(p), 1), 1.0), of.value(p), np.full(len(p), np.inf)
    for number in range(STEPS):
        slope = of.slope(p)
        if number % CHECKED == 0:
            scale = 1 + np.abs(value)
            if ((_gap(slope, p, least, most) <= GAP * scale) | (before - value <= STILL * scale)).all():
                break
            before = value
        for _ in range(HALVINGS):
            moved = _within(np.log(np.maximum(p, TINY)) - step * slope, least, most, inside)
            new = of.value(moved)
            near = np.where(moved > 0, moved * np.log(np.maximum(moved, TINY) / np.maximum(p, TINY)), 0.0).sum(axis=1)
            good = new <= value + (slope * (moved - p)).sum(axis=1) + near / step[:, 0] + 1e-14 * (1 + np.abs(value))
            if good.all():
                break
            step = np.where(good[:, None], step, step / 2)
        longest = np.minimum(LONGEST / np.maximum(np.ptp(slope, axis=1, keepdims=True), TINY), 1 / max(of.kl, TINY))
        p, value, step = moved, new, np.minimum(step * 1.5, longest)
    return p


def _gap(slope: Floats, p: Floats, least: Floats, most: Floats) -> Floats:
    """The most by which a mixture within the bounds can lie below p: <slope, p - the best vertex>."""
    order = np.argsort(slope, axis=1)
    room = np.take_along_axis(np.broadcast_to(most - least, slope.shape), order, axis=1)
    filled = np.minimum(np.cumsum(room, axis=1), 1 - least.sum())
    more = np.diff(filled, axis=1, prepend=0.0)
    vertex = slope @ least + (np.take_along_axis(slope, order, axis=1) * more).sum(axis=1)
    return np.asarray((slope * p).sum(axis=1) - vertex)


def _within(logs: Floats, least: Floats, most: Floats, inside: npt.NDArray[np.bool_]) -> Floats:
    """clip(exp(logs + c), least, most) with the c, one a problem, that makes the sum 1."""
    logs = np.maximum(logs - np.where(inside, logs, -np.inf).max(axis=1, keepdims=True), LOWEST)
    risen = np.where(inside, np.exp(logs), 0.0)
    made = risen / risen.sum(axis=1, keepdims=True)
    wrong = ((made < least) | (made > most)).any(axis=1)
    if wrong.any():
        made[wrong] = _scaled(np.where(inside, logs[wrong], LOWEST), least, most)
    return np.asarray(made)


def _scaled(logs: Floats, least: Floats, most: Floats) -> Floats:
    """clip(exp(logs + c), least, most) with sum 1, by Newton's steps within an interval that is halved."""
    low, high = np.full(len(logs), LOWEST), np.full(len(logs), -2 * LOWEST)
    offset = -np.log(np.exp(logs).sum(axis=1))
    for _ in range(HALVINGS):
        risen = np.exp(logs + offset[:, None])
        missing = 1 - np.clip(risen, least, most).sum(axis=1)
        if (np.abs(missing) < 1e-13).all():
            break
        low, high = np.where(missing > 0, offset, low), np.where(missing < 0, offset, high)
        slope = np.where((risen > least) & (risen < most), risen, 0.0).sum(axis=1)
        moved = offset + missing / np.maximum(slope, TINY)
        offset = np.where((moved > low) & (moved < high), moved, (low + high) / 2)
    made = np.clip(np.exp(logs + offset[:, None]), least, most)
    return np.asarray(made / made.sum(axis=1, keepdims=True))
