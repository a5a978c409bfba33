"""Runs what selections need, and finds the documents of the pool, of every arm, and of the held-out domains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from siftlm.checks.inputs import Inputs
from siftlm.checks.validate import check_config
from siftlm.config import RunConfig
from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard
from siftlm.errors import UserError
from siftlm.inspect.run import FinishedRun
from siftlm.job import Run
from siftlm.proving.libraries import Holdout, Library
from siftlm.proving.settings import RANDOM, ProofConfig, ProofPlan
from siftlm.proving.values import SOURCE
from siftlm.selectors import SelectSettings
from siftlm.stages.columns import DECISIONS
from siftlm.stages.eligible import Split
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.registry import Needs
from siftlm.stages.texts import IDS, TEXTS
from siftlm.steps import steps
from siftlm.store import Store

ELIGIBILITY = frozenset({*Split.reads, *TEXTS, IDS})
"""The steps that say which documents are in the pool, and what their texts are."""


@dataclass(frozen=True)
class Selections:
    """Holds the pool, the arms by name, where the held-out documents are, and what the store must keep."""

    pool: Library
    arms: Mapping[str, Library]
    held_out: Sequence[Library]
    domains: Mapping[str, Sequence[str]]
    needs: Needs


def selections(plan: ProofPlan, store: Store, progress: Progress) -> Selections:
    """Runs every step that the arms need and have not run, and returns their documents."""
    config = plan.config
    holdout = Holdout(frozenset(s for of in config.domains().values() for s in of), config.prove.holdout, config.seed)
    needs = Needs()
    divided = {*config.prove.by, *(config.prove.soups.by if config.prove.soups else ())}
    columns = not divided <= {SOURCE}
    # First, for a mistake in these must not wait for scores.
    apart = [_apart(config, store, progress, needs)] if config.prove.held_out else []
    pool_tasks = shard_tasks(config, store, progress, needs, select=False, columns=columns)
    pool = Library(RANDOM, store, pool_tasks, holdout, config.split())
    arms = {name: _arm(name, arm, store, progress, holdout, needs) for name, arm in plan.arms.items()}
    domains = {**config.domains(), **{settings.source: [settings.source] for settings in config.prove.held_out}}
    return Selections(pool, arms, [pool, *apart], dict(sorted(domains.items())), needs)


def _arm(name: str, arm: RunConfig | str, store: Store, progress: Progress, holdout: Holdout, needs: Needs) -> Library:
    """The kept documents of an arm, of its configuration or of its finished run."""
    if isinstance(arm, str):
        run = FinishedRun.open(arm)
        return Library(name, run.store, run.tasks(), holdout, materialised=_materialised(run.config))
    try:
        check_config(arm)
    except UserError as error:
        raise UserError(f"prove.arms.{name}: {error}") from None
    tasks = shard_tasks(arm, store, progress, needs, select=True)
    return Library(name, store, tasks, holdout, materialised=_materialised(arm))


def _materialised(config: RunConfig) -> bool:
    weights = config.selection().weights
    return weights is None or weights.materialise


def _apart(config: ProofConfig, store: Store, progress: Progress, needs: Needs) -> Library:
    """The documents of `prove.held_out`, which are read and annotated, and measure models all of them."""
    changes = {"input": config.prove.held_out, "dedup": None, "reference": None, "preselect": [], "score": []}
    alone = config.model_copy(update={**changes, "join": [], "columns": [], "select": SelectSettings()})
    sources = frozenset(settings.source for settings in config.prove.held_out)
    return Library(
        "held out", store, shard_tasks(alone, store, progress, needs, select=False), Holdout(sources, 1.0, 0), Split()
    )


def shard_tasks(
    config: RunConfig, store: Store, progress: Progress, needs: Needs, *, select: bool, columns: bool = False
) -> list[Task]:
    """Returns the shards after the steps of a selection, or after those that say what is eligible or give columns."""
    work = Run(config, store, progress, needs=needs)
    shards: list[Shard] = Inputs.find(config, store, progress.say if not select else lambda _: None).shards
    for step in steps(config):
        if select or step.name in ELIGIBILITY or (columns and step.name != DECISIONS):
            shards = work.take(step, shards)
    if not select and (lost := sum((Counter(marker.errors) for marker in work.markers[DOCUMENTS]), Counter[str]())):
        told = ", ".join(f"{number:,} {reason}" for reason, number in sorted(lost.items()))
        progress.say(f"{DOCUMENTS}: {lost.total():,} records could not be read ({told})")
    return [shard.task() for shard in shards]
