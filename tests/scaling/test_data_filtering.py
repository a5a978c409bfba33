"""Predicted errors of pools against loops over the published formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.scaling.data_filtering import Curve, Objective, Pool, fit_pools, predicted_error


def loop(b: list[float], tau: list[float], size: float, seen: float, a: float, d: float, multiplied: bool) -> float:
    """The published loop (objective.py), epoch by epoch over plain numbers, of pools of one size."""
    union, pools, epochs = size * len(b), len(b), int(seen // (size * len(b)))

    def decayed(k: int) -> float:
        return sum(x * 0.5 ** (k / (pools * t)) for x, t in zip(b, tau, strict=True)) / pools

    first, product = (a * min(union, seen) / 1e5) ** decayed(0), 1.0
    for k in range(1, epochs + 1):
        product *= (min(union * (k + 1), seen) / (union * k)) ** decayed(k)
    return (d + first) * product if multiplied else d + first * product


@pytest.mark.parametrize("multiplied", [False, True])
@pytest.mark.parametrize("seen", [5e6, 12.8e6, 32e6, 128e6, 640e6])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_error_equals_the_loop(count: int, seen: float, multiplied: bool) -> None:
    b, tau = [-0.3, -0.2, -0.15, -0.05][:count], [1.5, 3.0, 5.0, 8.0][:count]
    pools = [Pool(str(n), 12.8e6, x, t) for n, (x, t) in enumerate(zip(b, tau, strict=True))]
    truth = loop(b, tau, 12.8e6, seen, 0.02, 0.1, multiplied)
    assert predicted_error(pools, seen, 0.02, multiplied=multiplied) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("seen", [5e6, 32e6, 640e6])
def test_repeats_may_count_as_less_data(seen: float) -> None:
    """Of one pool: d + (sum over epochs of what they add times .5^(k / tau))^b."""
    size, tau, worth = 12.8e6, 3.0, 0.0
    for k in range(int(seen // size) + 1):
        worth += 0.02 * (min(size * (k + 1), seen) - size * k) / 1e5 * 0.5 ** (k / tau)
    pool = Pool("x", size, -0.2, tau)
    assert predicted_error([pool], seen, 0.02, objective="data") == pytest.approx(0.1 + worth**-0.2, abs=1e-9) or (
        seen > size and predicted_error([pool], seen, 0.02, objective="data") < 0.1 + (0.02 * size / 1e5) ** -0.2
    )


def test_text_that_is_read_once_is_a_power_law() -> None:
    """The derivative by log n is b: dy / dn = b y / n."""
    pool = Pool("x", 1e9, -0.17, 3.0)
    ends = [predicted_error([pool], n, 0.02, floor=0.0) for n in (1e6, 1e7)]
    assert math.log(ends[1] / ends[0]) / math.log(10) == pytest.approx(-0.17)


def test_coefficients_are_found_again() -> None:
    true, seen = Pool("x", 1e7, -0.17, 3.3), np.array([2e6, 5e6, 1e7, 2e7, 4e7, 8e7, 1.6e8])
    curve = Curve("x", 1e7, seen, np.array([predicted_error([true], n, 0.03) for n in seen.tolist()]))
    (made,), scale = fit_pools([curve], scale=0.03)
    assert (made.utility, made.halving, scale) == (pytest.approx(-0.17, abs=1e-5), pytest.approx(3.3, abs=1e-3), 0.03)
    (free,), _ = fit_pools([curve])
    assert predicted_error([free], 3e8, fit_pools([curve])[1]) == pytest.approx(
        predicted_error([true], 3e8, 0.03), abs=2e-3
    )


@pytest.mark.parametrize(("objective", "multiplied"), [("data", False), ("utility", True)])
def test_the_form_that_predicts_is_the_one_that_is_fitted(objective: Objective, multiplied: bool) -> None:
    true, seen = Pool("x", 1e7, -0.17, 3.3), np.array([2e6, 5e6, 1e7, 2e7, 4e7, 8e7, 1.6e8])
    errors = [predicted_error([true], n, 0.03, 0.1, objective, multiplied) for n in seen.tolist()]
    (made,), _ = fit_pools([Curve("x", 1e7, seen, np.array(errors))], 0.1, 0.03, objective, multiplied)
    assert (made.utility, made.halving) == (pytest.approx(-0.17, abs=1e-5), pytest.approx(3.3, abs=1e-3))


def test_curves_that_say_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="two errors"):
        fit_pools([Curve("x", 1e7, np.array([1e6]), np.array([0.5]))])
    with pytest.raises(UserError, match="above the floor"):
        fit_pools([Curve("x", 1e7, np.array([1e6, 2e6]), np.array([0.5, 0.05]))])
