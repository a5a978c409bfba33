"""Defines the step that cuts repeated text: it reads documents/ and clusters/ and writes paragraphs/."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import pyarrow as pa

from siftlm.engine.drive import Context, markers_of, run_graph
from siftlm.engine.runner import batch_size
from siftlm.engine.shards import Stopwatch, Task
from siftlm.engine.spill import Links
from siftlm.engine.step import Loss, Step, Told
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.edit import EDITED
from siftlm.stages.paragraphs.settings import ParagraphSettings
from siftlm.stages.paragraphs.work import CUT_SCHEMA, ENTRIES, TEXT_BYTES, VERSION, CommonParagraphs
from siftlm.stages.places import DEDUP_PARAGRAPHS
from siftlm.stages.texts import PARAGRAPHS
from siftlm.store import Marker, Store


@dataclass(frozen=True)
class Paragraphs(Step):
    """Cuts paragraphs that several documents of the corpus have; documents dropped as duplicates do not count."""

    settings: ParagraphSettings
    seed: int
    drops: bool  # whether duplicates are out
    name: str = PARAGRAPHS
    reads: tuple[str, ...] = (*EDITED, CLUSTERS)
    per: ClassVar[Literal["corpus"]] = "corpus"

    def identity(self) -> object:
        return VERSION, self.settings.model_dump(), self.seed, self.drops

    def columns(self) -> pa.Schema:
        return CUT_SCHEMA

    def losses(self) -> Sequence[Loss]:
        passes = f"has something left without the {self.settings.unit}s that others have"
        return [Loss(DEDUP_PARAGRAPHS, passes, "cut_share")]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        store = context.store
        done = store.committed(PARAGRAPHS, (task.key for task in tasks))
        if len(done) < len(tasks):
            # A folder of its own, since another run may do the same in the same store and clear it away.
            links, least = Links(store, uuid.uuid4().hex), max(self.settings.min_bytes, TEXT_BYTES)
            partitions = 1 + context.text_bytes // least // batch_size(context.runner, ENTRIES)
            watch = Stopwatch(len(tasks))
            work = CommonParagraphs(self.settings, self.seed, self.drops, store, links, partitions, watch)
            run_graph(PARAGRAPHS, tasks, work, context)
        return markers_of(PARAGRAPHS, tasks, done, store)

    def rehearse(self, task: Task, store: Store) -> None:
        stage = CommonParagraphs(self.settings, self.seed, self.drops, store, Links(store, "paragraphs"))
        stage.cut(task, [span for _, span in stage.common(0, [span for _, span in stage.spans(task)])])

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns how many documents lost paragraphs, how many paragraphs were cut, and their bytes."""
        facts = {"documents": "cut_documents", "paragraphs": "cut_paragraphs", "byte_count": "cut_bytes"}
        sums = {name: sum(int(marker.facts[fact]) for marker in markers) for name, fact in facts.items()}
        return Told(statistics={"cut": sums})
