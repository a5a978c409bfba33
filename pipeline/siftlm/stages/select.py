"""select: every column -> decisions/, kept or dropped with a reason, a weight and a number of copies.

Ranked rules need statistics of the whole corpus: each pass maps the shards to small mergeable statistics and
combines them. Rows that duplicates, the held-out split, preselection or a scoring error took out keep that reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.selectors import (
    DECISION_SCHEMA,
    DROPPED_REASON,
    SelectSettings,
    Statistics,
    advance,
    decide,
    shard_statistics,
    start,
)
from siftlm.stages.columns import SCORES, Survivors, count_by, read_columns
from siftlm.stages.gather import gather
from siftlm.stages.runner import RunnerSettings
from siftlm.stages.shards import Task, run_shards
from siftlm.stages.values import read_value, read_version, write_value, write_version
from siftlm.store import Marker, Store, digest

VERSION = 1
STAGE = "decisions"
RUNS_PER_SHARD = 64  # a part's size is exact to this share of an input shard's kept text
ERROR = "_error"  # suffix of the reasons that are errors, not decisions


def tasks(settings: SelectSettings, survivors: Survivors, scored: Sequence[Task]) -> list[Task]:
    """A task for every shard; the keys depend on all shards, since ranks do."""
    inputs = [sorted(task.inputs.items()) for task in scored]
    whole = digest(
        "select", VERSION, settings.model_dump(mode="json", exclude={"entry_limit"}), survivors.identity(), inputs
    )
    return [replace(task, key=digest(whole, task.shard)) for task in scored]


@dataclass(frozen=True)
class Columns:
    """What selection reads of a shard: the columns its rules name, and why rows are out already."""

    settings: SelectSettings
    survivors: Survivors

    def read(self, task: Task, store: Store, extra: frozenset[str] = frozenset()) -> pa.Table:
        table = read_columns(task, store, self.settings.columns() | extra)
        return table.append_column(DROPPED_REASON, self.dropped(task, store))

    def dropped(self, task: Task, store: Store) -> pa.Array:
        """Null for a row that selection decides on, else why it is out: the survivors' reason, or a model's error."""
        reasons = self.survivors.reasons(task, store)
        for stage, key in task.inputs.items():
            if stage.startswith(SCORES):
                errors = store.table(stage, key, ["error"])["error"].combine_chunks()
                failed = pc.binary_join_element_wise(errors, stage.removeprefix(SCORES) + ERROR, "_")
                reasons = pc.coalesce(reasons, failed)
        return reasons


@dataclass(frozen=True)
class Pass:
    """One pass of statistics over a shard; the plan is read from a file, for it may hold a cut for every domain."""

    columns: Columns
    plan_path: str
    store: Store

    def __call__(self, task: Task) -> Statistics:
        return shard_statistics(self.columns.read(task, self.store), read_version(self.plan_path))


@dataclass(frozen=True)
class Decide:
    """Writes the decisions of a shard."""

    columns: Columns
    plan_path: str
    name: str = STAGE

    def run(self, task: Task, store: Store) -> Marker:
        table = self.columns.read(task, store, frozenset({"byte_count"}))
        decisions = decide(table, read_value(self.plan_path))
        weight = pc.fill_null(decisions["weight"], 0.0)
        decisions = decisions.set_column(2, DECISION_SCHEMA.field("weight"), weight)
        with store.writer(STAGE, task.key, DECISION_SCHEMA) as out:
            for batch in pa.Table.from_batches([decisions]).to_batches(max_chunksize=16_384):
                out.write(batch)
        return self._marker(task, table, decisions)

    def _marker(self, task: Task, table: pa.Table, decisions: pa.RecordBatch) -> Marker:
        reasons = count_by(pa.chunked_array([decisions["reason"]]))
        errors = {name: n for name, n in reasons.items() if name.endswith(ERROR)}
        copies = np.where(decisions["kept"], decisions["copies"], 0).astype(np.int64)
        sizes = table["byte_count"].to_numpy()
        facts: dict[str, Any] = {"copies": int(copies.sum()), "runs": output_runs(copies * sizes)}
        facts |= {"kept_bytes": int(sizes[copies > 0].sum()), "written_bytes": int((copies * sizes).sum())}
        if self.columns.settings.tokens:
            tokens = pc.fill_null(table[self.columns.settings.tokens], 0).to_numpy()
            facts |= {
                "kept_tokens": int(tokens[copies > 0].sum()),
                "written_tokens": int((copies * tokens).sum()),
            }
        return Marker(
            stage=STAGE,
            key=task.key,
            shard=task.name,
            rows_in=decisions.num_rows,
            rows_out=int((copies > 0).sum()),
            dropped={name: n for name, n in reasons.items() if name not in errors},
            errors=errors,
            facts=facts,
        )


def output_runs(output_bytes: np.ndarray, count: int = RUNS_PER_SHARD) -> list[list[int]]:
    """[start row, end row, output bytes] of about `count` runs of rows with about equal output."""
    ends = np.cumsum(output_bytes)
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return [[0, len(ends), 0]] if len(ends) else []
    marks = np.searchsorted(ends, np.arange(1, count + 1) * (total / count), side="left") + 1
    bounds = np.unique(np.minimum(np.r_[0, marks[:-1], len(ends)], len(ends)))
    sums = np.add.reduceat(output_bytes, bounds[:-1])
    return [[int(a), int(b), int(s)] for a, b, s in zip(bounds[:-1], bounds[1:], sums, strict=True)]


def run(
    settings: SelectSettings,
    survivors: Survivors,
    todo: Sequence[Task],
    documents: int,
    store: Store,
    runner: RunnerSettings,
) -> list[Marker]:
    """The markers of all decisions; resolves the plan first when any is missing."""
    columns = Columns(settings, survivors)
    done = store.done(STAGE)
    path = store.path("selections", digest([task.key for task in todo]), ".npz")
    if any(task.key not in done for task in todo):
        resolve(columns, todo, path, documents, store, runner)
    return run_shards(Decide(columns, path), todo, store, runner)


def resolve(
    columns: Columns, todo: Sequence[Task], path: str, documents: int, store: Store, runner: RunnerSettings
) -> None:
    """Passes over the shards until every cut is exact; leaves the plan at `path`.

    Every pass has a file of its own: another run over the same store may be in another pass.
    """
    plan = start(columns.settings)
    while not plan.done:
        opened = write_version(path, plan)
        merged = gather("select", Pass(columns, opened, store), Statistics.merged, todo, documents, store, runner)
        filesystem.remove(opened)
        plan = advance(plan, [merged] if merged is not None else [])
    write_value(path, plan)
