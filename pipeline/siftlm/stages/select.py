"""Decides for every document whether it is kept, with a weight and copies, or dropped with a reason.

Ranked rules need statistics of the whole corpus: each pass maps the shards to small mergeable statistics and
combines them. Rows that duplicates, the held-out split, preselection or a scoring error took out keep that reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, ShardStep, Told
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.seals import Seal
from siftlm.selectors import DECISION_SCHEMA, DROPPED_BY, DROPPED_REASON, Plan, Selection, SelectSettings
from siftlm.selectors.lists.counts import LISTS, count_matches, listings, told
from siftlm.selectors.reasons import ERROR
from siftlm.selectors.weights import WEIGHTS
from siftlm.stages.columns import DECISIONS, SCORES, read_columns
from siftlm.stages.eligible import out_already
from siftlm.stages.passes import search
from siftlm.stages.places import FAILED
from siftlm.stages.portions import Portion
from siftlm.stages.weighing import Repetition, told_of_weights, weight_facts
from siftlm.statistics.exact import exact_sum
from siftlm.statistics.passes import Partial
from siftlm.store import Marker, Store, digest

VERSION = 4
PLAN_VERSION = 2  # of the file with what was found of the corpus
STAGE = DECISIONS
SELECTIONS = "selections"  # folder of the store with what a selection has learnt of the corpus


def losses(decisions: pa.RecordBatch) -> list[tuple[str, str, int]]:
    """Returns (step, reason, number of documents) for every reason that dropped documents."""
    step, reason = decisions["dropped_by"], decisions["reason"]
    out = step.is_valid()
    counted = Counter(zip(step.filter(out).to_pylist(), reason.filter(out).to_pylist(), strict=True))
    return sorted((step, reason, documents) for (step, reason), documents in counted.items())


def _by_reason(lost: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for _, reason, documents in lost:
        counted[reason] += documents
    return dict(sorted(counted.items()))


def _sizes(
    unit: str, sizes: np.ndarray, copies: np.ndarray, weight: np.ndarray, repeats: np.ndarray | None
) -> dict[str, Any]:
    """A size of what is kept: once a document, expected by the weights (exact, see `exact_sum`), and as written.

    `repeats` is how often each document counts in the output, None for once; what that is worth is counted too.
    """
    kept = int(sizes[copies > 0].sum())
    repetition = Repetition.once(kept) if repeats is None else Repetition.of(sizes, repeats)
    return {
        f"kept_{unit}": kept,
        f"weighted_{unit}": hex(exact_sum(weight * sizes)),
        f"written_{unit}": int((copies * sizes).sum()),
        f"repetition_{unit}": repetition.facts(),
    }


@dataclass(frozen=True)
class Decisions(ShardStep):
    """Computes the corpus statistics that the selection needs, then decides on the documents of each shard."""

    settings: SelectSettings
    reads: tuple[str, ...]  # every step before
    name: str = STAGE
    per: ClassVar[Literal["corpus"]] = "corpus"

    def identity(self) -> object:
        return VERSION, self.settings.content(exclude={"entry_limit"})

    def losses(self) -> Sequence[Loss]:
        rules = [
            Loss(place, rule.describe(), rule.ranked_column, rule, position)
            for position, (place, rule) in enumerate(self.settings.placed())
        ]
        weighed = [Loss(WEIGHTS, "has a weight, and a copy where copies are drawn")] if self.settings.weights else []
        return [*rules, *weighed]

    @property
    def selection(self) -> Selection:
        return Selection(self.settings)

    def read(self, task: Task, store: Store, extra: frozenset[str] = frozenset()) -> pa.Table:
        """Returns the columns that rules name, with the reason and step of documents that were already dropped."""
        table = read_columns(task, store, self.settings.columns() | extra)
        reasons, places = out_already(task, store, table.num_rows)
        for stage, key in task.inputs.items():
            if stage.startswith(SCORES):
                name = stage.removeprefix(SCORES)
                errors = store.table(stage, key, ["error"])["error"].combine_chunks()
                places = pc.coalesce(places, pc.if_else(pc.is_valid(errors), FAILED + name, None))
                reasons = pc.coalesce(reasons, pc.binary_join_element_wise(errors, name + ERROR, "_"))
        return table.append_column(DROPPED_REASON, reasons).append_column(DROPPED_BY, places)

    def observe(self, rows: Portion, state: Plan) -> Partial:
        """Returns the statistics of these documents that the current pass of the selection needs."""
        return self.selection.observe(rows.table, state)

    def settle(self, state: Plan, partial: Partial | None) -> Plan:
        """Returns the selection's plan after a pass, given the merged statistics of all shards."""
        return self.selection.settle(state, partial)

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:
        return [(SELECTIONS, digest(PLAN_VERSION, [task.key for task in tasks]))]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        store = context.store
        done = store.committed(STAGE, (task.key for task in tasks))
        path = plan_path(store, [task.key for task in tasks])
        if not store.holds_sealed(path) or len(done) < len(tasks):
            plan = search("select", self, self.selection.begin(), path, tasks, context)
            write_value(path, plan, store)
        return super().work([replace(task, facts={**task.facts, "plan": path}) for task in tasks], context)

    def run(self, task: Task, store: Store) -> Marker:
        table = self.read(task, store, frozenset({"byte_count"}))
        rows = self.selection.rows(table)
        decisions = self.selection.decide_rows(rows, read_value(task.facts["plan"], store))
        matches = count_matches(listings(self.settings.placed()), rows)
        weight = pc.fill_null(decisions["weight"], 0.0)
        decisions = decisions.set_column(2, DECISION_SCHEMA.field("weight"), weight)
        with store.writer(STAGE, task.key, DECISION_SCHEMA) as out:
            for batch in pa.Table.from_batches([decisions]).to_batches(max_chunksize=16_384):
                out.write(batch)
        marker = self._marker(task, table, decisions, out.seal)
        return replace(marker, facts={**marker.facts, **({LISTS: matches} if matches else {})})

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns what lists matched, what has no effect, and what the weights made of the selection."""
        facts = [marker.facts for marker in markers]
        unmatched, statistics = told(listings(self.settings.placed()), (of_shard.get(LISTS, {}) for of_shard in facts))
        weighed = told_of_weights(self.settings, facts)
        warnings = [*self.settings.warnings(), *unmatched, *weighed.warnings]
        return replace(weighed, warnings=warnings, statistics={**statistics, **weighed.statistics})

    def _marker(self, task: Task, table: pa.Table, decisions: pa.RecordBatch, seal: Seal) -> Marker:
        lost = losses(decisions)
        failed = [loss for loss in lost if loss[0].startswith(FAILED)]
        copies = np.where(decisions["kept"], decisions["copies"], 0).astype(np.int64)
        sizes = table["byte_count"].to_numpy()
        facts: dict[str, Any] = {"copies": int(copies.sum()), "dropped_bytes": int(sizes[copies == 0].sum())}
        weight = np.where(copies > 0, decisions["weight"], 0.0)
        repeats = self._repeats(copies, weight)
        facts |= {"lost": lost, "weighted_documents": hex(exact_sum(weight))}
        facts |= _sizes("bytes", sizes, copies, weight, repeats)
        if self.settings.tokens:
            tokens = pc.fill_null(table[self.settings.tokens], 0).to_numpy()
            facts |= _sizes("tokens", tokens, copies, weight, repeats)
        if repeats is not None:
            facts |= weight_facts(self.settings, table, decisions, repeats)
        return Marker(
            stage=STAGE,
            key=task.key,
            shard=task.name,
            rows_in=decisions.num_rows,
            rows_out=int((copies > 0).sum()),
            dropped=_by_reason(loss for loss in lost if loss not in failed),
            errors=_by_reason(failed),
            files={".parquet": seal},
            facts=facts,
        )

    def _repeats(self, copies: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        """How often each document counts: its written copies, or its weight; None where every document counts once."""
        if self.settings.weights is None:
            return None
        return copies.astype(np.float64) if self.settings.weights.materialise else weight

    def rehearse(self, task: Task, store: Store) -> None:
        """Reads the sample's columns once for every pass that the rules need, and once more to decide."""
        factors = self.settings.weights.factors if self.settings.weights else []
        for _ in range(1 + sum(part.passes for part in [*self.selection.rules, *factors])):
            self.read(task, store)


def plan_path(store: Store, keys: Sequence[str]) -> str:
    """Returns the path of the selection's plan for the decisions with these keys."""
    return store.path(SELECTIONS, digest(PLAN_VERSION, list(keys)), SUFFIX)
