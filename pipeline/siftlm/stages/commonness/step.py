"""Makes the measure of commonness a step of a run: documents/ and clusters/ -> commonness/."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pyarrow as pa

from siftlm.engine.drive import Build, Context, run_graph, run_shards
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.engine.step import Shard, Step
from siftlm.stages.commonness.settings import CommonnessSettings
from siftlm.stages.commonness.work import (
    COMMONNESS_SCHEMA,
    NGRAMS,
    STAGE,
    VERSION,
    CountedDocuments,
    Measure,
    NgramTable,
    forget,
)
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.texts import TEXTS
from siftlm.store import Marker, Store, digest


@dataclass(frozen=True)
class Commonness(Step):
    """Counts the n-grams of the whole corpus, unless they are counted already, and measures every document by them."""

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
        """Names in each task the table of its n-grams, which does not depend on `prior`."""
        counted = self.settings.model_dump(exclude={"prior"})
        table = digest(NGRAMS, VERSION, self.drops, counted, [shard.contents(self.reads) for shard in shards])
        return [replace(task, facts={**task.facts, NGRAMS: table}) for task in super().tasks(shards, store)]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        if not tasks:
            return []
        store = context.store
        done = store.committed(STAGE, (task.key for task in tasks))
        # A folder of its own, since another run may do the same in the same store and clear it away.
        links = Links(store, uuid.uuid4().hex)
        ngrams = NgramTable(self.settings, CountedDocuments(store, self.drops), links, tasks[0].facts[NGRAMS])
        if len(done) < len(tasks) and not ngrams.is_done():

            def graph() -> Build:
                from siftlm.stages.commonness.graph import build

                return lambda pipeline, plan, workers: build(pipeline, ngrams, plan, workers)

            run_graph(NGRAMS, tasks, links, context, graph)
        try:
            return run_shards(self._measure(ngrams), tasks, store, context.runner)
        finally:
            forget()

    def rehearsed(self, task: Task, store: Store) -> None:
        ngrams = NgramTable(
            self.settings, CountedDocuments(store, self.drops), Links(store, "ngrams"), task.facts[NGRAMS]
        )
        for part, where in ngrams.count(task):
            ngrams.add(part, [where])
        store.commit(self._measure(ngrams).run(task, store))

    def _measure(self, ngrams: NgramTable) -> Measure:
        return Measure(self.settings, ngrams.corpus, tuple(ngrams.paths()))
