"""Zips the row-aligned columns of a shard, for selection and for the output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.scorers.contract import DERIVED
from siftlm.selectors import DECISION_SCHEMA
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.commonness.work import STAGE as COMMONNESS
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS, PARAGRAPHS, Aligned, document_batches
from siftlm.store import Store

DECISIONS = "decisions"  # what selection makes of every document
ELIGIBLE = "eligible"  # why documents are out before any model sees them
SCORES = "scores/"  # prefix of the stages that hold one model's scores
HIDDEN = frozenset({"bands", "has_shingles", "position", "content_hash"})  # of signals/, of no use to a reader
CLUSTER_COLUMNS = frozenset({"cluster_id", "cluster_size", "duplicate"})
OWN_COLUMNS = {  # of stages whose columns are fixed, and no other stage's
    CLUSTERS: CLUSTER_COLUMNS,
    COMMONNESS: frozenset(COMMONNESS_SCHEMA.names),
    DECISIONS: frozenset(DECISION_SCHEMA.names),
}
NO_COLUMNS = frozenset({DOCUMENTS, ELIGIBLE})  # steps whose outputs hold no column for rules, or none but here


def available(task: Task, store: Store) -> dict[str, pa.DataType]:
    """Returns the columns of a shard by name and type, those derived from scores included."""
    names: dict[str, pa.DataType] = {}
    for stage, key in task.inputs.items():
        if stage in NO_COLUMNS:
            continue
        fields = [(_public(stage, f.name), f.type) for f in store.schema(stage, key) if f.name not in HIDDEN]
        names.update(fields)
        if stage.startswith(SCORES):
            names.update({_public(stage, name): pa.float64() for name in DERIVED})
    return names


def read_columns(task: Task, store: Store, wanted: set[str] | None = None) -> pa.Table:
    """Returns the wanted columns of a shard, in the order of its documents; None gives all of them."""
    return _together(
        (stage, _read_stage(stage, store.table(stage, key, partial(_needed, stage, wanted)), wanted))
        for stage, key in _sources(task, wanted).items()
    )


def _sources(task: Task, wanted: set[str] | None) -> dict[str, str]:
    """The outputs that may have the wanted columns; only what is in one of them is known without opening it."""
    made = {stage: key for stage, key in task.inputs.items() if stage not in NO_COLUMNS}
    if wanted is None:
        return made
    alone = {stage: wanted & names for stage, names in OWN_COLUMNS.items() if stage in made}
    others = wanted.difference(*alone.values())
    return {stage: key for stage, key in made.items() if alone.get(stage, others)}


def row_batches(
    task: Task, store: Store, start: int, end: int, *, rows: int = 512, text: bool = True
) -> Iterator[pa.Table]:
    """Yields rows [start, end) of a shard with every public column, the text first.

    At most `rows` at a time, and no more than a row group of the texts holds, which is bounded in bytes.
    """
    first, *others = [s for s in task.inputs if s not in NO_COLUMNS or (text and s == DOCUMENTS)]
    readers = [(stage, Aligned(store, stage, task.inputs[stage], _public_names, start, end, rows)) for stage in others]
    if first == DOCUMENTS:
        heads = document_batches(task, store, rows=rows, columns=_public_names, start=start, end=end)
    else:
        heads = store.row_range(first, task.inputs[first], start, end, rows=rows, columns=_public_names)
    for head in heads:
        parts = [(first, pa.Table.from_batches([head])), *((s, reader.take(head.num_rows)) for s, reader in readers)]
        yield _together((stage, _read_stage(stage, part, None)) for stage, part in parts)


def _together(parts: Iterable[tuple[str, pa.Table]]) -> pa.Table:
    """The columns of all stages; what several have is the first's, or that of ids/ or paragraphs/, which correct it."""
    columns: dict[str, pa.ChunkedArray] = {}
    for stage, table in parts:
        for name, column in zip(table.schema.names, table.columns, strict=True):
            if name not in columns or stage in (PARAGRAPHS, IDS):
                columns[name] = column
    return pa.table(columns)


def _public(stage: str, name: str) -> str:
    return f"{stage.removeprefix(SCORES)}_{name}" if stage.startswith(SCORES) else name


def _needed(stage: str, wanted: set[str] | None, stored: list[str]) -> list[str]:
    """The stored columns of a stage that give the wanted ones."""
    names = _public_names(stored)
    if wanted is None:
        return names
    sources = {s for name, (_, from_) in DERIVED.items() if _public(stage, name) in wanted for s in from_}
    return [n for n in names if _public(stage, n) in wanted or (stage.startswith(SCORES) and n in sources)]


def _read_stage(stage: str, table: pa.Table, wanted: set[str] | None) -> pa.Table:
    """A stage's columns under their public names, with the derived ones."""
    columns = {_public(stage, n): c for n, c in zip(table.schema.names, table.columns, strict=True) if n not in HIDDEN}
    if stage.startswith(SCORES):
        for name, (derive, sources) in DERIVED.items():
            if set(sources) <= set(table.schema.names):
                columns[_public(stage, name)] = derive(*(table[source] for source in sources))
    return pa.table({n: c for n, c in columns.items() if wanted is None or n in wanted})


def _public_names(stored: list[str]) -> list[str]:
    return [name for name in stored if name not in HIDDEN]
