"""Why a document was kept or dropped: every score, every rule it met in order, its cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.runner import RunnerSettings
from siftlm.errors import UserError
from siftlm.inspect.clusters import members
from siftlm.inspect.run import FinishedRun
from siftlm.inspect.trace import Rulebook, Step
from siftlm.report.view import Explanation, Met
from siftlm.selectors import DECISION_SCHEMA, Plan, decide, keep_rows
from siftlm.selectors.plan import WEIGHTS
from siftlm.selectors.reasons import HELD_OUT
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.sample import Sample
from siftlm.stages.columns import PRESELECT, REFERENCE, read_columns
from siftlm.statistics.hashing import uniform

PASSED, DROPPED, ELSEWHERE, NOT_REACHED = "passed", "dropped", "does not apply", "not reached"
MEMBERS = 20  # of its cluster that are told
SPANS = 20  # cut of it that are told
DECISIONS = frozenset(DECISION_SCHEMA.names)


def explain(folder: str, doc_id: str) -> Explanation:
    """The explanation of the first document with that id.

    Raises:
        UserError: the run has no such document.
    """
    run = FinishedRun.open(folder)
    places = list(find(run, doc_id))
    if not places:
        raise UserError(f"DOC_ID: must be the id of a document of the run, got {doc_id!r}")
    return replace(explain_row(run, *places[0]), same_id=len(places))


def find(run: FinishedRun, doc_id: str) -> Iterator[tuple[int, int]]:
    """(shard, row) of every document with that id, in the order of the run."""
    for task in run.tasks():
        ids = read_columns(task, run.store, {"doc_id"})["doc_id"]
        yield from ((task.shard, int(row)) for row in np.flatnonzero(pc.equal(ids, doc_id).to_numpy()))


def explain_row(run: FinishedRun, shard: int, row: int) -> Explanation:
    """The explanation of the document at a place."""
    task = run.tasks()[shard]
    table = read_columns(task, run.store).slice(row, 1).combine_chunks()
    columns = table.to_pylist()[0]
    way = _Way(Rulebook(run), table, columns)
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

    def __init__(self, book: Rulebook, table: pa.Table, columns: dict[str, Any]) -> None:
        self.book, self.table, self.columns = book, table, columns
        if book.plan is None:
            raise UserError(f"{book.run.folder}: must have its store, got none of its selections there; run it again")
        self.plan: Plan = book.plan

    def walk(self) -> Iterator[Met]:
        """Every step; after the one that drops the document, the others are not reached."""
        out = False
        for step in self.book.steps():
            reason = None if out else self._reason(step)
            applies = step.rule is None or _applies(step.rule, self.columns)
            verdict = NOT_REACHED if out else DROPPED if reason else PASSED if applies else ELSEWHERE
            out = out or reason is not None
            yield Met(step.place, step.text, self._value(step), self._cuts(step), verdict, reason)

    def _reason(self, step: Step) -> str | None:
        """The reason for which a step drops the document; None where it does not."""
        if step.position is not None:
            return self._decided(self._until(step.position))
        if step.rule is not None:
            return self._preselected(step.rule, int(step.place.removeprefix(f"{PRESELECT}.")))
        if step.place == REFERENCE:
            held_out = self.book.config.survivors().held_out(self.table["doc_id"].combine_chunks())
            return HELD_OUT if held_out[0] else None
        if step.place == WEIGHTS:
            return self._decided(self.plan)
        return self.columns["reason"] if step.place == self.columns["dropped_by"] else None

    def _until(self, position: int) -> Plan:
        """The plan without the rules below `position` and without weights."""
        rules = self.plan.settings.rules[: position + 1]
        settings = self.plan.settings.model_copy(update={"rules": rules, "weights": None})
        return Plan(settings, (*self.plan.cuts[: position + 1], ()), done=True)

    def _decided(self, plan: Plan) -> str | None:
        reason: str | None = decide(self.table, plan)["reason"][0].as_py()
        return reason

    def _preselected(self, rule: RuleSettings, number: int) -> str | None:
        seed = self.book.config.seed
        dropped = keep_rows(rule, self.table, np.ones(1, np.bool_), seed, f"preselect {number}")
        return next((reason for reason, mask in dropped if mask[0]), None)

    def _value(self, step: Step) -> object:
        """What the step looks at: a column of the document, or its draw."""
        if isinstance(step.rule, Sample) and step.position is not None:
            kinds = [rule.kind for rule in self.plan.settings.rules[: step.position]]
            draw = self._rows().draw(f"{step.rule.kind} {kinds.count(step.rule.kind)}")
            return float(uniform(draw)[0])
        if step.place == WEIGHTS:
            return self.columns["weight"]
        return self.columns.get(step.column) if step.column else None

    def _cuts(self, step: Step) -> tuple[float | int | None, ...]:
        """The values at which the document's group was cut."""
        if step.position is None or step.rule is None or not self.plan.cuts[step.position]:
            return ()
        if self.columns.get(step.column or "") is None or not _applies(step.rule, self.columns):
            return ()
        rule, cuts = self.plan.settings.rules[step.position], self.plan.cuts[step.position][0]
        group = rule.ranked(self._rows(), 0, (), "").group
        known = np.isin(group, cuts.groups) | np.isin(group | np.uint64(2**64 - 16), cuts.groups)
        return self.book.values(rule, cuts, int(cuts.rows(group)[0])) if known.all() else ()

    def _rows(self) -> Rows:
        return Rows.of(self.table, self.plan.settings.seed, self.plan.settings.tokens)


def _applies(rule: RuleSettings, columns: dict[str, Any]) -> bool:
    scope = rule.when.lists() if rule.when else {}
    return all(columns.get(name) in values for name, values in scope.items())
