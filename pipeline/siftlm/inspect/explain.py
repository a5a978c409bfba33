"""Why a document was kept or dropped: every score, every rule it met in order, its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.runner import RunnerSettings
from siftlm.engine.step import Loss
from siftlm.errors import UserError
from siftlm.inspect.clusters import members
from siftlm.inspect.run import FinishedRun
from siftlm.inspect.trace import Trace
from siftlm.report.view import Explanation, Met
from siftlm.selectors import DECISION_SCHEMA, Selection
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.weights import WEIGHTS
from siftlm.stages.columns import read_columns

PASSED, DROPPED, ELSEWHERE, NOT_REACHED = "passed", "dropped", "does not apply", "not reached"
MEMBERS = 20  # of its cluster that are told
SPANS = 20  # cut of it that are told
DECISIONS = frozenset(DECISION_SCHEMA.names)


def explain(folder: str, doc_id: str) -> Explanation:
    """Returns the explanation of the first document with that id.

    Raises:
        UserError: the run has no such document.
    """
    run = FinishedRun.open(folder)
    places = list(find(run, doc_id))
    if not places:
        raise UserError(f"DOC_ID: must be the id of a document of the run, got {doc_id!r}")
    return replace(explain_row(run, *places[0]), same_id=len(places))


def find(run: FinishedRun, doc_id: str) -> Iterator[tuple[int, int]]:
    """Yields (shard, row) of every document with that id, in the order of the run."""
    for task in run.tasks():
        ids = read_columns(task, run.store, {"doc_id"})["doc_id"]
        yield from ((task.shard, int(row)) for row in np.flatnonzero(pc.equal(ids, doc_id).to_numpy()))


def explain_row(run: FinishedRun, shard: int, row: int) -> Explanation:
    """Returns the explanation of the document at a place."""
    task = run.tasks()[shard]
    table = read_columns(task, run.store).slice(row, 1).combine_chunks()
    columns = table.to_pylist()[0]
    way = _Way(Trace(run), table, columns)
    size = columns.get("cluster_size") or 1
    found = members(run, [columns["cluster_id"]], 0, RunnerSettings(), MEMBERS) if size > 1 else ()
    return Explanation(
        doc_id=columns["doc_id"],
        shard=task.name,
        shard_number=shard,
        row=row,
        same_id=1,
        kept=columns["kept"],
        reason=columns["reason"],
        weight=columns["weight"],
        copies=columns["copies"],
        met=tuple(way.walk()),
        columns={name: value for name, value in columns.items() if name not in DECISIONS and not _is_list(value)},
        cluster=tuple(facts for *_, facts in found),
        cluster_size=size,
        text=run.text(shard, row),
        cut=run.cut(shard, row, columns["cut_spans"][:SPANS]) if columns.get("cut_spans") else (),
    )


def _is_list(value: object) -> bool:
    return isinstance(value, list)


class _Way:
    """The steps of a run as one document meets them."""

    def __init__(self, trace: Trace, table: pa.Table, columns: dict[str, Any]) -> None:
        self.trace, self.table, self.columns = trace, table, columns
        if trace.plan is None:
            raise UserError("RUN: must have its store, got none of its selections there; run it again")

    def walk(self) -> Iterator[Met]:
        """Returns every loss; after the one that drops the document, the others are not reached."""
        out = False
        for loss in self.trace.losses:
            reason = None if out else self._reason(loss)
            applies = loss.rule is None or _applies(loss.rule, self.columns)
            verdict = NOT_REACHED if out else DROPPED if reason else PASSED if applies else ELSEWHERE
            out = out or reason is not None
            yield Met(loss.place, loss.text, self._value(loss), self._cuts(loss), verdict, reason)

    def _reason(self, loss: Loss) -> str | None:
        """The reason for which the document was dropped there; None where it was not."""
        return self.columns["reason"] if loss.place == self.columns["dropped_by"] else None

    def _value(self, loss: Loss) -> object:
        """What the loss looks at: a column of the document, or its draw."""
        if loss.rule and loss.position is not None:
            drawn = loss.rule.drawn(self._rows(loss.position))
            if drawn is not None:
                return drawn
        if loss.place == WEIGHTS:
            return self.columns["weight"]
        return self.columns.get(loss.column) if loss.column else None

    def _cuts(self, loss: Loss) -> tuple[float | int | None, ...]:
        """The values at which the document's group was cut."""
        state = self.trace.state(loss)
        if not state or loss.position is None or loss.rule is None or loss.column is None:
            return ()
        if self.columns.get(loss.column) is None or not _applies(loss.rule, self.columns):
            return ()
        return loss.rule.cut_of(self._rows(loss.position), state, self.trace.columns[loss.column])

    def _rows(self, position: int) -> Rows:
        """The document as a rule sees it."""
        selection = Selection(self.trace.config.selection())
        return selection.drawing(selection.rows(self.table), position)


def _applies(rule: RuleSettings, columns: dict[str, Any]) -> bool:
    return all(columns.get(name) in values for name, values in rule.scope.items())
