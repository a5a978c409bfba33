"""Projections against the published examples, scipy's solvers and the conditions of an optimum."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from siftlm.errors import UserError
from siftlm.mixing.projection import budget_of, caps, project, project_l2, project_linear
from siftlm.mixing.settings import ProjectSettings

G = np.array([-0.3, 4, 1, 0.9, 0])
TAU = np.array([0.2, 0.5, 0.9, 0.4, 1])


def test_the_published_examples_come_out() -> None:
    """methods 1.2: the tests of perplexity-correlations."""
    np.testing.assert_allclose(project_linear(G, TAU), [0, 0.5, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_allclose(project_l2(G, TAU), [0, 0.5, 0.3, 0.2, 0], atol=1e-12)


problems = st.integers(1, 12).flatmap(
    lambda d: st.tuples(
        hnp.arrays(np.float64, d, elements=st.integers(-30, 30).map(lambda v: v / 10)),
        hnp.arrays(np.float64, d, elements=st.integers(1, 20).map(lambda v: v / 10)),
    )
)


@settings(max_examples=100, deadline=None)
@given(problems)
def test_linear_reaches_linprogs_optimum(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """Same objective, and feasible: ties leave the weights themselves open."""
    g, tau = problem
    assume(tau.sum() >= 1)
    w = project_linear(g, tau)
    solved = scipy.optimize.linprog(-g, A_eq=np.ones((1, len(g))), b_eq=[1], bounds=[(0, t) for t in tau])
    assert abs(w.sum() - 1) < 1e-9
    assert (w >= 0).all()
    assert (w <= tau).all()
    assert abs(w @ g + solved.fun) < 1e-7


@settings(max_examples=100, deadline=None)
@given(problems)
def test_l2_meets_the_conditions_of_the_nearest_point(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """Karush-Kuhn-Tucker: one offset c for all units strictly inside their bounds, and the right side at them."""
    g, tau = problem
    assume(tau.sum() >= 1)
    w = project_l2(g, tau)
    assert abs(w.sum() - 1) < 1e-9
    assert (w >= 0).all()
    assert (w <= tau).all()
    offsets, slack = w - g, 1e-9
    upper, lower = w >= tau - 1e-12, w <= 1e-12
    # c <= -g_j where w_j = 0, c >= tau_j - g_j where w_j = tau_j, c = w_j - g_j in between
    highest_low = np.max(offsets[~lower], initial=-np.inf)
    lowest_high = np.min(offsets[~upper], initial=np.inf)
    assert highest_low <= lowest_high + slack


def test_l2_agrees_with_a_quadratic_solver() -> None:
    """SLSQP on seeded problems."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        g, tau = rng.normal(size=8), rng.uniform(0.1, 0.6, size=8)
        solved = scipy.optimize.minimize(
            lambda w, g=g: ((w - g) ** 2).sum(),
            tau / tau.sum(),
            jac=lambda w, g=g: 2 * (w - g),
            bounds=[(0, t) for t in tau],
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        np.testing.assert_allclose(project_l2(g, tau), solved.x, atol=1e-6)


def test_equal_estimates_go_by_name_whatever_the_order() -> None:
    """The tie rule of the linear projection is the units' names."""
    g, tau, names = np.zeros(4), np.full(4, 0.4), ["d", "b", "a", "c"]
    w = dict(zip(names, project_linear(g, tau, names), strict=True))
    assert w == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2, "d": 0.0})
    turned = dict(zip(names[::-1], project_linear(g, tau, names[::-1]), strict=True))
    assert turned == w


@pytest.mark.parametrize("solve", [project_linear, project_l2])
def test_caps_that_add_up_to_one_take_everything(solve: object) -> None:
    """Ten times 0.1 is a little less than 1 in floating point, and still feasible."""
    tau = np.full(10, 0.1)
    assert tau.cumsum()[-1] != 1
    np.testing.assert_allclose(solve(np.arange(10.0), tau), tau, atol=1e-15)  # type: ignore[operator]


@pytest.mark.parametrize("solve", [project_linear, project_l2])
def test_a_cap_of_everything_gives_the_best_unit_all(solve: object) -> None:
    """One unit with room for the budget; infinite caps are allowed."""
    np.testing.assert_allclose(solve(np.array([0.0, 9.0]), np.array([1.0, np.inf])), [0, 1])  # type: ignore[operator]


@pytest.mark.parametrize("solve", [project_linear, project_l2])
@pytest.mark.parametrize(
    ("g", "tau", "message"),
    [
        ([1.0, 2.0], [0.3, 0.3], "add up to at least 1"),
        ([1.0, 2.0], [0.0, 2.0], "every cap must be above 0, got 0 for unit 0"),
        ([1.0, 2.0], [-1.0, 2.0], "every cap must be above 0"),
        ([np.nan, 2.0], [1.0, 2.0], "must be numbers"),
        ([1.0], [1.0, 2.0], "equally many"),
        ([], [], "equally many"),
    ],
)
def test_infeasible_and_wrong_caps_are_told_apart(
    solve: object, g: list[float], tau: list[float], message: str
) -> None:
    """Each with its own error."""
    with pytest.raises(UserError, match=message):
        solve(np.array(g), np.array(tau))  # type: ignore[operator]


def test_weights_add_up_over_many_units() -> None:
    """100,000 units in float64: no drift, no cap exceeded."""
    rng = np.random.default_rng(0)
    g, tau = rng.normal(size=100_000), rng.uniform(1e-6, 1e-3, size=100_000)
    for w in (project_linear(g, tau), project_l2(g, tau)):
        assert abs(w.sum() - 1) < 1e-12
        assert (w <= tau).all()


def test_caps_are_tokens_over_budget() -> None:
    """tau = n / T; a share of everything is a budget too."""
    tokens = np.array([100, 300, 600])
    settings_share = ProjectSettings(keep_share=0.1)
    np.testing.assert_allclose(caps(tokens, budget_of(settings_share, tokens)), [1.0, 3.0, 6.0])
    assert budget_of(ProjectSettings(budget_tokens=7), tokens) == 7
    w = project(np.array([1.0, 2.0, 3.0]), caps(tokens, 800), ProjectSettings(budget_tokens=800), ["a", "b", "c"])
    np.testing.assert_allclose(w, [0, 0.25, 0.75])


@pytest.mark.parametrize(
    ("tokens", "budget", "message"),
    [([1, 2], 4, "at most the tokens at hand"), ([0, 9], 4, "every unit must have tokens"), ([1], 0, "above 0")],
)
def test_a_budget_that_cannot_be_filled_is_an_error(tokens: list[int], budget: int, message: str) -> None:
    """No text is drawn twice."""
    with pytest.raises(UserError, match=message):
        caps(np.array(tokens), budget)


@pytest.mark.parametrize("values", [{}, {"budget_tokens": 5, "keep_share": 0.1}])
def test_exactly_one_budget_must_be_set(values: dict[str, float]) -> None:
    """Neither none nor both."""
    with pytest.raises(ValueError, match="exactly one of budget_tokens and keep_share"):
        ProjectSettings.model_validate(values)
