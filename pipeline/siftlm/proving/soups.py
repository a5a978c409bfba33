"""Predicts what mixtures teach from averages of models of partitions, and checks that against trained arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from siftlm.engine.shards import Task
from siftlm.errors import UserError
from siftlm.proving.design import Replicate
from siftlm.proving.draws import Documents, draw
from siftlm.proving.partitions import Partitions
from siftlm.proving.replicates import STAGE as TRAINED
from siftlm.proving.replicates import TOKENS, one_thread, saved_weights, stored_tokens
from siftlm.proving.scales import decision_accuracy
from siftlm.proving.settings import RANDOM, SoupSettings
from siftlm.proxies.training.settings import ModelShape, Optimisation
from siftlm.report.proof import ProofSoup, ProofSoups
from siftlm.store import Marker, Store, digest

VERSION = 1
STAGE = "proof_soups"  # losses of averaged models
PARTITION = "partition "  # what the name of a partition's replicate begins with
SCHEMA = pa.schema([("nll_sum", pa.float64())])
FEWEST = 6  # arms from which on the predictions can be judged
CHANCE = 0.05  # that an order without meaning reaches the rank correlation that is told
ORDERS = 20_000  # drawn for that where there are too many to try all
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeasureSoup:
    """Averages the models of a task by its shares, and measures the mean on the held-out documents.

    The facts of a task are `models` (keys of trained models), `shares`, and `held_out` (key of a token file). `models`
    and `tokens` are the folders of the store that have these.
    """

    model: ModelShape
    training: Optimisation
    name: str = STAGE
    models: str = TRAINED
    tokens: str = TOKENS

    def run(self, task: Task, store: Store) -> Marker:
        from siftlm.proxies.training.merging import average, document_nats

        facts = task.facts
        weights = average([saved_weights(key, store, self.models) for key in facts["models"]], facts["shares"])
        held_out = stored_tokens(facts["held_out"], store, self.tokens)
        nats = document_nats(weights, self.model, one_thread(self.training), held_out)
        with store.writer(self.name, task.key, SCHEMA) as file:
            file.write(pa.record_batch([nats], schema=SCHEMA))
        return task.marker(self.name, file.rows, file.seal)


@dataclass(frozen=True)
class Recipe:
    """Holds the shares of partitions, float64[partitions], that a soup is made by, and the arm's share in none."""

    name: str
    shares: Floats
    outside: float = 0.0


def recipes(
    divided: Partitions, documents: Mapping[str, Documents], trained: Sequence[Replicate], settings: SoupSettings
) -> list[Recipe]:
    """Returns the soups of all arms and nulls, by the documents that were drawn for them, and of other mixtures."""
    by_arm: dict[str, list[Replicate]] = {}
    for made in trained:
        by_arm.setdefault(made.arm, []).append(made)
    of_arms = []
    for name, of in by_arm.items():
        shares = divided.shares(documents[of[0].library], np.concatenate([made.rows for made in of]))
        if shares[0].any():
            of_arms.append(Recipe(name, *shares))
    others = mixture_shares(settings.mixtures, divided.names)
    return [*of_arms, *(Recipe(name, shares) for name, shares in others.items())]


def branches(divided: Partitions, pool: Documents, settings: SoupSettings, seed: int) -> list[Replicate]:
    """Returns the trainings of the partitions, each on a draw of its documents."""
    made = []
    for number, name in enumerate(divided.names):
        own = divided.only(pool, number)
        rows = draw(own, settings.tokens, 1.0, int(digest("partition", seed, name)[:15], 16))
        share = min(1.0, float(own.sizes(rows).sum() / own.expected_size))
        made.append(Replicate(f"{PARTITION}{name}", "random", number, RANDOM, rows, seed, share))
    return made


def branch_optimisation(training: Optimisation, settings: SoupSettings) -> Optimisation:
    """Returns how the models of partitions are trained: as the arms are, at a learning rate of their own."""
    return training.model_copy(update={"learning_rate": settings.learning_rate, "average_last": 0})


def soup_task(number: int, recipe: Recipe, models: Sequence[str], held_out: str, numbers: object) -> Task:
    """Returns the task that measures one average of models; `numbers` are what else its losses depend on."""
    facts = {"models": list(models), "shares": recipe.shares.tolist(), "held_out": held_out}
    return Task(number, recipe.name, digest(STAGE, VERSION, facts, numbers), facts=facts)


def mixture_shares(mixtures: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, Floats]:
    """Returns the shares of every mixture in the order of the partitions.

    Raises:
        UserError: a name is no partition's, or a share is negative, or all are 0.
    """
    made = {}
    for mixture, shares in mixtures.items():
        place = f"prove.soups.mixtures.{mixture}"
        if unknown := sorted(set(shares) - set(names)):
            raise UserError(f"{place}: must name partitions, got {unknown[0]!r}; known here: {', '.join(names)}")
        values = np.array([shares.get(name, 0.0) for name in names])
        if (values < 0).any() or not values.any():
            raise UserError(f"{place}: must have shares of 0 or more and not all 0, got {dict(shares)}")
        made[mixture] = values / values.sum()
    return made


def checked(soups: Sequence[ProofSoup], partitions: Sequence[str], seed_model: str, noise: float) -> ProofSoups:
    """Returns soups with what they are worth: how they order and tell apart the arms that were trained, too.

    Args:
        soups: The arms' and other mixtures', whose `trained` is None where no model was trained.
        partitions: Names of the partitions.
        seed_model: Name of the model that all models of partitions go on from.
        noise: Standard deviation of a trained arm's mean, in bits per byte.
    """
    both = [soup for soup in soups if soup.trained is not None]
    predicted, trained = (np.array([getattr(s, name) for s in both], np.float64) for name in ("predicted", "trained"))
    made = ProofSoups(list(partitions), seed_model, list(soups), None, None, None, None, None, "")
    if len(both) >= 2 and np.ptp(predicted) > 0 and np.ptp(trained) > 0:
        made = replace(
            made,
            rank_correlation=float(stats.spearmanr(predicted, trained).statistic),
            correlation=float(stats.pearsonr(predicted, trained).statistic),
            by_chance=rank_correlation_by_chance(len(both)),
            agreement=decision_accuracy(predicted, trained),
            error=difference_error(predicted, trained),
        )
    return replace(made, verdict=_words(made, predicted, trained, noise))


def difference_error(predicted: Floats, trained: Floats) -> float:
    """Returns the root mean square error of the predicted differences of all pairs, in their unit."""
    residual = predicted - trained
    first, second = np.triu_indices(len(residual), k=1)
    return float(np.sqrt(((residual[first] - residual[second]) ** 2).mean()))


def rank_correlation_by_chance(number: int, chance: float = CHANCE) -> float:
    """Returns Spearman's rank correlation that so many values without any relation reach with at most this chance.

    By all orders of up to 7 values, by 20,000 drawn ones of more. It is above 1 where no order is so rare.
    """
    ranks = np.arange(number, dtype=np.float64)
    if number <= 7:
        orders = np.array(list(permutations(ranks)))
    else:
        generator = np.random.default_rng(number)
        orders = generator.permuted(np.tile(ranks, (ORDERS, 1)), axis=1)
    squares = ((orders - ranks) ** 2).sum(axis=1)
    correlations = 1 - 6 * squares / max(1, number * (number**2 - 1))
    values, counts = np.unique(correlations.round(9), return_counts=True)
    rare = np.cumsum(counts[::-1])[::-1] / len(orders) <= chance
    return float(values[rare][0]) if rare.any() else 1.5


def _words(made: ProofSoups, predicted: Floats, trained: Floats, noise: float) -> str:
    """How far soups can be trusted, in a sentence or two."""
    number = len(trained)
    if number < 2 or np.ptp(predicted) == 0:
        return (
            "soups cannot tell the arms apart, which have the same shares of every partition; name columns in "
            "prove.soups.by in which they differ"
        )
    if made.rank_correlation is None or made.error is None or made.agreement is None or made.by_chance is None:
        return "soups cannot be checked, for all trained arms are equal"
    measured = (
        f"rank correlation {made.rank_correlation:+.2f} over {number} trained arms, where chance reaches "
        f"{made.by_chance:.2f} once in 20; {made.agreement:.0%} of pairs in the same order; a predicted difference is "
        f"off by {made.error:.4f} bits per byte, the arms' by {noise * np.sqrt(2):.4f} for their own noise"
    )
    if number < FEWEST:
        return f"{number} trained arms are too few to trust soups by, {FEWEST} are needed: {measured}"
    if made.rank_correlation < made.by_chance:
        return f"soups do not order the arms as trained models do, so do not choose by them: {measured}"
    return f"soups order the arms as trained models do: {measured}"
