"""Defines the step that finds duplicates: it reads signals/ and writes clusters/."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import pyarrow as pa

from siftlm.engine.drive import Context, markers_of, run_graph
from siftlm.engine.shards import Stopwatch, Task
from siftlm.engine.spill import Links
from siftlm.engine.step import Loss, Shard, Step
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.dedup.earlier import check_earlier, earlier_shards
from siftlm.stages.dedup.settings import STAGE, DedupSettings
from siftlm.stages.dedup.work import CLUSTER_SCHEMA, VERSION, Dedup, bucket_links, sizes
from siftlm.stages.places import DEDUP
from siftlm.stages.texts import IDS
from siftlm.store import Marker, Store, digest


@dataclass(frozen=True)
class Clusters(Step):
    """Finds the clusters of duplicates in the whole corpus, and the document that represents each cluster."""

    settings: DedupSettings
    name: str = STAGE
    reads: tuple[str, ...] = (SIGNALS, IDS)
    per: ClassVar[Literal["corpus"]] = "corpus"

    def identity(self) -> object:
        return VERSION, self.settings.model_dump(
            exclude={"partitions", "against", "paragraphs", "commonness", "signatures"}
        )

    def columns(self) -> pa.Schema:
        return CLUSTER_SCHEMA

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns tasks whose keys depend on the shards of earlier runs too."""
        made = super().tasks(shards, store)
        earlier = [sorted(task.inputs.items()) for task in earlier_shards(self.settings.against, made)]
        return [replace(task, key=digest(task.key, earlier)) for task in made] if earlier else made

    def losses(self) -> Sequence[Loss]:
        return [Loss(DEDUP, "represents its cluster of duplicates", "duplicate")]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        settings, store = self.settings, context.store
        done = store.committed(STAGE, (task.key for task in tasks))
        if len(done) < len(tasks):
            earlier = earlier_shards(settings.against, tasks)
            check_earlier(earlier, settings.shingles if settings.near else None)
            documents = context.documents + sum(int(task.facts["documents"]) for task in earlier)
            # A folder of its own, since another run may do the same in the same store and clear it away.
            links = Links(store, uuid.uuid4().hex)
            work = Dedup(settings, store, links, *sizes(settings, documents, context.runner), Stopwatch(len(tasks)))
            run_graph("dedup", [*earlier, *tasks], work, context)
        return markers_of(STAGE, tasks, done, store)

    def rehearse(self, task: Task, store: Store) -> None:
        stage = Dedup(self.settings, store, Links(store, "links"), partitions=1)
        bucket_links(span for _, span in stage.band_spans(task))
        stage.write_clusters(task, [])


def check(settings: DedupSettings) -> None:
    """Raises UserError if the runs in `against` cannot be compared with; needs no output of this run."""
    check_earlier(earlier_shards(settings.against, []), settings.shingles if settings.near else None)
