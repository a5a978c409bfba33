"""Learns during a training how much every domain lowers every loss, and draws more of those that lower them most.

Chen et al. 2024 (Aioli, arXiv 2411.05735), as the authors' code has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.mixtures.bench import Load, TrainingBench
from siftlm.mixtures.learning import LearnerSettings, equal
from siftlm.mixtures.matrices import read_matrix
from siftlm.mixtures.online import Floats, MeanShares, checked_losses, tilted, uniform_shares
from siftlm.mixtures.protocol import MixOutcome, MixResult
from siftlm.paths import ReadPath

SAME = 1e-9


class Aioli(MeanShares):
    """Learns shares from losses, first those before a round, then those after every short training on a mixture.

    A round has `sweeps` passes over the domains, each in a random order, and trains on a mixture that is mostly one
    domain at a time. The drops give A by `law_matrix`, and shares become p * exp(eta * sum_i A_ij) / sum, by the mean
    of A over rounds where `average` is not 0.

    Args:
        domains: Number of domains.
        eta: Step size.
        sweeps: Passes over the domains in a round.
        focus: Share of the one domain in a short training; the others have the rest alike.
        average: What the moving average of A keeps of earlier rounds; shares then start from equal ones every time.
        diagonal: Whether domains are taken to lower their own losses only; the targets are the domains then.
        seed: Of the orders.
    """

    kept: ClassVar = ("weights", "turn", "round", "previous", "drops", "matrix", "total", "updates")

    def __init__(
        self,
        domains: int,
        eta: float = 0.2,
        sweeps: int = 4,
        focus: float = 0.625,
        average: float = 0.0,
        diagonal: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(domains)
        self._eta, self._sweeps, self._focus = eta, sweeps, focus
        self._average, self._diagonal, self._seed = average, diagonal, seed
        self.weights = uniform_shares(domains)
        self.turn: Floats = np.zeros(())
        self.round: Floats = np.zeros(())
        self.previous: Floats = np.zeros(0)
        self.drops: Floats = np.zeros((0, domains))
        self.matrix: Floats = np.zeros((0, domains))

    @property
    def shares(self) -> Floats | None:
        """Returns the mixture of the next short training within a round, else the shares that were learnt."""
        turn = int(self.turn)
        return focused(len(self.weights), self._focus)[self._order()[turn - 1]] if turn else self.weights

    @property
    def turns(self) -> int:
        """Returns the short trainings of a round."""
        return self._sweeps * len(self.weights)

    def observe(self, seen: Floats) -> Floats:
        """Returns the shares after the losses on all targets were measured; they change at the end of a round."""
        losses, turn = checked_losses(seen, "aioli"), int(self.turn)
        if not turn:
            self.drops = np.zeros((len(losses), len(self.weights)))
        else:
            self.drops = self.drops.reshape(len(losses), -1)
            self.drops[:, self._order()[turn - 1]] += np.nan_to_num(self.previous - losses)
        self.previous = losses
        self.turn = np.array((turn + 1) % (self.turns + 1), np.float64)
        if turn == self.turns:
            self._settle()
        return self.weights

    def _settle(self) -> None:
        """Ends a round with new shares."""
        matrix = normalised(law_matrix(self.drops / self._sweeps, self._focus, self._diagonal))
        start = self.weights
        if self._average:
            old = self.matrix.reshape(matrix.shape) if self.round else matrix
            matrix, start = (1 - self._average) * matrix + self._average * old, uniform_shares(len(start))
        self.matrix, self.round = matrix, self.round + 1
        self.weights = self.noted(tilted(start, self._eta * matrix.sum(axis=0)))

    def _order(self) -> list[int]:
        """The domains of all turns of this round."""
        generator = np.random.default_rng([self._seed, int(self.round)])
        return [int(n) for _ in range(self._sweeps) for n in generator.permutation(len(self.weights))]


def focused(domains: int, focus: float) -> Floats:
    """Returns the mixtures of short trainings, float64[domains, domains]: `focus` of each, the others alike."""
    rest = (1 - focus) / max(1, domains - 1)
    made = np.full((domains, domains), rest)
    np.fill_diagonal(made, focus if domains > 1 else 1.0)
    return made


def law_matrix(drops: Floats, focus: float, diagonal: bool = False) -> Floats:
    """Returns A, by which a mixture p lowers the losses by A p, float64[targets, domains].

    Args:
        drops: float64[targets, domains], the losses' drops by training on `focused` mixtures.
        focus: Their share of one domain.
        diagonal: Whether only A_ii = drop_ii / focus are not 0.
    """
    if diagonal:
        return np.diag(np.diag(drops) / focus)
    return np.asarray(np.linalg.solve(focused(drops.shape[1], focus), drops.T).T)


def normalised(matrix: Floats) -> Floats:
    """Returns A less its least entry where that is negative, divided by its sum where that is not 0."""
    lifted = matrix - min(0.0, float(matrix.min(initial=0.0)))
    return lifted / lifted.sum() if lifted.sum() else lifted


class AioliSettings(LearnerSettings):
    """Mixes domains by a law of how each lowers every loss, learnt anew in every round of a training."""

    method: Literal["aioli"] = "aioli"
    paper: ClassVar = "Chen et al. 2024 (Aioli, arXiv 2411.05735)"
    needs: ClassVar = "texts to train a model on, or a table of measured drops of losses"
    cost: ClassVar = "trains small models"
    example: ClassVar[Mapping[str, Any]] = {"method": "aioli", "drops": "drops.csv"}
    observes: ClassVar = "held_out"
    tables: ClassVar = frozenset({"drops"})

    drops: ReadPath | None = Field(
        None, description="CSV or Parquet with a row a target, its name in `target`, and a column a domain: by how "
        "much a short training with `focus` on the domain lowered the loss.",
    )  # fmt: skip
    eta: float = Field(0.2, gt=0, description="Step size of the shares.")
    sweeps: int = Field(4, ge=1, description="Passes over the domains in a round.")
    turn_steps: int = Field(4, ge=1, description="Steps of a short training on one mixture.")
    update_steps: int = Field(250, ge=1, description="Steps of a round, short trainings included.")
    focus: float = Field(0.625, gt=0, le=1, description="Share of the one domain in a short training.")
    average: float = Field(0.0, ge=0, lt=1, description="What the moving average of the law keeps of earlier rounds.")
    diagonal: bool = Field(False, description="Whether domains are taken to lower their own losses only.")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the order of domains.")

    def reads(self) -> Sequence[str]:
        return [self.drops] if self.drops else []

    def learner(self, domains: int, arrays: Mapping[str, Any]) -> Aioli:  # noqa: ARG002
        self._check_focus(domains)
        return Aioli(domains, self.eta, self.sweeps, self.focus, self.average, self.diagonal, self.seed)

    def marks(self, steps: int, domains: int) -> tuple[int, ...]:
        """Returns the ends of short trainings, and the step before each round's first.

        Raises:
            UserError: a training is too short for one round.
        """
        turns = domains * self.sweeps
        taken, period = turns * self.turn_steps, max(self.update_steps, (turns + 1) * self.turn_steps)
        if steps <= self.turn_steps + taken:
            raise UserError(
                f"train.tokens: must be enough for a round of {self.turn_steps + taken} steps and more, {turns} short "
                f"trainings of {self.turn_steps} steps each after the first, got {steps}; lower mix.sweeps or "
                "mix.turn_steps"
            )
        starts = range(self.turn_steps, steps - taken, period)
        return tuple(start + turn * self.turn_steps for start in starts for turn in range(turns + 1))

    def trained(self, bench: TrainingBench) -> MixOutcome:
        if self.diagonal and bench.targets != bench.domains:
            raise UserError("mix.diagonal: must be false where train.held_out gives the targets, got true")
        return super().trained(bench)

    def loads(self, domains: int, steps: int) -> Sequence[Load]:
        return [Load(1, steps, marks=len(self.marks(steps, domains)) + 1)]

    def result(self) -> MixResult:
        if self.drops is None:
            raise self.not_trained("drops", "a table of measured drops")
        named = read_matrix(self.drops, "target")
        drops, domains = named.values, named.columns
        if self.diagonal:
            if wrong := sorted(set(named.rows) ^ set(domains)):
                raise UserError(
                    f"{self.drops}: must have a row and a column for every domain where mix.diagonal is true, got one "
                    f"of both for {wrong[0]!r}"
                )
            drops = named.ordered(self.drops, domains, domains)
        self._check_focus(len(domains))
        matrix = normalised(law_matrix(drops, self.focus, self.diagonal))
        shares = tilted(uniform_shares(len(named.columns)), self.eta * matrix.sum(axis=0))
        made = dict(zip(named.columns, shares.tolist(), strict=True))
        return MixResult((), made, equal(named.columns), {}, None, ())

    def _check_focus(self, domains: int) -> None:
        if domains > 1 and abs(self.focus - 1 / domains) < SAME:
            raise UserError(f"mix.focus: must not be 1 / domains, at which all mixtures are one, got {self.focus:g}")
