"""Lists the steps of a run in their order, which no other place knows.

Whoever runs, plans, estimates, lists columns or reasons, or draws the funnel of a run goes through this list.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def steps(config: RunConfig) -> list[Step]:
    """Returns the steps that a configuration asks for, in the order in which they run."""
    dedup, split, sources = config.dedup, config.split(), tuple(settings.source for settings in config.input)
    refuse = config.duplicate_ids == "refuse"
    ids = UniqueIds(sources, refuse)
    found: list[Step | None] = [
        Ingest({settings.source: settings for settings in config.input}, batch_size(config.runner, BATCH_BYTES)),
        ids if refuse else None,
        Annotate(config.scorers()),
        None if refuse else ids,
        Clusters(dedup) if dedup else None,
        Paragraphs(dedup.passages, config.seed, dedup.drops) if dedup and dedup.passages else None,
        Commonness(dedup.commonness, dedup.drops) if dedup and dedup.commonness else None,
        Reference(config.reference, split) if config.reference else None,
        Eligible(split, tuple(config.preselect)) if dedup or split.holdout or config.preselect else None,
        *score.steps(config.score),
    ]
    made = [step for step in found if step is not None]
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
