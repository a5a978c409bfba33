"""Lists the steps of a run in their order; no other place knows it.

Whoever runs, plans, estimates, lists columns or reasons, or draws the funnel of a run goes through this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile

import pyarrow as pa

from siftlm.config import RunConfig
from siftlm.engine.runner import batch_size
from siftlm.engine.step import Loss, Output, Shard, Step
from siftlm.stages import score, score_by_column
from siftlm.stages.annotate import Annotate
from siftlm.stages.columns import HIDDEN
from siftlm.stages.commonness.step import Commonness
from siftlm.stages.dedup.step import Clusters
from siftlm.stages.derived import derive
from siftlm.stages.edit import Edit
from siftlm.stages.eligible import Eligible
from siftlm.stages.fields import FieldColumns
from siftlm.stages.folds import Folds
from siftlm.stages.ids.step import UniqueIds
from siftlm.stages.ingest import BATCH_BYTES, Ingest
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.join.step import Join
from siftlm.stages.models import RateByModel
from siftlm.stages.paragraphs.step import Paragraphs
from siftlm.stages.prior.step import Prior
from siftlm.stages.reference import reference_steps
from siftlm.stages.score_step import WINDOW_BYTES
from siftlm.stages.select import Decisions

__all__ = ["Loss", "Output", "Shard", "Step", "columns_before", "losses", "steps"]


def before_selection(config: RunConfig) -> Iterator[Step]:
    """Yields the steps of a configuration up to its scores, in the order in which they run.

    Columns that formulas compute and selection come after all of them.
    """
    split, dedup = config.split(), config.dedup
    folds = config.reference.folds if config.reference else None
    refuse = config.duplicate_ids == "refuse"
    inputs = {settings.source: settings for settings in config.input}
    window = batch_size(config.runner, WINDOW_BYTES)
    read_bytes = batch_size(config.runner, BATCH_BYTES)
    fields = FieldColumns(inputs, DOCUMENTS, read_bytes)
    edit = Edit(tuple(config.edit))
    joins = [Join(number, settings) for number, settings in enumerate(config.join)]
    unique_ids = UniqueIds(tuple(settings.source for settings in config.input), refuse)
    yield Ingest(inputs, read_bytes, fields if fields.columns() else None)
    if fields.columns():
        yield fields
    if refuse:  # before anything else is made of documents
        yield unique_ids
    if config.edit:
        yield edit
    annotate = Annotate(config.signals())
    yield annotate
    yield from joins
    preselected = set[str]().union(*(rule.columns() for rule in config.preselect))
    raters = [RateByModel(settings, window_bytes=window) for settings in config.annotate.by_model()]
    early = [replace(rater, early=True) for rater in raters if preselected.intersection(rater.columns().names)]
    yield from early
    if not refuse:
        yield unique_ids
    if dedup:
        yield Clusters(dedup)
    if dedup and dedup.paragraphs:
        yield Paragraphs(dedup.paragraphs, config.seed, dedup.drops)
    if dedup and dedup.commonness:
        yield Commonness(dedup.commonness, dedup.drops)
    for number, settings in enumerate(config.prior):
        yield Prior(f"prior.{number}", settings, dedup.drops if dedup else None)
    training = reference_steps(config.reference, split, config.score) if config.reference else []
    if not folds:
        yield from training
    if dedup or split.holdout or config.preselect:
        given = [step.name for step in (fields, edit, *joins, *early) if preselected.intersection(step.columns().names)]
        yield Eligible(split, tuple(config.preselect), reads=(*Eligible.reads, *given))
    yield from (rater for rater in raters if not preselected.intersection(rater.columns().names))
    if folds:  # whose models are trained on what comes so far
        yield Folds(folds, config.seed)
        yield from training
    of_one_model = [model for model in config.score if not model.reads_column]
    yield from score.steps(of_one_model, window, config.reference.trained if config.reference else None)
    yield from score_by_column.steps(config.score, [fields, edit, annotate, *joins, *early], window)


def steps(config: RunConfig) -> list[Step]:
    """Returns the steps that a configuration asks for, in the order in which they run."""
    made = list(before_selection(config))
    if formulas := config.formulas():
        made.append(derive(formulas, made, pa.schema(_fields(made))))
    return [*made, Decisions(config.selection(), tuple(step.name for step in made))]


def columns_before(config: RunConfig, name: str) -> dict[str, pa.DataType]:
    """Returns the columns, by name with their types, that rules can use when the step `name` begins."""
    before = takewhile(lambda step: step.name != name, steps(config))
    return {field.name: field.type for field in _fields(before)}


def _fields(made: Iterable[Step]) -> list[pa.Field]:
    """The columns that steps give, of one name the last one's."""
    fields = {field.name: field for step in made for field in step.columns() if field.name not in HIDDEN}
    return list(fields.values())


def losses(made: Sequence[Step]) -> list[Loss]:
    """Returns every place where a document can be dropped, in the order in which a document meets them."""
    return [loss for step in made for loss in step.losses()]
