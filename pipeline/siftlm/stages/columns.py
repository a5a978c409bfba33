"""Joins the columns that several steps wrote for a shard, row by row, for selection and output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.scorers.contract import DERIVED
from siftlm.selectors import DECISION_SCHEMA
from siftlm.stages.aligned import Aligned
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.commonness.work import STAGE as COMMONNESS
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.dedup.work import CLUSTER_SCHEMA
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS, PARAGRAPHS, document_batches
from siftlm.store import Store

DECISIONS = "decisions"  # what selection makes of every document
ELIGIBLE = "eligible"  # why documents are out before any model sees them
MODELS = "models/"  # prefix of the stages that hold what one sequence classification model says
SCORES = "scores/"  # prefix of the stages that hold one model's scores
ROWS = 512
HIDDEN = frozenset({"bands", "has_shingles", "position", "content_hash"})  # of signals/, of no use to a reader
OWN_SCHEMAS = {CLUSTERS: CLUSTER_SCHEMA, COMMONNESS: COMMONNESS_SCHEMA, DECISIONS: DECISION_SCHEMA}
"""Steps whose columns are fixed, and no other step's."""
NO_COLUMNS = frozenset({DOCUMENTS, ELIGIBLE})  # steps whose outputs hold no column for rules, or none but here


def available(task: Task, store: Store) -> dict[str, pa.DataType]:
    """Returns the name and type of every column of a shard, including columns derived from scores."""
    outputs = _sources(task, None).items()
    columns = _together((stage, _made(stage, store.schema(stage, key).empty_table(), None)) for stage, key in outputs)
    return {field.name: field.type for field in columns.schema}


def read_columns(task: Task, store: Store, wanted: set[str] | None = None) -> pa.Table:
    """Returns the wanted columns of a shard, or all when None, in the order of its documents."""
    return _together(
        (stage, _made(stage, store.table(stage, key, partial(_needed, stage, wanted)), wanted))
        for stage, key in _sources(task, wanted).items()
    )


def _sources(task: Task, wanted: set[str] | None) -> dict[str, str]:
    """The outputs that may have the wanted columns; only what is in one of them is known without opening it."""
    outputs = {stage: key for stage, key in task.inputs.items() if stage not in NO_COLUMNS}
    if wanted is None:
        return outputs
    own = {stage: wanted.intersection(schema.names) for stage, schema in OWN_SCHEMAS.items() if stage in outputs}
    others = wanted.difference(*own.values())
    return {stage: key for stage, key in outputs.items() if own.get(stage, others)}


def row_batches(task: Task, store: Store, start: int, end: int) -> Iterator[pa.Table]:
    """Yields rows [start, end) of a shard as tables of all public columns, the text first.

    At most `ROWS` at a time, and no more than a row group of the texts holds, which is bounded in bytes.
    """
    aligned = {
        stage: Aligned(store, stage, key, partial(_needed, stage, None), start, end, ROWS)
        for stage, key in _sources(task, None).items()
    }
    columns = partial(_needed, DOCUMENTS, None)
    for batch in document_batches(task, store, rows=ROWS, columns=columns, start=start, end=end):
        others = ((stage, _made(stage, rows.take(batch.num_rows), None)) for stage, rows in aligned.items())
        yield _together([(DOCUMENTS, pa.Table.from_batches([batch])), *others])


def _together(tables: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """The columns of all stages; what several have is the first's, or that of ids/ or paragraphs/, which correct it."""
    columns: dict[str, pa.ChunkedArray] = {}
    for stage, table in tables:
        for name, column in zip(table.schema.names, table.columns, strict=True):
            if name not in columns or stage in (PARAGRAPHS, IDS):
                columns[name] = column
    return pa.table(columns)


def _public(stage: str, stored: list[str]) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    """The columns that the stored ones of a stage give: by which function, and of which of them."""
    columns: dict[str, Any] = {name: (lambda column: column, (name,)) for name in stored if name not in HIDDEN}
    if not stage.startswith(SCORES):
        return columns
    columns |= {name: origin for name, origin in DERIVED.items() if set(origin[1]) <= set(stored)}
    return {f"{stage.removeprefix(SCORES)}_{name}": origin for name, origin in columns.items()}


def _needed(stage: str, wanted: set[str] | None, stored: list[str]) -> list[str]:
    """The stored columns of a stage that give the wanted ones."""
    public = _public(stage, stored)
    sources = {s for name, (_, of) in public.items() if wanted is None or name in wanted for s in of}
    return [name for name in stored if name in sources]


def _made(stage: str, table: pa.Table, wanted: set[str] | None) -> pa.Table:
    """A stage's columns under their public names, with the derived ones."""
    public = _public(stage, table.schema.names).items()
    chosen = {name: origin for name, origin in public if wanted is None or name in wanted}
    return pa.table({name: derive(*(table[s] for s in sources)) for name, (derive, sources) in chosen.items()})
