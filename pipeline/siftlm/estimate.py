"""What a little of the input says of all of it: how many documents, and how long every stage takes on one core.

The stages themselves run over the sample in a store of its own, after one that warms them up: what is timed is the
work, not what Beam adds to it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.config import TRAINED, RunConfig
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.errors import UserError
from siftlm.filesystem import InputFile
from siftlm.readers import InputSettings, read_shard
from siftlm.readers.parquet import count_rows
from siftlm.scorers import open_lm
from siftlm.stages import annotate, select, write
from siftlm.stages.columns import SCORES, row_batches
from siftlm.stages.commonness import work as commonness
from siftlm.stages.dedup import work as dedup
from siftlm.stages.ingest import to_documents
from siftlm.stages.paragraphs import work as passages
from siftlm.stages.reference import STAGE as REFERENCE
from siftlm.stages.reference import ReferenceJobSettings
from siftlm.stages.texts import CUTS
from siftlm.store import Marker, Store, open_parquet

SAMPLE_BYTES = 2 << 20  # of one file of every source
SAMPLE_FILES = 8  # that are tried until one has documents
MODEL_BYTES = 32 << 10  # of text of every source that the language models score and train on

Stage = Callable[[], object]


@dataclass
class Estimate:
    """Sums over the sources, each scaled from its sample to the whole input."""

    documents: float = 0.0
    text_bytes: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, of one core

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def estimate(config: RunConfig, found: dict[str, list[InputFile]]) -> Estimate:
    """Reads a little of every source and runs every stage over it; models over less of it."""
    whole = Estimate()
    samples: list[pa.RecordBatch] = []
    for settings in config.input:
        files = found[settings.source]
        started = time.monotonic()
        batch, sampled_bytes = _sample(files, settings)
        scale = sum(file.size for file in files) / max(sampled_bytes, 1)
        whole.add("documents", (time.monotonic() - started) * scale)
        if batch.num_rows:
            whole.documents += batch.num_rows * scale
            whole.text_bytes += _text_bytes(batch) * scale
            with tempfile.TemporaryDirectory() as folder:
                _run_sample(config, batch.slice(0, 1), Store(f"{folder}/warm"))
                for stage, seconds in _run_sample(config, batch, Store(f"{folder}/timed")).items():
                    whole.add(stage, seconds * scale)
            samples.append(_first(batch, MODEL_BYTES))
    if samples:
        (batch,) = pa.Table.from_batches(samples).combine_chunks().to_batches()
        for stage, rate in _model_rates(config, batch).items():
            whole.add(stage, rate * whole.text_bytes)
    return whole


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
    with filesystem.open_read(file.path) as stream:
        head = stream.read(SAMPLE_BYTES)
    if head.startswith(b"PAR1"):  # is read from its end; its rows are counted there
        with filesystem.open_read(file.path) as stream:
            rows = count_rows(stream)
        documents, read = _documents(file.path, settings, SAMPLE_BYTES)
        return documents, read / max(rows, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(file.path))
        filesystem.write_bytes(path, head)
        documents, _ = _documents(path, settings, len(head) * 1000)
    return documents, len(head) / max(file.size, 1)


def _documents(path: str, settings: InputSettings, most: int) -> tuple[list[pa.RecordBatch], int]:
    """Batches of about `most` bytes of documents, and how many records they were read from."""
    found: list[pa.RecordBatch] = []
    records = held = 0
    for read in read_shard(path, settings):
        records += read.documents.num_rows + len(read.rejects)
        if read.documents.num_rows:
            found.append(to_documents(read.documents, settings.source))
            held += found[-1].nbytes
        if held >= most:
            break
    return found, records


def _run_sample(config: RunConfig, batch: pa.RecordBatch, store: Store) -> dict[str, float]:
    """Seconds of every stage but the models over a batch of documents, as if all of it was kept."""
    task = Task(0, "sample", "sample", {"documents": "sample"}, dict(annotate.scorer_facts(config.scorers())))
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Stage) -> None:
        started = time.monotonic()
        work()
        seconds[stage] = time.monotonic() - started
        if stage in ("signals", "clusters", CUTS, commonness.STAGE):
            task.inputs[stage] = "sample"

    with store.writer("documents", "sample", DOCUMENT_SCHEMA) as out:
        for start in range(0, batch.num_rows, annotate.BATCH_DOCUMENTS):
            out.write(batch.slice(start, annotate.BATCH_DOCUMENTS))
    rows, files = batch.num_rows, {".parquet": out.seal}
    store.commit(Marker("documents", "sample", "sample", rows, rows, files=files))
    timed("signals", lambda: store.commit(annotate.Annotate(config.scorers()).run(task, store)))
    if config.dedup:
        stage = dedup.Dedup(config.dedup, store, Links(store, "links"), partitions=1)
        timed("clusters", lambda: _dedup(stage, task))
        if config.dedup.passages:
            links = Links(store, "passages")
            cutting = passages.Passages(config.dedup.passages, config.seed, drops=True, store=store, links=links)
            timed(CUTS, lambda: _cut(cutting, task))
        if config.dedup.commonness:
            measuring = config.dedup.commonness
            timed(commonness.STAGE, lambda: _measure(measuring, task, store))
    timed("decisions", lambda: _decide(config, task, store))
    timed("data", lambda: _write(config.output, task, rows, store))
    return seconds


def _dedup(stage: dedup.Dedup, task: Task) -> None:
    dedup.bucket_links(span for _, span in stage.band_spans(task))
    stage.write_clusters(task, [])


def _cut(stage: passages.Passages, task: Task) -> None:
    stage.cut(task, [span for _, span in stage.common(0, [span for _, span in stage.spans(task)])])


def _measure(settings: commonness.CommonnessSettings, task: Task, store: Store) -> None:
    corpus = commonness.Corpus(store, drops=True)
    ngrams = commonness.Ngrams(settings, corpus, Links(store, "ngrams"), "sample")
    for part, where in ngrams.count(task):
        ngrams.add(part, [where])
    store.commit(commonness.Measure(settings, corpus, tuple(ngrams.paths())).run(task, store))


def _decide(config: RunConfig, task: Task, store: Store) -> None:
    """Passes over the columns that selection reads, but for scores: the last one, and those of ranked rules."""
    settings = config.selection()
    segmented = len(settings.weights.segmented()) if settings.weights else 0  # each takes borders and sums
    for _ in range(1 + sum(rule.phases for rule in settings.rules) + 2 * segmented):
        select.Columns(settings, config.survivors()).read(task, store)


def _write(settings: write.OutputSettings, task: Task, rows: int, store: Store) -> None:
    """Every document with its columns, twice where a shuffle scatters them first."""
    for part in range(1 + settings.shuffle):
        first, *others = row_batches(task, store, 0, rows)
        path, level = store.path("data", str(part)), settings.compression_level
        with open_parquet(path, first.schema, compression_level=level) as out:
            for table in (first, *others):
                for batch in table.combine_chunks().to_batches():
                    out.write(batch)


def _model_rates(config: RunConfig, batch: pa.RecordBatch) -> dict[str, float]:
    """Seconds a byte of text by model, and of training the run's own: for a few steps, then its first scores."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for settings in config.score:
            if settings.model == TRAINED and config.reference:
                trained = f"{folder}/model"
                found.setdefault(REFERENCE, _training_rate(config.reference, batch, trained))
                if not os.path.isdir(trained):
                    continue
                settings = settings.model_copy(update={"model": trained})
            scorer = open_lm(settings)
            scorer.score(batch.slice(0, 1))
            started = time.monotonic()
            scorer.score(batch)
            found[SCORES + settings.name] = (time.monotonic() - started) / _text_bytes(batch)
    return found


def _training_rate(settings: ReferenceJobSettings, batch: pa.RecordBatch, folder: str) -> float:
    """Seconds a byte of the corpus; 0 and no model where the sample is too small for a window."""
    from siftlm.proxies.trainer import train_reference

    texts, spent = batch["text"].to_pylist(), []
    try:
        for epochs in (0.1, 0.5, 2.5):  # the first loads packages; what the others share is no matter of size
            started = time.monotonic()
            train_reference(texts, settings.model_copy(update={"epochs": epochs}), f"{folder}-{epochs}")
            spent.append(time.monotonic() - started)
    except UserError:
        return 0.0
    os.rename(f"{folder}-2.5", folder)
    return max(0.0, spent[2] - spent[1]) / 2.0 * settings.epochs * settings.holdout / _text_bytes(batch)


def _first(batch: pa.RecordBatch, most: int) -> pa.RecordBatch:
    """The documents at the start that make up `most` bytes of text."""
    ends = np.cumsum(batch["byte_count"].to_numpy())
    return batch.slice(0, 1 + int(np.searchsorted(ends, most)))


def _text_bytes(batch: pa.RecordBatch) -> int:
    return max(1, int(pc.sum(batch["byte_count"]).as_py()))
