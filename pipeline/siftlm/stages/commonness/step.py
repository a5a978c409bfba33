"""Defines the step that measures how common documents are, from documents/ and clusters/ to commonness/."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa

from siftlm.engine.drive import Context, run_graph
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.engine.step import Shard, ShardStep
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA, NGRAMS, STAGE, VERSION, NgramTable, counted_texts, table_of
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.texts import TEXTS
from siftlm.statistics.exponential import exp_negative
from siftlm.store import Marker, Store, digest


@dataclass(frozen=True)
class Commonness(ShardStep):
    """Counts the n-grams of the corpus, unless already counted, and computes every document's commonness from them."""

    settings: CommonnessSettings
    drops: bool  # whether duplicates are out
    name: str = STAGE
    reads: tuple[str, ...] = (*TEXTS, CLUSTERS)
    per: ClassVar[Literal["corpus"]] = "corpus"

    def identity(self) -> object:
        return VERSION, self.drops, self.settings.model_dump()

    def columns(self) -> pa.Schema:
        return COMMONNESS_SCHEMA

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with the key of the n-gram table, which does not depend on `prior`."""
        counted = self.settings.model_dump(exclude={"prior"})
        table = digest(NGRAMS, VERSION, self.drops, counted, [shard.contents(self.reads) for shard in shards])
        return [replace(task, facts={**task.facts, NGRAMS: table}) for task in super().tasks(shards, store)]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        if not tasks:
            return []
        ngrams = self._ngrams(tasks[0], context.store)
        done = context.store.committed(STAGE, (task.key for task in tasks))
        if len(done) < len(tasks) and not ngrams.is_done():
            run_graph(NGRAMS, tasks, ngrams, context)
        try:
            return super().work(tasks, context)
        finally:
            table_of.cache_clear()

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:
        return [(NGRAMS, tasks[0].facts[NGRAMS])] if tasks else []

    def run(self, task: Task, store: Store) -> Marker:
        """Writes a shard's commonness column from the finished n-gram table, which a process's threads share."""
        from siftlm_kernels.commonness import mean_nll

        ngrams = self._ngrams(task, store)
        with _READING:
            table = table_of(store, ngrams.paths())
        with store.writer(STAGE, task.key, COMMONNESS_SCHEMA) as out:
            for text, alive in counted_texts(task, store, self.drops):
                nll = np.full(len(alive), np.nan)
                nll[alive] = mean_nll(*text, table, ngram=self.settings.ngram, prior=self.settings.prior)
                unknown = np.isnan(nll)
                column = pa.array(exp_negative(np.where(unknown, 0.0, nll)), mask=unknown)
                out.write(pa.RecordBatch.from_arrays([column], schema=COMMONNESS_SCHEMA))
        return task.marker(STAGE, out.rows, out.seal)

    def rehearse(self, task: Task, store: Store) -> None:
        ngrams = self._ngrams(task, store)
        for part, where in ngrams.count(task):
            ngrams.add(part, [where])
        super().rehearse(task, store)

    def _ngrams(self, task: Task, store: Store) -> NgramTable:
        # Links of its own, since another run may do the same in the same store and clear them away.
        return NgramTable(self.settings, self.drops, Links(store, uuid.uuid4().hex), task.facts[NGRAMS])


_READING = threading.Lock()
