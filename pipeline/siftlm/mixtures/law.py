"""Defines a law of mixtures, which is fitted to the losses of runs and predicts those of other mixtures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class FittedLaw(Protocol):
    """Predicts the losses of mixtures on one or more targets."""

    def predict(self, shares: Floats) -> Floats:
        """Returns the predicted losses, float64[mixtures, targets], of shares float64[mixtures, domains]."""
        ...


class Law(Protocol):
    """Fits the losses on targets as functions of the shares of the domains.

    Attributes:
        name: Of the law in a configuration.
        paper: Where it comes from.
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    def tuned(self, shares: Floats, losses: Floats) -> Self:
        """Returns the law with what is chosen once from all runs, and held fixed in folds and resamples."""
        ...

    def fit(self, shares: Floats, losses: Floats) -> FittedLaw:
        """Returns the law that fits losses best, float64[runs, targets], of shares float64[runs, domains].

        A NaN is a loss that a run does not have; every target has one loss at least.
        """
        ...

    def stack(self, fits: Sequence[FittedLaw]) -> FittedLaw:
        """Returns one law whose targets are those of all fits, in their order."""
        ...

    def parameters(self, domains: int) -> int:
        """Returns how many numbers are fitted for so many domains, to one target."""
        ...


class Stacked:
    """Predicts the targets of several laws, each by its own."""

    def __init__(self, fits: Sequence[FittedLaw]) -> None:
        self.fits = fits

    def predict(self, shares: Floats) -> Floats:
        return np.concatenate([fit.predict(shares) for fit in self.fits], axis=1)


def by_pattern(losses: Floats) -> Iterator[tuple[Bools, Bools]]:
    """Yields (runs, targets) as masks: the targets that the same runs have a loss on, and these runs."""
    known = np.isfinite(losses)
    patterns, which = np.unique(known, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        yield pattern, which.reshape(-1) == number
