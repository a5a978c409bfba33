"""Decides which documents are dropped before any model scores them, and stores the reasons.

In this order: a duplicate, a document of which cuts left nothing, one that trains the reference model, one that a
`preselect` rule drops. Later steps read the answer here, and their keys depend on nothing else of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, ShardStep, Told
from siftlm.selectors import RowRule, keep_rows
from siftlm.selectors.lists.counts import LISTS, count_matches, listings, told
from siftlm.selectors.reasons import ALL_CUT, HELD_OUT
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Listing, flattened, warned
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.columns import ELIGIBLE, read_columns
from siftlm.stages.commonness.work import STAGE as COMMONNESS
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.places import DEDUP, DEDUP_PARAGRAPHS, PRESELECT, REFERENCE
from siftlm.stages.texts import IDS, PARAGRAPHS
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Marker, Store

VERSION = 1
SCHEMA = pa.schema([pa.field("reason", pa.string()), pa.field("dropped_by", pa.string())])  # null for who is not out
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Split:
    """Decides which documents are dropped before any rule: duplicates, those cut to nothing, those that train a model.

    `holdout` is the share of the deduplicated documents, by a keyed draw, that train a model.
    """

    holdout: float = 0.0
    seed: int = 0
    drops: bool = True  # whether duplicates are out

    reads = (SIGNALS, IDS, CLUSTERS, PARAGRAPHS)

    def identity(self) -> object:
        return self.holdout, self.seed, self.drops

    def held_out(self, doc_ids: pa.Array) -> BoolArray:
        """Returns a mask of the documents that are drawn, by their ids, to train the reference model."""
        return np.asarray(uniform(keyed(hash_strings(doc_ids), self.seed, REFERENCE)) < self.holdout, np.bool_)

    def losses(self, task: Task, store: Store) -> np.ndarray:
        """Returns why each row of a shard is dropped and by which step, object[rows, 2], else None."""
        names = {"doc_id", "duplicate"} | ({"byte_count", "cut_count"} if PARAGRAPHS in task.inputs else set())
        table = read_columns(task, store, names)
        losses = np.full((table.num_rows, 2), None, object)
        if self.drops and "duplicate" in table.schema.names:
            kinds = table["duplicate"].combine_chunks()
            for kind in kinds.unique().drop_null().to_pylist():
                rows = pc.fill_null(pc.equal(kinds, kind), False)
                losses[rows.to_numpy(zero_copy_only=False)] = f"{kind}_duplicate", DEDUP
        if PARAGRAPHS in task.inputs:
            emptied = pc.and_(pc.equal(table["byte_count"], 0), pc.greater(table["cut_count"], 0)).to_numpy()
            losses[emptied & alive(losses)] = ALL_CUT, DEDUP_PARAGRAPHS
        if self.holdout:
            losses[self.held_out(table["doc_id"].combine_chunks()) & alive(losses)] = HELD_OUT, REFERENCE
        return losses


@dataclass(frozen=True)
class Eligible(ShardStep):
    """Decides which documents of a shard are dropped before any model scores them."""

    split: Split
    rules: tuple[RowRule, ...] = ()
    name: str = ELIGIBLE
    reads: tuple[str, ...] = (*Split.reads, COMMONNESS)

    def identity(self) -> object:
        return VERSION, self.split.identity(), [rule.content() for rule in self.rules]

    def losses(self) -> Sequence[Loss]:
        return [
            Loss(place, rule.describe(), rule.ranked_column, rule) for place, rule in flattened(PRESELECT, self.rules)
        ]

    def run(self, task: Task, store: Store) -> Marker:
        losses = self.split.losses(task, store)
        table = read_columns(task, store, {"doc_id"}.union(*(rule.columns() for rule in self.rules)))
        for place, rule in flattened(PRESELECT, self.rules):
            draws = " ".join(place.split(".")[:2])
            for reason, rows in keep_rows(rule, table, alive(losses), self.split.seed, draws):
                losses[rows] = reason, place
        out = pa.table([pa.array(column.copy(), pa.string()) for column in losses.T], schema=SCHEMA)
        with store.writer(ELIGIBLE, task.key, SCHEMA) as file:
            for batch in out.to_batches(max_chunksize=BATCH_ROWS):
                file.write(batch)
        dropped = Counter(reason for reason in losses[:, 0] if reason is not None)
        matches = count_matches(self._listings(), Rows.of(table, self.split.seed, None))
        facts = {LISTS: matches} if matches else {}
        return task.marker(ELIGIBLE, file.rows, file.seal, dropped=dropped, content=file.seal.digest, **facts)

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns how many documents have a value of each list that a rule names, and what has no effect."""
        unmatched, statistics = told(self._listings(), (marker.facts.get(LISTS, {}) for marker in markers))
        return Told([*warned(PRESELECT, self.rules), *unmatched], statistics)

    def _listings(self) -> list[Listing]:
        return listings(flattened(PRESELECT, self.rules))


def out_already(task: Task, store: Store, rows: int | None = None) -> tuple[pa.Array, pa.Array]:
    """Returns why each document of a shard is dropped and by which step, null for eligible documents.

    `rows` is the number of documents, for callers that know it.
    """
    if ELIGIBLE not in task.inputs:
        rows = store.rows(DOCUMENTS, task.inputs[DOCUMENTS]) if rows is None else rows
        return pa.nulls(rows, pa.string()), pa.nulls(rows, pa.string())
    table = store.table(ELIGIBLE, task.inputs[ELIGIBLE])
    return table["reason"].combine_chunks(), table["dropped_by"].combine_chunks()


def alive(losses: np.ndarray) -> BoolArray:
    """Returns a mask of the rows that have not been dropped for any reason yet."""
    return np.array([reason is None for reason in losses[:, 0]], np.bool_)
