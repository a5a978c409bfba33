"""Estimates documents and seconds of a run from a sample of its input.

The steps themselves are rehearsed over the sample in a store of its own, after one that warms them up: what is timed is
the work, not what Beam adds to it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.config import RunConfig
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.step import Output, Shard, Step
from siftlm.errors import UserError
from siftlm.patterns import InputFile
from siftlm.readers import InputSettings, claimed_records, read_shard
from siftlm.scorers import ScorerSettings, ScoreSettings
from siftlm.stages import annotate, write
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.ingest import to_documents
from siftlm.steps import steps
from siftlm.store import Marker, Store

SAMPLE_BYTES = 2 << 20  # of one file of every source
SAMPLE_FILES = 8  # that are tried until one has documents
MODEL_BYTES = 32 << 10  # of text of every source that the language models score and train on

SAMPLE = "sample"


@dataclass
class Estimate:
    """Holds the estimated documents, bytes and seconds of a run, summed over its sources.

    Each source is scaled from its sample to the whole input.
    """

    documents: float = 0.0
    text_bytes: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, of one core or one device
    parts: dict[str, dict[str, float]] = field(default_factory=dict)  # by stage, of each of its methods
    advice: dict[str, Sequence[str]] = field(default_factory=dict)  # by stage: what would make it faster

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def add_parts(self, stage: str, parts: Mapping[str, float], scale: float) -> None:
        """Adds the seconds of each method of a step, measured on a sample that stands for `scale` times as much."""
        of_stage = self.parts.setdefault(stage, {})
        for name, seconds in parts.items():
            of_stage[name] = of_stage.get(name, 0.0) + seconds * scale


def estimate(config: RunConfig, inputs: dict[str, list[InputFile]]) -> Estimate:
    """Estimates a run by running every step over a small sample of every source.

    Language models work over less of it.
    """
    estimated = Estimate()
    samples: list[pa.RecordBatch] = []
    for settings in config.input:
        files = inputs[settings.source]
        started = time.monotonic()
        batch, sampled_bytes = _sample(files, settings)
        scale = sum(file.size for file in files) / max(sampled_bytes, 1)
        estimated.add(DOCUMENTS, (time.monotonic() - started) * scale)
        if batch.num_rows:
            estimated.documents += batch.num_rows * scale
            estimated.text_bytes += _text_bytes(batch) * scale
            with tempfile.TemporaryDirectory() as folder:
                _rehearsed(config, batch.slice(0, 1), f"{folder}/warm", by_model=False)
                parts: dict[str, Mapping[str, float]] = {}
                for step, seconds in _rehearsed(config, batch, f"{folder}/timed", by_model=False, parts=parts).items():
                    estimated.add(step, seconds * scale)
                for step, of_step in parts.items():
                    estimated.add_parts(step, of_step, scale)
            samples.append(_first(batch, MODEL_BYTES))
    if samples:
        (batch,) = pa.Table.from_batches(samples).combine_chunks().to_batches()
        with tempfile.TemporaryDirectory() as folder:
            rehearsed = _rehearsed(config, batch, folder, by_model=True, advice=estimated.advice)
            for step, seconds in rehearsed.items():
                estimated.add(step, seconds * estimated.text_bytes / _text_bytes(batch))
    return estimated


def _sample(files: Sequence[InputFile], settings: InputSettings) -> tuple[pa.RecordBatch, float]:
    """The first documents of the first file that has any, and how many bytes of the files they stand for."""
    sampled = 0.0
    for file in files[:SAMPLE_FILES]:
        documents, share = _beginning(file, settings)
        sampled += file.size * share
        if documents:
            (batch,) = pa.Table.from_batches(documents).combine_chunks().to_batches()
            return batch, sampled
    return pa.RecordBatch.from_pylist([], DOCUMENT_SCHEMA), sampled


def _beginning(file: InputFile, settings: InputSettings) -> tuple[list[pa.RecordBatch], float]:
    """Documents of about SAMPLE_BYTES from the start of a file, and the share of the file that holds them."""
    if records := claimed_records(file.path, settings):  # the whole file is needed to read some of it
        documents, read = _documents(file.path, settings, SAMPLE_BYTES)
        return documents, read / records
    with filesystem.open_read(file.path) as stream:
        head = stream.read(SAMPLE_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(file.path))
        filesystem.write_bytes(path, head)
        documents, _ = _documents(path, settings, len(head) * 1000)
    return documents, len(head) / max(file.size, 1)


def _documents(path: str, settings: InputSettings, most: int) -> tuple[list[pa.RecordBatch], int]:
    """Batches of about `most` bytes of documents, and how many records they were read from."""
    documents: list[pa.RecordBatch] = []
    records = 0
    for read in read_shard(path, settings):
        records += read.documents.num_rows + len(read.rejects)
        if read.documents.num_rows:
            documents.append(to_documents(read.documents, settings.source))
        if sum(batch.nbytes for batch in documents) >= most:
            break
    return documents, records


def _rehearsed(
    config: RunConfig,
    batch: pa.RecordBatch,
    folder: str,
    *,
    by_model: bool,
    advice: dict[str, Sequence[str]] | None = None,
    parts: dict[str, Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """Seconds of every step over a batch of documents, as if all of it was kept.

    With `by_model` those of the steps in which a large language model works, whose advice is filled in, else those of
    all others, whose parts are.
    """
    store, seconds = Store(folder), dict[str, float]()
    with store.writer(DOCUMENTS, SAMPLE, DOCUMENT_SCHEMA) as out:
        for start in range(0, batch.num_rows, annotate.BATCH_DOCUMENTS):
            out.write(batch.slice(start, annotate.BATCH_DOCUMENTS))
    files = {".parquet": out.seal}
    store.commit(Marker(DOCUMENTS, SAMPLE, SAMPLE, batch.num_rows, batch.num_rows, files=files))
    facts = {"source": batch["source"][0].as_py()}
    shards = [Shard(0, SAMPLE, facts, {DOCUMENTS: Output(SAMPLE, SAMPLE)})]
    for step in steps(config)[1:]:
        large = step.by_model and not _is_small(step)
        if large and not by_model:
            task = shards[0].task(SAMPLE)
            if stands_in := step.stand_in(task, store):
                store.commit(stands_in)
                shards = step.outputs(shards, [task], [stands_in])
            continue
        tasks = step.tasks(shards, store)
        started = time.monotonic()
        try:
            told = step.rehearse(tasks[0], store)
        except UserError:  # a sample that is too small to train on
            break
        if large == by_model:
            seconds[step.name] = time.monotonic() - started if told is None else told
            if parts is not None and (of_step := step.parts(tasks[0], store)):
                parts[step.name] = of_step
            if advice is not None:
                advice[step.name] = step.advise(tasks[0], store)
        if marker := store.committed(step.name, [tasks[0].key]).get(tasks[0].key):
            shards = step.outputs(shards, tasks, [marker])
    if not by_model:
        started = time.monotonic()
        write.rehearse(config.output, shards[0].task(), store)
        seconds[write.STAGE] = time.monotonic() - started
    return seconds


def _is_small(step: Step) -> bool:
    """Whether the model of a step is so fast that it is rehearsed on as much text as steps without one."""
    settings = getattr(step, "settings", None)
    trained = isinstance(settings, ScoreSettings) and settings.awaited
    return isinstance(settings, ScorerSettings) and settings.cost != "large model" and not trained


def _first(batch: pa.RecordBatch, most: int) -> pa.RecordBatch:
    """The documents at the start that make up `most` bytes of text."""
    ends = np.cumsum(batch["byte_count"].to_numpy())
    return batch.slice(0, 1 + int(np.searchsorted(ends, most)))


def _text_bytes(batch: pa.RecordBatch) -> int:
    return max(1, int(pc.sum(batch["byte_count"]).as_py()))
