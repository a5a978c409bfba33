"""Learns shares of domains from a graph of which domain teaches which, and from losses round by round.

Chen et al. 2023 (Skill-it, arXiv 2307.14430), windowed and begun from the prior anew in every round, as the code that
is published with Aioli has it.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from siftlm.mixtures.online import Floats, MeanShares, checked_losses, tilted, uniform_shares

LONE_EDGE = 0.5  # of an edge of 1 between two domains; their own are 1


class SkillIt(MeanShares):
    """Learns shares p = prior * exp(eta * A sum of the last losses) / sum; at first prior * exp(eta * A 1).

    Args:
        graph: A float64[domains, targets], how much training on a domain teaches of a target.
        eta: Step size.
        window: Rounds whose losses count.
        relative: Whether losses are divided by those of the first round.
        prior: Shares of the domains; by default equal ones.
    """

    kept: ClassVar = ("weights", "losses", "first", "total", "updates")

    def __init__(
        self,
        graph: Floats,
        eta: float = 0.2,
        window: int = 3,
        relative: bool = False,
        prior: Floats | None = None,
    ) -> None:
        super().__init__(len(graph))
        self._graph, self._eta, self._window, self._relative = graph, eta, window, relative
        self._prior = uniform_shares(len(graph)) if prior is None else prior
        self.losses: Floats = np.zeros((0, graph.shape[1]))
        self.first: Floats = np.ones(graph.shape[1])
        self.weights = self.noted(tilted(self._prior, eta * graph.sum(axis=1)))

    @property
    def shares(self) -> Floats | None:
        return self.weights

    @property
    def loss_weights(self) -> Floats | None:
        return None

    def observe(self, seen: Floats) -> Floats:
        """Returns the shares after a round, from the losses on all targets; NaN where there is none, which counts 0."""
        losses = np.nan_to_num(checked_losses(seen, "skill_it"))
        if self._relative:
            if not len(self.losses):
                self.first = np.where(losses > 0, losses, 1.0)
            losses = losses / self.first
        self.losses = np.concatenate([self.losses.reshape(-1, len(losses)), losses[None]])[-self._window :]
        self.weights = tilted(self._prior, self._eta * (self._graph @ self.losses.sum(axis=0)))
        return self.noted(self.weights)


def graph_of_relations(relations: Floats) -> Floats:
    """Returns a graph of zeros and ones with .5 for an edge between two domains, as the published code has it."""
    lone = (relations == 1) & ~np.eye(*relations.shape, dtype=bool)
    return np.where(lone, LONE_EDGE, relations)


def learnt_graph(before: Floats, after: Floats) -> Floats:
    """Returns the relative drop of every target's loss by training on one domain alone, float64[domains, targets].

    A target whose loss rises has no edge.

    Args:
        before: float64[targets], losses at the start.
        after: float64[domains, targets], losses after training on each domain.
    """
    return np.asarray(np.maximum(0.0, (before - after) / before))
