"""Computes the columns that `[[columns]]` define by formulas over other columns, and writes them to derived/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from siftlm.derived.formula import Program
from siftlm.derived.settings import ColumnSettings
from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.step import ShardStep, Step
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.selectors import DROPPED_REASON
from siftlm.stages.columns import ELIGIBLE, read_columns
from siftlm.stages.eligible import out_already
from siftlm.stages.passes import search
from siftlm.stages.portions import Portion
from siftlm.statistics.cuts import ENTRY_LIMIT
from siftlm.statistics.passes import Partial, Together, settled
from siftlm.statistics.stored import stored
from siftlm.store import Marker, Store, digest

VERSION = 1
STAGE = "derived"
ANSWERS = "answers"
ENTRIES = 4 * ENTRY_LIMIT  # of a histogram: ranks are exact up to so many different values
BATCH_ROWS = 65_536


@stored
@dataclass(frozen=True)
class Answers:
    """Holds the states of the corpus statistics that formulas call: finished ones by name, and those being computed."""

    known: Mapping[str, Any]
    level: int
    open: Together | None

    @property
    def done(self) -> bool:
        """Tells whether every statistic that the formulas call is finished."""
        return self.open is None


@dataclass(frozen=True)
class Derive(ShardStep):
    """Computes columns by formulas, after computing the statistics of the whole corpus that the formulas call.

    A call may depend on others of a lower level; levels are computed in order, each in passes that its calls share.
    """

    formulas: tuple[ColumnSettings, ...]
    given: pa.Schema  # the columns that they name
    reads: tuple[str, ...]
    per: Literal["shard", "corpus"]  # type: ignore[misc]  # by what the formulas ask
    name: str = STAGE

    @property
    def program(self) -> Program:
        return Program(self.formulas, {field.name: field.type for field in self.given})

    def identity(self) -> object:
        return VERSION, [column.model_dump() for column in self.formulas], str(self.given)

    def columns(self) -> pa.Schema:
        return pa.schema(list(self.program.types.items()))

    def read(self, task: Task, store: Store) -> pa.Table:
        """Returns the columns that the formulas name, and the reason why a document was already dropped."""
        table = read_columns(task, store, set(self.given.names) or {"doc_id"})
        reasons, _ = out_already(task, store, table.num_rows)
        return table.append_column(DROPPED_REASON, reasons)

    def _opened(self, known: Mapping[str, Any], level: int) -> Answers:
        states = {name: call.statistic.begin(ENTRIES) for name, call in self.program.asked(level)}
        return Answers(known, level, Together(states) if states else None)

    def observe(self, rows: Portion, state: Answers) -> Together:
        """Returns the statistics of these documents that the current pass over the corpus collects."""
        assert state.open is not None, "a pass is for what is open"
        program, alive = self.program, np.asarray(rows.table[DROPPED_REASON].is_null())
        states = state.open.parts
        return Together(
            {
                name: call.statistic.observe(program.measured(call, rows.table, state.known, alive), states[name])
                for name, call in program.asked(state.level)
                if not states[name].done
            }
        )

    def settle(self, state: Answers, partial: Partial | None) -> Answers:
        """Returns the state after a pass, given the merged statistics of all shards."""
        assert state.open is not None, "a pass is for what is open"
        seen, states = partial.parts if isinstance(partial, Together) else {}, dict(state.open.parts)
        for name, call in self.program.asked(state.level):
            if not states[name].done:
                states[name] = call.statistic.settle(states[name], seen.get(name))
        together = Together(states)
        if not together.done:
            return Answers(state.known, state.level, together)
        return self._opened({**state.known, **states}, state.level + 1)

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:
        return [(ANSWERS, digest(VERSION, [task.key for task in tasks]))]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        store = context.store
        done = store.committed(STAGE, (task.key for task in tasks))
        path = store.path(*self.keeps(tasks)[0], SUFFIX)
        if len(done) < len(tasks) and not store.holds_sealed(path):
            write_value(path, search(STAGE, self, self._opened({}, 1), path, tasks, context), store)
        return super().work([replace(task, facts={**task.facts, ANSWERS: path}) for task in tasks], context)

    def run(self, task: Task, store: Store) -> Marker:
        program, table = self.program, self.read(task, store)
        known = read_value(task.facts[ANSWERS], store).known
        with store.writer(STAGE, task.key, self.columns()) as out:
            for batch in program.compute(table, known).cast(self.columns()).to_batches(max_chunksize=BATCH_ROWS):
                out.write(batch)
        return task.marker(STAGE, out.rows, out.seal, content=out.seal.digest)

    def rehearse(self, task: Task, store: Store) -> None:
        path, portion = store.path(ANSWERS, task.key, SUFFIX), Portion.of([task], [self.read(task, store)])
        write_value(path, settled(self, self._opened({}, 1), lambda state: self.observe(portion, state)), store)
        super().rehearse(replace(task, facts={**task.facts, ANSWERS: path}), store)


def derive(formulas: Sequence[tuple[str, ColumnSettings]], before: Sequence[Step], given: pa.Schema) -> Derive:
    """Returns the step that computes columns, each with its place, from those that the steps `before` write."""
    columns = tuple(column for _, column in formulas)
    program = Program(columns, {field.name: field.type for field in given}, [place for place, _ in formulas])
    used = program.used()
    reads = [step.name for step in before if used.intersection(step.columns().names)]
    named = pa.schema([field for field in given if field.name in used])
    return Derive(columns, named, (*reads, ELIGIBLE), "corpus" if program.levels else "shard")
