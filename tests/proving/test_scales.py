"""How many tokens a selection saves is read off curves of known shape."""

from __future__ import annotations

import numpy as np
import pytest

from siftlm.proving.scales import token_multiplier

TOKENS = np.geomspace(1e5, 1e7, 200)


def curve(scale: float) -> np.ndarray:
    """A power law of tokens that an arm walks `scale` times as fast."""
    return 1.0 + 30.0 * (TOKENS * scale) ** -0.25


@pytest.mark.parametrize("scale", [1.0, 1.5, 3.0, 0.5])
def test_a_curve_that_is_k_times_as_fast_saves_k_times_the_tokens(scale: float) -> None:
    factor, bound = token_multiplier(TOKENS, curve(1.0), curve(scale))
    assert factor == pytest.approx(scale, rel=0.002)
    assert bound == ""


def test_beyond_the_marks_there_is_a_bound() -> None:
    assert token_multiplier(TOKENS, curve(1.0), curve(500.0)) == (pytest.approx(100.0), "above")
    assert token_multiplier(TOKENS, curve(500.0), curve(1.0)) == (pytest.approx(0.01), "below")


def test_a_curve_that_does_not_fall_has_no_factor() -> None:
    assert token_multiplier(TOKENS, curve(1.0), np.full(200, 2.0)) == (None, "")
