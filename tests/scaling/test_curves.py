"""Curves of loss against compute against the law that made them."""

from __future__ import annotations

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.scaling.curves import ComputeCurve, crossing, fit_compute_curve

COMPUTE = np.geomspace(1e9, 1e12, 12)


def test_the_worked_example() -> None:
    """A = 30, alpha = .25, E_inf = .1 at 1e9 to 1e12."""
    found = ComputeCurve(30.0, 0.25, 0.1).predict([1e9, 1e10, 1e11, 1e12])
    assert found == pytest.approx([0.268702, 0.194868, 0.153348, 0.13], abs=1e-6)


def test_a_curve_is_found_again() -> None:
    made = fit_compute_curve(COMPUTE, ComputeCurve(30.0, 0.25, 0.1).predict(COMPUTE))
    assert (made.scale, made.exponent, made.floor) == pytest.approx((30.0, 0.25, 0.1), rel=1e-3)


def test_curves_cross_where_they_do() -> None:
    """30 C^-.25 + .1 and 100 C^-.3 + .1 cross at (100 / 30)^20; with noise the interval has it."""
    curves = ComputeCurve(30.0, 0.25, 0.1), ComputeCurve(100.0, 0.3, 0.1)
    truth = (100 / 30) ** 20
    exact = crossing(*((COMPUTE, curve.predict(COMPUTE)) for curve in curves), resamples=10)
    assert exact.compute == pytest.approx(truth, rel=0.02)
    generator = np.random.default_rng(0)
    noisy = [curve.predict(COMPUTE) * np.exp(generator.normal(0, 1e-3, 12)) for curve in curves]
    found = crossing((COMPUTE, noisy[0]), (COMPUTE, noisy[1]), resamples=40)
    assert found.low <= truth <= found.high


def test_curves_that_do_not_cross_have_no_crossing() -> None:
    losses = ComputeCurve(30.0, 0.25, 0.1).predict(COMPUTE)
    found = crossing((COMPUTE, losses), (COMPUTE, losses + 0.2), resamples=10)
    assert np.isnan(found.compute)
    assert found.crossed == 0.0


def test_too_few_points_are_refused() -> None:
    with pytest.raises(UserError, match="must have 5 points"):
        fit_compute_curve([1e9, 1e9, 1e10, 1e11], [3.0, 2.9, 2.5, 2.4])
