"""Lists the steps of a run in their order, which no other place knows.

Whoever runs, plans, estimates, lists columns or reasons, or draws the funnel of a run goes through this list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from siftlm.config import RunConfig
from siftlm.engine.runner import batch_size
from siftlm.engine.step import Loss, Output, Shard, Step
from siftlm.stages import score
from siftlm.stages.annotate import Annotate
from siftlm.stages.columns import HIDDEN
from siftlm.stages.commonness.step import Commonness
from siftlm.stages.dedup.step import Clusters
from siftlm.stages.eligible import Eligible
from siftlm.stages.ids.step import UniqueIds
from siftlm.stages.ingest import BATCH_BYTES, Ingest
from siftlm.stages.paragraphs.step import Paragraphs
from siftlm.stages.reference import Reference
from siftlm.stages.select import Decisions

__all__ = ["Loss", "Output", "Shard", "Step", "columns_before", "losses", "steps"]


Maker = Callable[[RunConfig], Iterable[Step | None]]


def _ids(config: RunConfig, *, refuse: bool) -> list[Step]:
    """Returns the comparison of ids, which comes before anything else is made of documents where it can refuse them."""
    wanted = (config.duplicate_ids == "refuse") == refuse
    return [UniqueIds(tuple(settings.source for settings in config.input), refuse)] if wanted else []


def _dedup(config: RunConfig) -> list[Step | None]:
    """Returns what is done about duplicates, and about text that several documents have."""
    settings = config.dedup
    if settings is None:
        return []
    return [
        Clusters(settings),
        Paragraphs(settings.paragraphs, config.seed, settings.drops) if settings.paragraphs else None,
        Commonness(settings.commonness, settings.drops) if settings.commonness else None,
    ]


def _eligible(config: RunConfig) -> list[Step]:
    split = config.split()
    return [Eligible(split, tuple(config.preselect))] if config.dedup or split.holdout or config.preselect else []


ORDER: tuple[Maker, ...] = (
    lambda c: [Ingest({settings.source: settings for settings in c.input}, batch_size(c.runner, BATCH_BYTES))],
    lambda c: _ids(c, refuse=True),
    lambda c: [Annotate(c.scorers())],
    lambda c: _ids(c, refuse=False),
    _dedup,
    lambda c: [Reference(c.reference, c.split()) if c.reference else None],
    _eligible,
    lambda c: score.steps(c.score),
)
"""What makes the steps of a configuration, in the order in which they run; selection comes after all of them."""


def steps(config: RunConfig) -> list[Step]:
    """Returns the steps that a configuration asks for, in the order in which they run."""
    made = [step for make in ORDER for step in make(config) if step is not None]
    return [*made, Decisions(config.selection(), tuple(step.name for step in made))]


def columns_before(config: RunConfig, name: str) -> dict[str, pa.DataType]:
    """Returns the columns that rules can name when the step `name` begins, by name."""
    fields: list[pa.Field] = []
    for step in steps(config):
        if step.name == name:
            break
        fields += step.columns()
    return {field.name: field.type for field in fields if field.name not in HIDDEN}


def losses(made: Sequence[Step]) -> list[Loss]:
    """Returns everything that can drop a document, in the order in which a document meets it."""
    return [loss for step in made for loss in step.losses()]
