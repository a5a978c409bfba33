"""Defines a law of mixtures, which is fitted to the losses of runs and predicts those of other mixtures."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class FittedLaw(Protocol):
    """Predicts the loss of mixtures."""

    def predict(self, shares: Floats) -> Floats:
        """Returns the predicted losses, float64[mixtures], of shares float64[mixtures, domains]."""
        ...


class Law(Protocol):
    """Fits the loss on one target as a function of the shares of the domains.

    Attributes:
        name: Of the law in a configuration.
        paper: Where it comes from.
        numbers: What is fitted for each domain, and beside; a fit needs more runs than that.
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    def fit(self, shares: Floats, losses: Floats) -> FittedLaw:
        """Returns the law that fits finite losses, float64[runs], of shares float64[runs, domains] best."""
        ...

    def parameters(self, domains: int) -> int:
        """Returns how many numbers are fitted for so many domains."""
        ...
