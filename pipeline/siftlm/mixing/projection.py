"""Computes sampling weights of units that sum to 1 and stay below their caps, from estimates.

Notation of arXiv 2409.05816: g[D] estimates, tau[D] caps, tau_j = tokens of unit j / token budget, w[D]
weights with sum w = 1 and 0 <= w <= tau. A cap says that no text is drawn twice. All float64.

    linear   maximise <g, w>: whole units in the order of g until the budget is full
    l2       minimise |w - g|^2: w = clip(g + c, 0, tau) with the c that makes the sum 1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixing.settings import ProjectSettings

Floats = npt.NDArray[np.float64]

ROUNDING = 1e-9
"""Caps that fall short of 1 by no more than this are taken to add up to 1."""


def caps(tokens: npt.NDArray[np.int64], budget_tokens: float) -> Floats:
    """Returns the cap of each unit's weight, tau[D] = tokens / budget.

    Raises:
        UserError: Some unit has no tokens, or all units together have fewer than the budget.
    """
    if budget_tokens <= 0:
        raise UserError(f"project.budget_tokens: must be above 0, got {budget_tokens:g}")
    if (tokens <= 0).any():
        raise UserError(
            f"project.tokens: every unit must have tokens, got {int((tokens <= 0).sum())} units without; leave them out"
        )
    available = int(tokens.sum())
    if available < budget_tokens * (1 - ROUNDING):
        raise UserError(
            f"project.budget_tokens: must be at most the tokens at hand without repeating any, got "
            f"{budget_tokens:g} of {available}; lower the budget or add units"
        )
    return np.asarray(tokens / budget_tokens, np.float64)


def budget_of(settings: ProjectSettings, tokens: npt.NDArray[np.int64]) -> float:
    """Returns the budget in tokens, which the settings give as a number or as a share of all tokens."""
    if settings.budget_tokens is not None:
        return float(settings.budget_tokens)
    assert settings.keep_share is not None
    return settings.keep_share * float(tokens.sum())


def _checked(g: Floats, tau: Floats) -> tuple[Floats, Floats]:
    g, tau = np.asarray(g, np.float64), np.asarray(tau, np.float64)
    if g.ndim != 1 or g.shape != tau.shape or not len(g):
        raise UserError(f"project: estimates and caps must be [units] and equally many, got {g.shape} and {tau.shape}")
    if not np.isfinite(g).all() or np.isnan(tau).any():
        raise UserError("project: estimates and caps must be numbers, got missing or infinite ones")
    if (tau <= 0).any():
        worst = int(np.argmin(tau))
        raise UserError(f"project.caps: every cap must be above 0, got {tau[worst]:g} for unit {worst}")
    if tau.sum() < 1 - ROUNDING:
        raise UserError(
            f"project.caps: must add up to at least 1 (else the budget cannot be filled without "
            f"repeating text), got {tau.sum():.9g}; lower the budget or add units"
        )
    return g, tau


def _all_units(tau: Floats) -> Floats | None:
    """The one feasible point where the caps add up to 1 within rounding, else None."""
    return tau / tau.sum() if abs(float(tau.sum()) - 1) <= ROUNDING else None


def project_linear(g: Floats, tau: Floats, names: Sequence[str] | None = None) -> Floats:
    """Returns the weights w[D] that maximise <g, w>, the sum of estimate times weight.

    The best units get their caps, the marginal unit a part of its cap, all others 0.
    Of equal estimates the unit whose name sorts first comes first (without names: the one with the lower
    index), so the result depends neither on the order of units nor on a sort's whims. The marginal weight
    never exceeds its cap.
    """
    g, tau = _checked(g, tau)
    if (only := _all_units(tau)) is not None:
        return only
    order = np.lexsort((np.arange(len(g)) if names is None else np.asarray(names, dtype=str), -g))
    filled = np.minimum(np.cumsum(tau[order]), 1.0)
    w = np.zeros_like(g)
    w[order] = np.minimum(np.diff(filled, prepend=0.0), tau[order])
    return w


def project_l2(g: Floats, tau: Floats) -> Floats:
    """Returns the weights clip(g + c, 0, tau) that are nearest to the estimates g.

    c is found exactly, among the breakpoints of the sum of the weights.
    The sum is piecewise linear and rises in c, with slope the number of units strictly between their bounds.
    Equal estimates with equal caps get equal weights, so no order is involved.
    """
    g, tau = _checked(g, tau)
    if (only := _all_units(tau)) is not None:
        return only
    finite = np.isfinite(tau)
    points = np.concatenate([-g, (tau - g)[finite]])
    slopes = np.concatenate([np.ones(len(g)), -np.ones(int(finite.sum()))])
    order = np.argsort(points, kind="stable")
    points, slopes = points[order], np.cumsum(slopes[order])
    sums = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(points))])  # of clip(g + c), at every breakpoint
    left = int(np.flatnonzero((sums < 1.0) & (slopes > 0))[-1])
    offset = points[left] + (1.0 - sums[left]) / slopes[left]
    return _add_up(np.clip(g + offset, 0.0, tau), tau)


def _add_up(w: Floats, tau: Floats) -> Floats:
    """The weights with the rounding of the offset taken out of the units between their bounds."""
    free = (w > 0) & (w < tau)
    if free.any():
        w = np.where(free, w + (1.0 - w.sum()) / free.sum(), w)
    return np.clip(w, 0.0, tau)


def project(g: Floats, tau: Floats, settings: ProjectSettings, names: Sequence[str]) -> Floats:
    """Returns the weights by the method that the settings name; see `project_linear` and `project_l2`."""
    if len(names) != len(g):
        raise UserError(f"project: every estimate must have a name, got {len(g)} and {name_some(names)}")
    return project_linear(g, tau, names) if settings.method == "linear" else project_l2(g, tau)
