"""Defines what the steps that write scores/<name> have in common, whichever model scores a document."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter
from typing import ClassVar

import pyarrow as pa

from siftlm.engine.devices.pool import WantedDevice
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, Row, ShardStep
from siftlm.scorers import DocumentModelSettings, ScoreSettings
from siftlm.scorers.token_masks import MASK, MASKED
from siftlm.stages.columns import SCORES
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.places import FAILED
from siftlm.stages.portions import batched
from siftlm.stages.scoring import COMPARED, SEEN, TOKENS
from siftlm.stages.texts import document_batches
from siftlm.store import Marker, Store

VERSION = 1
MASKS = "Masks of tokens"
HOLD_OUT = "hold them out, or score them by the folds of [reference]"  # where a model has seen what it scores
COPIES = "find their copies by [dedup]"  # where it can have seen no more than these
WINDOW_BYTES = 128 << 20  # text of a window; two are held at a time, beside what the model itself needs


class ScoreStep(ShardStep):
    """Scores documents, and writes scores/<name>."""

    settings: ScoreSettings
    by_model: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return SCORES + self.settings.name

    @property
    def wanted(self) -> WantedDevice:
        return wanted(self.settings)

    def identity(self) -> object:
        return VERSION, self.settings.model_dump()

    def columns(self) -> pa.Schema:
        return pa.schema(self.settings.columns())

    def losses(self) -> Sequence[Loss]:
        return [Loss(f"{FAILED}{self.settings.name}", "could be scored")]

    @abstractmethod
    def pinned(self, task: Task) -> AbstractContextManager[None]:
        """Loads the models of a task for a block, and raises UserError if their files change before it ends."""

    def load(self, task: Task) -> None:
        with self.pinned(task):
            pass

    def stand_in(self, task: Task, store: Store) -> Marker:
        return nulls(self.name, pa.schema(self.settings.scorer().fields()), task, store)

    def leaks(self, markers: Sequence[Marker], mend: str) -> list[str]:
        """Returns a sentence on documents whose model was trained on them, which ends with what mends it."""
        counts = sum((Counter(marker.facts.get("seen", {})) for marker in markers), Counter[str]())
        if not counts[SEEN]:
            return []
        share = counts[SEEN] / counts[COMPARED]
        return [
            f"score {self.settings.name!r}: its model was trained on about {share:.1%} of the documents that it "
            f"scores, whose perplexity is too low; {mend}"
        ]

    def masks(self, markers: Sequence[Marker]) -> Mapping[str, Sequence[Row]]:
        """Returns the table of masks of tokens: how many each marks, and how large it is; none without a mask."""
        counts = sum((Counter(marker.facts.get("masks", {})) for marker in markers), Counter[str]())
        tokens = max(1, counts[TOKENS])
        rows: list[Row] = [
            {
                "mask": f"{self.settings.name}_{name}",
                "marked tokens": counts[f"{name}{MASKED}"],
                "share of tokens": counts[f"{name}{MASKED}"] / tokens,
                "bytes": counts[f"{name}{MASK}"],
                "bytes a token": counts[f"{name}{MASK}"] / tokens,
            }
            for name in self.settings.masks
        ]
        return {MASKS: rows} if rows else {}


def text_windows(store: Store, task: Task, rows: int, size: int) -> Iterator[pa.RecordBatch]:
    """Yields the texts of a shard in windows of at most so many rows and about so many bytes."""
    documents = document_batches(task, store, rows=min(rows, 512), columns=["text"])
    for batches in batched(documents, (attrgetter("num_rows"), rows), (attrgetter("nbytes"), size)):
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches()


def wanted(model: ScoreSettings | DocumentModelSettings) -> WantedDevice:
    """Returns which device a model works on."""
    return WantedDevice(f"{model.place}.device", model.runs_on)


def nulls(stage: str, schema: pa.Schema, task: Task, store: Store) -> Marker:
    """Writes an output in which every value is null, and returns its marker."""
    rows = store.rows(DOCUMENTS, task.inputs[DOCUMENTS])
    with store.writer(stage, task.key, schema) as file:
        file.write(pa.RecordBatch.from_arrays([pa.nulls(rows, of.type) for of in schema], schema=schema))
    return task.marker(stage, file.rows, file.seal)
