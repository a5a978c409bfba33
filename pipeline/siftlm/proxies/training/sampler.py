"""Draws the windows of every training step from groups, by shares that may change from step to step.

A window of a group is not drawn again before all others of the group were. What a step draws depends on the seed, the
step, the shares and what was drawn before, and on nothing else, so that a training goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError
from siftlm.proxies.training.tokens import Ints
from siftlm.statistics.hashing import keyed, uniform

Floats = npt.NDArray[np.float64]


class Sampler:
    """Draws (groups, numbers) of windows, and counts what it has drawn of every group.

    With `max_epochs`, a group gives at most so many times its windows, rounded down; the others then have its share in
    proportion to theirs.
    """

    def __init__(
        self, groups: Sequence[str], counts: Ints, seed: int, shares: Floats, max_epochs: float | None = None
    ) -> None:
        self._groups, self._counts, self._seed = tuple(groups), counts, seed
        unlimited = np.full(len(counts), np.iinfo(np.int64).max)
        self._limits = unlimited if max_epochs is None else np.floor(counts * max_epochs).astype(np.int64)
        self._order = lru_cache(maxsize=2 * len(groups))(self._order_of)
        self.drawn = np.zeros(len(counts), np.int64)
        self.shares = shares
        self.turn_to(shares)

    def turn_to(self, shares: Floats) -> None:
        """Draws by other shares from now on; they may be in any unit.

        Raises:
            UserError: a share is negative or no number, none is positive, or a group with a share has no window.
        """
        shares = np.asarray(shares, np.float64)
        if shares.shape != self._counts.shape or not (np.isfinite(shares) & (shares >= 0)).all() or not shares.any():
            raise UserError(
                f"training: shares must be numbers of 0 or more, one for each of {len(self._counts)} groups and not "
                f"all 0, got {shares.tolist()}"
            )
        for group in np.flatnonzero((shares > 0) & (self._counts == 0)):
            raise UserError(
                f"training: every group must have texts for at least one window, got {self._groups[group]!r} with less"
            )
        self.shares = shares / shares.sum()

    @property
    def epochs(self) -> Floats:
        """Returns how many times the windows of each group were drawn; 0 for a group without any."""
        epochs: Floats = self.drawn / np.maximum(1, self._counts)
        return epochs

    def require(self, windows: int) -> None:
        """Raises UserError where the groups that have a share now give fewer windows than a training takes."""
        available = sum(self._limits[self.shares > 0].tolist())
        if available < windows:
            raise UserError(
                f"training: must have {windows:,} windows, got {available:,} that max_epochs lets through; train for "
                "fewer steps, give more texts, or raise max_epochs"
            )

    def draw(self, step: int, windows: int) -> tuple[Ints, Ints]:
        """Returns the groups and the numbers of a step's windows, int64 [windows] each, by group.

        Raises:
            UserError: the groups that have a share are used up.
        """
        groups = np.repeat(np.arange(len(self._counts)), self._parts(step, windows))
        places = self.drawn[groups] + _within(groups)
        passes = places // self._counts[groups]
        orders = [self._order(group, number) for group, number in zip(groups.tolist(), passes.tolist(), strict=True)]
        chosen = [order[place % len(order)] for order, place in zip(orders, places, strict=True)]
        self.drawn += np.bincount(groups, minlength=len(self._counts))
        return groups, np.array(chosen, np.int64)

    def _parts(self, step: int, windows: int) -> Ints:
        """How many windows each group gives, systematically drawn: share * windows, rounded up or down at random."""
        parts = np.zeros(len(self._counts), np.int64)
        for turn in range(len(self._counts)):
            missing = windows - int(parts.sum())
            open_shares = np.where(self.drawn + parts < self._limits, self.shares, 0.0)
            if not missing or not open_shares.any():
                break
            ends = np.cumsum(open_shares) / open_shares.sum()
            start = uniform(keyed(np.array([step], np.uint64), self._seed, f"groups {turn}"))[0]
            points = (start + np.arange(missing)) / missing
            drawn = np.bincount(np.searchsorted(ends, points, "right"), minlength=len(parts))[: len(parts)]
            parts = np.minimum(parts + drawn, self._limits - self.drawn)
        if int(parts.sum()) < windows:
            raise UserError(
                f"training: must have {windows} windows for step {step + 1}, got {int(parts.sum())} that max_epochs "
                "lets through; train for fewer steps, give more texts, or raise max_epochs"
            )
        return parts

    def _order_of(self, group: int, epoch: int) -> Ints:
        """The windows of a group in the order of one pass."""
        numbers = np.arange(self._counts[group], dtype=np.uint64)
        return np.argsort(keyed(numbers, self._seed, f"pass {epoch} of {self._groups[group]}"), kind="stable")


def _within(groups: Ints) -> Ints:
    """The place of each element among its equals, which are next to each other."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def initial_shares(groups: Sequence[str], counts: Ints, shares: Mapping[str, float] | None) -> Floats:
    """Returns the share of every group, float64 [groups]: as given by name, else by its windows.

    A group that is not among those given has none.

    Raises:
        UserError: a name is no group's, or no group has a window.
    """
    if not counts.any():
        raise UserError("training: must have texts for at least one window, got none")
    if shares is None:
        return np.asarray(counts / counts.sum(), np.float64)
    if unknown := set(shares) - set(groups):
        raise UserError(f"training: shares must name groups, got {min(unknown)!r} of {sorted(groups)[:10]}")
    return np.array([shares.get(group, 0.0) for group in groups], np.float64)
