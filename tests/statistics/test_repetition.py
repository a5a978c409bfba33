"""What repeated text is worth: the numbers of the paper's authors, plain arithmetic, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.statistics.repetition import DECAY_REPEATS, effective_copies

ALPHA = BETA = 0.3526596
A, B, E = math.exp(6.255414), math.exp(7.3049974), math.exp(0.6254804)
DECAY_PARAMETERS = 5.309743


def loss(parameters: float, tokens: float, unique: float) -> float:
    """The fitted loss of Muennighoff et al. (2023), with the effective tokens of `effective_copies`."""
    g = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    base = min(parameters, (unique * g) ** (BETA / ALPHA) * g)
    repeats = max(parameters / base - 1, 0)
    effective = base + base * DECAY_PARAMETERS * (1 - math.exp(-repeats / DECAY_PARAMETERS))
    seen = unique * float(effective_copies(np.array([tokens / unique]))[0])
    return E + A / effective**ALPHA + B / seen**BETA


@pytest.mark.parametrize(
    ("parameters", "tokens", "expected"),
    [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)],
)
def test_effective_tokens_give_the_losses_that_the_authors_publish(
    parameters: float, tokens: float, expected: float
) -> None:
    """Their two examples of 25e9 unique tokens, from the README of huggingface/datablations."""
    assert loss(parameters, tokens, 25e9) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_repeats_are_worth_less_and_less_and_less_than_one_copy_is_new(copies: list[float]) -> None:
    """Against math.exp, one by one; never more than the copies, nor than 1 + R*."""
    given_, worth = np.array(copies), effective_copies(np.array(copies))
    plain = [min(c, 1) + DECAY_REPEATS * (1 - math.exp(-max(c - 1, 0) / DECAY_REPEATS)) for c in copies]
    np.testing.assert_allclose(worth, plain, rtol=1e-12)
    assert (worth <= given_ * (1 + 1e-12)).all()
    assert (worth <= 1 + DECAY_REPEATS).all()


def test_four_epochs_are_worth_nearly_four() -> None:
    assert effective_copies(np.array([0.0, 0.3, 1.0, 4.0])) == pytest.approx([0, 0.3, 1, 3.7265], abs=1e-3)
