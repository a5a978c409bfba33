"""Reads documents by one transformers model, and writes the step models/<name>."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.devices.pool import WantedDevice
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, ShardStep, Told
from siftlm.scorers import DocumentModelSettings, open_document_model, pinned
from siftlm.stages.columns import ELIGIBLE, MODELS
from siftlm.stages.edit import EDITED, edited_batches
from siftlm.stages.eligible import out_already
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.portions import batched, with_rows
from siftlm.stages.score_step import WINDOW_BYTES, nulls, wanted
from siftlm.stages.scoring import Part, as_facts, known_rows, one_ahead, outputs_of, stored_facts
from siftlm.store import Marker, Store, digest

VERSION = 1
READ_ROWS = 512  # at a time


@dataclass(frozen=True)
class RateByModel(ShardStep):
    """Computes the columns of one model for the documents that are not yet dropped, null for the others.

    All documents are rated where a `preselect` rule names the columns (`early`). Texts are as edited, before paragraphs
    are cut. A key has two halves: the model and the documents, then which of them are eligible. What outputs
    with the same first half hold is taken over, for a value depends on no other document.
    """

    settings: DocumentModelSettings
    early: bool = False
    window_bytes: int = WINDOW_BYTES
    by_model: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return MODELS + self.settings.name

    @property
    def wanted(self) -> WantedDevice:
        return wanted(self.settings)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return EDITED if self.early else (*EDITED, ELIGIBLE)

    def identity(self) -> object:
        return VERSION, self.settings.model_dump()

    def columns(self) -> pa.Schema:
        return pa.schema(self.settings.columns())

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with the model's digest and the earlier outputs that it takes values from."""
        model = open_document_model(self.settings).digest()
        made = digest("model", VERSION, model)
        eligible = ["" if self.early else shard.content(ELIGIBLE) for shard in shards]
        halves = [(digest(made, s.contents(EDITED)), digest(e)) for s, e in zip(shards, eligible, strict=True)]
        outputs = zip(shards, outputs_of(self.name, halves, store), strict=True)
        return [shard.task(key, earlier=earlier, model=model) for shard, (key, earlier) in outputs]

    def run(self, task: Task, store: Store) -> Marker:
        started, told = time.monotonic(), 0
        scorer = open_document_model(self.settings)
        reasons = self._reasons(task, store)
        with (
            self._pinned(task),
            store.writer(self.name, task.key, self.columns(), metadata=as_facts(scorer.metadata())) as out,
        ):
            for part in one_ahead(self._parts(task, store, reasons)):
                rated = part.finish()
                told += pc.sum(rated[self.settings.looked_column]).as_py() or 0
                out.write(rated)
        dropped = {"not_alive": pc.sum(pc.is_valid(reasons)).as_py() or 0}
        seconds = round(time.monotonic() - started, 3)
        return task.marker(self.name, out.rows, out.seal, dropped=dropped, seconds=seconds, told=told)

    def load(self, task: Task) -> None:
        with self._pinned(task):
            pass

    def stand_in(self, task: Task, store: Store) -> Marker:
        return nulls(self.name, self.columns(), task, store)

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:
        """Returns what the files record about the model, and for how many documents its column of booleans is true.

        These are the documents that it read only the beginning of, say.
        """
        if not tasks:
            return Told()
        told = sum(int(marker.facts.get("told", 0)) for marker in markers)
        counted = {f"{self.settings.told}_documents": str(told)}
        facts = {"model": self.settings.model, "digest": tasks[0].facts["model"]} | counted
        return Told(models={self.settings.name: facts | stored_facts(store, self.name, tasks[0].key)})

    def _pinned(self, task: Task) -> AbstractContextManager[None]:
        return pinned([(open_document_model(self.settings), task.facts["model"])])

    def _reasons(self, task: Task, store: Store) -> pa.Array:
        """Why documents are out already; nothing of any where all of them are rated."""
        if self.early:
            return pa.nulls(store.rows(DOCUMENTS, task.inputs[DOCUMENTS]), pa.string())
        return out_already(task, store)[0]

    def _parts(self, task: Task, store: Store, reasons: pa.Array) -> Iterator[Part]:
        """The windows of the shard, each tokenised and begun, without the documents whose values are known."""
        scorer, mark = open_document_model(self.settings), self.settings.looked_column
        earlier = [store.table(self.name, key) for key in task.facts["earlier"]]
        for rows, documents in with_rows(self._windows(task, store)):
            alive = pc.is_null(reasons[rows]).to_numpy(zero_copy_only=False)
            known = known_rows(earlier, rows.start, documents.num_rows, mark)
            have = np.zeros(len(alive), bool) if known is None else pc.is_valid(known[mark]).to_numpy() & alive
            missing = alive & ~have
            inputs = scorer.tokenise(documents["text"].filter(pa.array(missing)))
            yield Part(self.columns(), missing, scorer.begin(inputs), have, known)

    def _windows(self, task: Task, store: Store) -> Iterator[pa.RecordBatch]:
        """The texts, uncut, in windows of bounded rows and bytes."""
        rows = self.settings.window_documents
        documents = edited_batches(task, store, rows=min(rows, READ_ROWS), columns=["text"])
        for batches in batched(documents, (attrgetter("num_rows"), rows), (attrgetter("nbytes"), self.window_bytes)):
            yield from pa.Table.from_batches(batches).combine_chunks().to_batches()
