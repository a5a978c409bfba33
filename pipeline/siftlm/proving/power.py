"""Tells before anything is trained which differences a design can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

POWER = 0.8


def smallest_difference(
    noise: float, replicates: int, null_replicates: int, arms: int, *, pairs: int | None = None, level: float = 0.05
) -> float:
    """Returns the difference in bits per byte that a design calls better or worse 4 times in 5.

    It is (t(1 - level / 2 pairs) + t(0.8)) * noise * sqrt(1 / replicates + 1 / null_replicates) with the degrees of
    freedom of a variance that all arms and nulls share. The noise of the held-out documents is not in it.

    Args:
        noise: Standard deviation between replicates of one arm, in bits per byte.
        replicates: Trainings of every arm, 2 or more.
        null_replicates: Trainings of every null, 2 or more.
        arms: Number of arms with their own null each.
        pairs: Number of comparisons that the intervals are corrected for; `arms` by default.
        level: The chance that any interval misses its true difference.
    """
    freedom = arms * (replicates - 1 + null_replicates - 1)
    quantiles = stats.t.ppf([1 - level / 2 / (pairs or arms), POWER], freedom)
    return float(quantiles.sum() * noise * np.sqrt(1 / replicates + 1 / null_replicates))


@dataclass(frozen=True)
class Power:
    """Says what a design costs and which differences it can see, before and after its noise is known.

    Attributes:
        arms: Number of arms, each with a null of its own.
        replicates: Trainings of every arm and of its null.
        null_replicates: Trainings of the random draw.
        level: The chance that any verdict is wrong where no arm differs.
        tokens: Tokens of a training.
    """

    arms: int
    replicates: int
    null_replicates: int
    level: float
    tokens: int

    @property
    def models(self) -> int:
        """Returns how many models are trained."""
        return 2 * self.arms * self.replicates + self.null_replicates

    def smallest_difference(self, noise: float) -> float:
        """Returns the difference from a matched null that is seen 4 times in 5, in bits per byte."""
        return smallest_difference(noise, self.replicates, self.replicates, self.arms, level=self.level)

    def lines_before(self, noise: float | None) -> list[str]:
        """Returns sentences for a user before anything is trained; `noise` is an earlier proof's, if there was one."""
        cost = f"{self.models:,} models will be trained on {self.tokens:,} tokens each"
        per_noise = self.smallest_difference(1.0)
        seen = f"a difference is seen 4 times in 5 if it is {per_noise:.2f} times the noise of a training"
        if noise is None:
            return [cost, f"{seen}, which the random draws show first"]
        return [cost, f"{seen}: {self.smallest_difference(noise):.4f} bits per byte where the noise is {noise:.4f}"]

    def line_after(self, noise: float) -> str:
        """Returns a sentence with the noise that the random draws have shown."""
        return (
            f"random draws differ by {noise:.4f} bits per byte (standard deviation of {self.null_replicates}): "
            f"differences of {self.smallest_difference(noise):.4f} are seen 4 times in 5, smaller ones are often ties"
        )
