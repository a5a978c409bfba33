"""Reads the edited documents and writes to signals/ the columns that cheap scorers compute for every document."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, ShardStep, Told
from siftlm.scorers import NamedSettings, ScorerSettings, open_scorer, pinned
from siftlm.scorers.protocol import ragged_text
from siftlm.stages.edit import EDITED, edited_batches
from siftlm.store import Marker, Store

VERSION = 1
STAGE = "signals"
BATCH_DOCUMENTS = 1024
CARRIED = ("doc_id", "domain", "source", "byte_count", "url", "position")
"""Columns of the document that are copied, so that later stages read no text."""


@dataclass(frozen=True)
class Annotate(ShardStep):
    """Computes the configured scorers' columns and the content hash of every document of a shard."""

    scorers: tuple[ScorerSettings, ...]
    name: str = STAGE
    reads: tuple[str, ...] = EDITED

    def identity(self) -> object:
        return VERSION, self.digests()

    def digests(self) -> list[str]:
        """Returns the digest of every configured scorer, which covers its model files too."""
        return [open_scorer(settings).digest() for settings in self.scorers]

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks with the scorers' digests, by which workers check that their model files are the same."""
        digests = self.digests()
        return [replace(task, facts={**task.facts, "scorers": digests}) for task in super().tasks(shards, store)]

    def columns(self) -> pa.Schema:
        carried = [DOCUMENT_SCHEMA.field(name) for name in CARRIED]
        scored = [column for settings in self.scorers for column in open_scorer(settings).fields()]
        return pa.schema([*carried, pa.field("content_hash", pa.binary(16), nullable=False), *scored])

    def run(self, task: Task, store: Store) -> Marker:
        scorers = [open_scorer(settings) for settings in self.scorers]
        failures = Failures(tuple(column for scorer in scorers if (column := scorer.errors())))
        with (
            pinned(list(zip(scorers, task.facts["scorers"], strict=True))),
            store.writer(STAGE, task.key, self.columns()) as signals,
        ):
            for batch in edited_batches(task, store, rows=BATCH_DOCUMENTS):
                annotated = self.annotate(batch)
                failures.count(annotated)
                signals.write(annotated)
        return task.marker(STAGE, signals.rows, signals.seal, errors=failures.first, failures=dict(failures.every))

    def parts(self, task: Task, store: Store) -> dict[str, float]:
        """Returns the seconds of each scorer on the documents of a rehearsed task."""
        batches = list(edited_batches(task, store, rows=BATCH_DOCUMENTS))
        return {_name(settings): _seconds(settings, batches) for settings in self.scorers}

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns a warning for every scorer that failed on documents, whose columns are null there."""
        every = sum((Counter(marker.facts.get("failures", {})) for marker in markers), Counter[str]())
        documents = sum(marker.rows_in for marker in markers)
        return Told(
            [
                f"annotate: {count:,} of {documents:,} documents have an error in {column!r}, and null in the columns "
                "beside it; errors.parquet has them"
                for column, count in sorted(every.items())
            ]
        )

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the signal columns of a batch of documents."""
        columns: dict[str, Any] = {name: batch[name] for name in CARRIED}
        columns["content_hash"] = content_hashes(batch["text"])
        for settings in self.scorers:
            scored = open_scorer(settings).score(batch)
            columns.update(zip(scored.schema.names, scored.columns, strict=True))
        return pa.RecordBatch.from_pydict(columns, schema=self.columns())


def _name(settings: ScorerSettings) -> str:
    return settings.name if isinstance(settings, NamedSettings) else settings.kind


def _seconds(settings: ScorerSettings, batches: Sequence[pa.RecordBatch]) -> float:
    started = time.monotonic()
    for batch in batches:
        open_scorer(settings).score(batch)
    return time.monotonic() - started


@dataclass
class Failures:
    """Counts the documents that scorers failed on, by the columns that say so."""

    columns: tuple[str, ...]
    first: Counter[str] = field(default_factory=Counter)  # a document once, at the first of the scorers
    every: Counter[str] = field(default_factory=Counter)

    def count(self, batch: pa.RecordBatch) -> None:
        """Counts the failures in a batch of annotated documents."""
        counted = np.zeros(batch.num_rows, np.bool_)
        for column in self.columns:
            failed = batch[column].is_valid().to_numpy(zero_copy_only=False)
            self.every[column] += int(np.count_nonzero(failed))
            self.first[column] += int(np.count_nonzero(failed & ~counted))
            counted |= failed


def content_hashes(texts: pa.LargeStringArray) -> pa.Array:
    """Returns the xxh3-128 hash of the UTF-8 bytes of every text, in big-endian order."""
    values, offsets = ragged_text(texts)
    view = memoryview(values)  # type: ignore[arg-type]  # numpy arrays have had the buffer protocol before it had a type
    hashes = [xxhash.xxh3_128_digest(view[start:end]) for start, end in pairwise(offsets)]
    return pa.array(hashes, pa.binary(16))
