"""Explains why a document was kept or dropped: every score, every rule it met in order, its cluster."""

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
    """Returns the explanation of the document at a row of a shard."""
    task = run.tasks()[shard]
    table = read_columns(task, run.store).slice(row, 1).combine_chunks()
    columns = table.to_pylist()[0]
    path, record = run.origin(shard, row)
    size = columns.get("cluster_size") or 1
    cluster = members(run, [columns["cluster_id"]], 0, RunnerSettings(), MEMBERS) if size > 1 else ()
    return Explanation(
        doc_id=columns["doc_id"],
        path=path,
        record=record,
        same_id=1,
        kept=columns["kept"],
        reason=columns["reason"],
        weight=columns["weight"],
        copies=columns["copies"],
        met=tuple(_way(Trace(run), table, columns)),
        columns={n: value for n, value in columns.items() if n not in DECISIONS and not isinstance(value, list)},
        cluster=tuple(described for *_, described in cluster),
        cluster_size=size,
        text=run.text(shard, row),
        cut=run.cut(shard, row, columns["cut_spans"][:SPANS]) if columns.get("cut_spans") else (),
    )


def _way(trace: Trace, table: pa.Table, columns: dict[str, Any]) -> Iterator[Met]:
    """Yields every step as one document meets it; after the one that drops it, the others are not reached."""
    if trace.plan is None:
        raise UserError("RUN: must have its store, got none of its selections there; run it again")
    selection, out = Selection(trace.run.config.selection()), False
    for loss in trace.losses:
        position = loss.position
        row = None if position is None else selection.drawing(selection.rows(table), position)
        reason = columns["reason"] if loss.place == columns["dropped_by"] and not out else None
        applies = loss.rule is None or all(columns.get(name) in values for name, values in loss.rule.scope.items())
        verdict = NOT_REACHED if out else DROPPED if reason else PASSED if applies else ELSEWHERE
        out = out or reason is not None
        cuts = _cuts(trace, loss, row, columns) if applies else ()
        parts = tuple(_parts(trace, loss, row)) if verdict in (PASSED, DROPPED) else ()
        yield Met(loss.place, loss.text, _value(loss, row, columns), cuts, verdict, reason, parts)


def _parts(trace: Trace, loss: Loss, row: Rows | None) -> Iterator[Met]:
    """Yields the rules inside a rule, with what each says of the document; a list may have gone since the run."""
    if loss.rule is None or row is None:
        return
    try:
        verdicts = loss.rule.part_verdicts(row, trace.state(loss))
    except UserError as error:
        yield Met("rules", "", None, (), f"not known now: {error}")
        return
    for part in verdicts:
        verdict = ELSEWHERE if not part.applies else DROPPED if part.reason else PASSED
        column = part.rule.ranked_column
        ranks = column is not None and part.state and part.value is not None
        cuts = part.rule.cut_of(part.rows, part.state, trace.columns[str(column)]) if ranks else ()
        reason = part.reason if part.applies else None
        yield Met(part.place, part.rule.describe(), part.value, cuts, verdict, reason)


def _value(loss: Loss, row: Rows | None, columns: dict[str, Any]) -> object:
    """What the loss looks at: a column of the document, or its draw."""
    drawn = loss.rule.drawn(row) if loss.rule and row else None
    if drawn is not None:
        return drawn
    return columns["weight"] if loss.place == WEIGHTS else columns.get(loss.column) if loss.column else None


def _cuts(trace: Trace, loss: Loss, row: Rows | None, columns: dict[str, Any]) -> tuple[float | int | None, ...]:
    """The values at which the document's group was cut."""
    state = trace.state(loss)
    if not state or row is None or loss.rule is None or loss.column is None or columns.get(loss.column) is None:
        return ()
    return loss.rule.cut_of(row, state, trace.columns[loss.column])
