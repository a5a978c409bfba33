"""Raises the shares of domains in which a proxy model could still learn what a reference model has learnt.

Xie et al. 2023 (DoReMi, arXiv 2305.10429), with the update of the authors' trainer: the excess loss is clipped at 0 a
token, before the mean of its domain.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from siftlm.mixtures.online import Floats, MeanShares, checked_losses, smoothed, tilted, uniform_shares

Ints = npt.NDArray[np.int64]


class Doremi(MeanShares):
    """Learns shares w from the clipped excess losses of a step: w <- smoothed(w * exp(eta * excess) / sum).

    A domain that a step does not have keeps its last excess, 0 before the first. The proxy's losses are weighted by
    shares / draws, where its steps draw domains alike, as in the paper's algorithm 1.

    Args:
        domains: Number of domains.
        eta: Step size of the weights.
        smoothing: The part of the shares that all domains have alike.
    """

    kept: ClassVar = ("weights", "excess", "total", "updates")

    def __init__(self, domains: int, eta: float = 1.0, smoothing: float = 1e-3) -> None:
        super().__init__(domains)
        self._eta, self._smoothing = eta, smoothing
        self.weights = uniform_shares(domains)
        self.excess: Floats = np.zeros(domains)

    @property
    def shares(self) -> Floats | None:
        return None

    @property
    def loss_weights(self) -> Floats | None:
        return self.weights * len(self.weights)

    def observe(self, seen: Floats) -> Floats:
        """Returns the shares after a step, from the domains' clipped excess losses; NaN for a domain without any."""
        excess = checked_losses(seen, "doremi")
        self.excess = np.where(np.isnan(excess), self.excess, excess)
        self.weights = smoothed(tilted(self.weights, self._eta * self.excess), self._smoothing)
        return self.noted(self.weights)


def clipped_excess(proxy: Floats, reference: Floats, domains: Ints, count: int, tokens: Floats | None = None) -> Floats:
    """Returns the mean over tokens of max(proxy - reference, 0) of every domain, NaN for one without tokens.

    Args:
        proxy: float64[n], nats of the proxy model on every token.
        reference: float64[n], nats of the reference model on the same.
        domains: int64[n], the domain of each.
        count: Number of domains.
        tokens: float64[n], where rows are means over several tokens; one each by default.
    """
    weights = np.ones(len(proxy)) if tokens is None else tokens
    clipped = np.maximum(proxy - reference, 0.0)
    sums = np.bincount(domains, clipped * weights, count)
    sizes = np.bincount(domains, weights, count)
    return np.where(sizes > 0, sums / np.where(sizes > 0, sizes, 1), np.nan)
