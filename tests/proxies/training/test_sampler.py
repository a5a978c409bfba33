"""The sampler: every window once a pass, shares as asked for, caps kept, and all of it from keys."""

from __future__ import annotations

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.proxies.training.sampler import Sampler, initial_shares

COUNTS = np.array([7, 40, 3])
GROUPS = ("a", "b", "c")


def sampler(shares: list[float], seed: int = 1, max_epochs: float | None = None) -> Sampler:
    return Sampler(GROUPS, COUNTS, seed, np.array(shares), max_epochs)


def test_a_pass_has_every_window_once_and_each_pass_its_own_order() -> None:
    """In every group, whatever the others do."""
    made = sampler([0.5, 0.3, 0.2])
    drawn: list[list[int]] = [[], [], []]
    for step in range(60):
        for group, number in zip(*made.draw(step, 5), strict=True):
            drawn[group].append(int(number))
    for numbers, count in zip(drawn, COUNTS, strict=True):
        passes = [numbers[start : start + count] for start in range(0, len(numbers) - count + 1, count)]
        assert all(sorted(one) == list(range(count)) for one in passes)
        assert len(passes) < 2 or len({tuple(one) for one in passes}) > 1
    assert [len(numbers) for numbers in drawn] == made.drawn.tolist()


def test_shares_are_kept_to_a_window_a_step_and_exactly_on_average() -> None:
    """Systematic draws: a step's count is the share's, rounded up or down; the mean is within 4 sd of a binomial's."""
    made = sampler([0.55, 0.2, 0.25])
    steps = np.array([np.bincount(made.draw(step, 8)[0], minlength=3) for step in range(2000)])
    assert (np.abs(steps - 8 * made.shares) < 1).all()
    assert np.allclose(steps.mean(0) / 8, made.shares, atol=4 * 0.5 / np.sqrt(2000 * 8))


def test_shares_change_at_any_step_and_nothing_else_does() -> None:
    """A group that had no share goes on where it was; draws depend on the step, the shares and what was drawn."""
    made, again = sampler([1, 0, 0]), sampler([0, 0, 5])
    made.draw(0, 4)
    made.turn_to(np.array([0.0, 0.0, 2.0]))
    assert made.drawn.tolist() == [4, 0, 0]
    assert [part.tolist() for part in made.draw(1, 4)] == [part.tolist() for part in again.draw(1, 4)]


def test_another_seed_is_another_order() -> None:
    """The same seed is the same."""
    orders = [sampler([0, 1, 0], seed).draw(0, 40)[1].tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_a_cap_gives_the_rest_to_the_others_in_proportion() -> None:
    """To the window; when nothing is left, a line says what to do."""
    made = sampler([0.8, 0.1, 0.1], max_epochs=2.0)
    for step in range(10):
        made.draw(step, 10)
    assert made.drawn.tolist() == [14, 80, 6]
    assert made.epochs.tolist() == [2.0, 2.0, 2.0]
    with pytest.raises(UserError, match="must have 1 windows for step 11, got 0 that max_epochs lets through"):
        made.draw(10, 1)


@pytest.mark.parametrize("shares", [[0, 0, 0], [1, -1, 1], [1, np.nan, 1], [1, 1]])
def test_shares_that_are_none_are_refused(shares: list[float]) -> None:
    """With the values."""
    with pytest.raises(UserError, match="training: shares must be numbers of 0 or more"):
        sampler([1, 1, 1]).turn_to(np.array(shares))


def test_a_group_without_a_window_cannot_have_a_share() -> None:
    """It is named; without a share it is let through."""
    counts = np.array([0, 5])
    assert initial_shares(("x", "y"), counts, None).tolist() == [0, 1]
    with pytest.raises(UserError, match="every group must have texts for at least one window, got 'x' with less"):
        Sampler(("x", "y"), counts, 0, np.array([0.5, 0.5]))
    with pytest.raises(UserError, match="shares must name groups, got 'z'"):
        initial_shares(("x", "y"), counts, {"z": 1.0})
    with pytest.raises(UserError, match="at least one window, got none"):
        initial_shares(("x", "y"), np.array([0, 0]), None)
