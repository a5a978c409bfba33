"""Learns shares of domains from a graph of which domain teaches which, and from losses round by round.

Chen et al. 2023 (Skill-it, arXiv 2307.14430), windowed and begun from the prior anew in every round, as the code that
is published with Aioli has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.findings import name_some
from siftlm.mixtures.bench import LearnerPlan, Load, TrainingBench, TrainingPlan
from siftlm.mixtures.learning import LearnerSettings, learnt, replayed
from siftlm.mixtures.matrices import NamedMatrix, read_matrix
from siftlm.mixtures.online import Floats, MeanShares, checked_losses, tilted, uniform_shares
from siftlm.mixtures.protocol import MixOutcome, MixResult
from siftlm.mixtures.step_log import StepLog, read_log
from siftlm.paths import ReadPath

LONE_EDGE = 0.5  # of an edge of 1 between two domains; their own are 1


class SkillIt(MeanShares):
    """Learns shares by a graph A and the last losses: p = prior * exp(eta * A losses) / sum.

    The losses are the sums over the last rounds; before the first they are 1.

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


def graph_of_relations(relations: Floats, domains: Sequence[str], targets: Sequence[str]) -> Floats:
    """Returns a graph with .5 for every edge of 1 to another domain's target, as the published code has it.

    Args:
        relations: float64[domains, targets], as given.
        domains: Their names.
        targets: Names of the targets; a domain's own has its name.
    """
    others = np.array(domains)[:, None] != np.array(targets)[None]
    return np.where(others & (relations == 1), LONE_EDGE, relations)


def learnt_graph(before: Floats, after: Floats) -> Floats:
    """Returns the relative drop of every target's loss by training on one domain alone, float64[domains, targets].

    A target whose loss rises has no edge.

    Args:
        before: float64[targets], losses at the start.
        after: float64[domains, targets], losses after training on each domain.
    """
    return np.asarray(np.maximum(0.0, (before - after) / before))


class SkillItSettings(LearnerSettings):
    """Mixes domains by a graph of which domain teaches which, and by the losses of every round."""

    method: Literal["skill_it"] = "skill_it"
    paper: ClassVar = "Chen et al. 2023 (Skill-it, arXiv 2307.14430)"
    needs: ClassVar = "texts to train models on, or a graph and a log of held-out losses"
    cost: ClassVar = "trains small models"
    unchecked: ClassVar = "how the graph is learnt: as the relative drop of a loss by training on one domain alone"
    example: ClassVar[Mapping[str, Any]] = {"method": "skill_it", "graph": "graph.csv", "log": "losses.csv"}
    observes: ClassVar = "held_out"
    tables: ClassVar = frozenset({"graph", "log"})

    graph: ReadPath | None = Field(
        None, description="CSV or Parquet with a row a domain, its name in `domain`, and a column a target; by default "
        "every domain teaches itself alone, and with --train the graph is learnt.",
    )  # fmt: skip
    log: ReadPath | None = Field(
        None, description="CSV or Parquet with the columns step, domain (the target) and loss, a step a round."
    )
    eta: float = Field(0.2, gt=0, description="Step size of the shares.")
    window: int = Field(3, ge=1, description="Rounds whose losses count.")
    rounds: int = Field(6, ge=1, description="Rounds of a training.")
    relative: bool = Field(False, description="Whether losses are divided by those of the first round.")
    rate: float = Field(
        1e-3,
        gt=0,
        description="Constant learning rate of the models of single domains, for the graph.",
    )

    def reads(self) -> Sequence[str]:
        return [path for path in (self.graph, self.log) if path]

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> SkillIt:
        graph = np.array(arrays.get("graph", np.eye(domains).tolist()), np.float64)
        return SkillIt(graph, self.eta, self.window, self.relative)

    def starting_shares(self, prior: Floats, arrays: Mapping[str, Any]) -> Floats:
        return self.learner(len(prior), arrays).weights

    def marks(self, steps: int, domains: int) -> tuple[int, ...]:  # noqa: ARG002
        ends = {round(steps * number / self.rounds) for number in range(1, self.rounds)}
        return tuple(sorted(end for end in ends if 0 < end < steps))

    def loads(self, domains: int, steps: int) -> Sequence[Load]:
        single = () if self.graph else (Load(1, steps), Load(domains, max(1, steps // 2)))
        return [*single, Load(1, steps, marks=self.rounds)]

    def trained(self, bench: TrainingBench) -> MixOutcome:
        if self.graph:
            named = read_matrix(self.graph)
            graph = named.ordered("mix.graph", bench.domains, bench.targets)
            graph = graph_of_relations(graph, bench.domains, bench.targets)
        else:
            graph = self._learnt(bench)
        return learnt(self, bench, LearnerPlan(self.plan(), arrays={"graph": graph.tolist()}))

    def _learnt(self, bench: TrainingBench) -> Floats:
        """The graph by models that go on from one of the prior, each on one domain alone."""
        start = bench.train([TrainingPlan("start", bench.prior, bench.steps)])[0]
        plans = [
            TrainingPlan(f"only {name}", only, max(1, bench.steps // 2), start=start.key, rate=self.rate)
            for name, only in zip(bench.domains, np.eye(len(bench.domains)), strict=True)
        ]
        after = np.stack([model.nats for model in bench.train(plans)])
        return learnt_graph(start.nats, after)

    def result(self) -> MixResult:
        if self.log is None:
            raise self.not_trained("log", "a log of held-out losses")
        log = read_log(self.log, ("loss",))
        named = read_matrix(self.graph) if self.graph else _identity(log)
        if wrong := sorted(set(named.columns) ^ set(log.domains)):
            raise UserError(
                f"mix.graph: must have the targets of the log as columns, {name_some(log.domains)}, and no others, got "
                f"{wrong[0]!r} in one of them only"
            )
        graph = graph_of_relations(named.ordered("mix.graph", named.rows, log.domains), named.rows, log.domains)
        learner = SkillIt(graph, self.eta, self.window, self.relative)
        return replayed(learner, (log.losses(step)[0] for step in log), named.rows)


def _identity(log: StepLog) -> NamedMatrix:
    return NamedMatrix(log.domains, log.domains, np.eye(len(log.domains)))
