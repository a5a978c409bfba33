"""What a run would do: its stages with their keys, what has no marker yet, and how long that would take."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from siftlm import filesystem
from siftlm.config import TRAINED, RunConfig
from siftlm.filesystem import InputFile
from siftlm.job import with_output
from siftlm.progress import duration
from siftlm.readers import InputSettings, read_shard
from siftlm.scorers import open_lm
from siftlm.stages import annotate, dedup, inputs, reference, score
from siftlm.stages.annotate import Annotate
from siftlm.stages.columns import SCORES
from siftlm.stages.ingest import tasks as ingest_tasks
from siftlm.stages.ingest import to_documents
from siftlm.stages.runner import threads
from siftlm.stages.shards import Task
from siftlm.store import Store, digest, open_store

SAMPLE_BYTES = 2 << 20  # of the first file of every source
SAMPLE_DOCUMENTS = 16  # that the language models score


@dataclass(frozen=True)
class StagePlan:
    """One stage of a run; `todo` is None where it depends on a stage that has not run."""

    stage: str
    key: str
    shards: int
    todo: int | None
    documents: int
    text_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Sample:
    """What a little of the input says of all of it."""

    documents: int
    text_bytes: int
    seconds: dict[str, float]  # by stage, for the whole input, on one core


def plan(config: RunConfig) -> list[StagePlan]:
    """The stages in their order. Writes nothing but fingerprints of the inputs."""
    store = open_store(config.store_folder)
    found = inputs.discover(config.input)
    sample = take_sample(config, found)
    stages = _Stages(config, store, sample)
    documents = ingest_tasks(config.input, inputs.fingerprints(found, store))
    stages.add("documents", documents)
    documents = with_output(documents, "documents", documents)
    signals = annotate.tasks(config.scorers(), documents)
    stages.add("signals", signals)
    signals = with_output(documents, "signals", signals)
    _plan_the_rest(config, store, stages, signals)
    return stages.rows


def _plan_the_rest(config: RunConfig, store: Store, stages: _Stages, signals: Sequence[Task]) -> None:
    """Dedup, models, selection and output: known keys as long as everything before has run."""
    alive, contents = list(signals), ["" for _ in signals]
    if config.dedup:
        clusters = dedup.tasks(config.dedup, signals)
        stages.add("clusters", clusters)
        if not stages.waiting():
            contents = [m.content for m in store.markers("clusters", (t.key for t in clusters))]
        alive = with_output(signals, "clusters", clusters)
    for settings in config.score:
        name = SCORES + settings.name
        if stages.waiting() or (settings.model == TRAINED and config.reference is None):
            stages.unknown(name, len(signals))
            continue
        if settings.model == TRAINED and config.reference:
            survivors = config.survivors()
            key = reference.key(config.reference, survivors, alive, contents)
            stages.add("reference", [Task(0, "reference model", key)])
            if stages.waiting():
                stages.unknown(name, len(signals))
                continue
            settings = settings.model_copy(update={"model": reference.folder(store, key)})
        stages.add(name, score.tasks(settings, config.survivors(), alive, contents, store))
    for name in ("decisions", "data"):
        stages.unknown(name, len(signals))


class _Stages:
    """The rows of a plan as they are found out."""

    def __init__(self, config: RunConfig, store: Store, sample: Sample) -> None:
        self._config, self._store, self._sample = config, store, sample
        self.rows: list[StagePlan] = []
        self._waiting = False

    def add(self, stage: str, tasks: Sequence[Task]) -> None:
        done = self._store.done(stage)
        todo = sum(task.key not in done for task in tasks)
        self._waiting = self._waiting or todo > 0
        self._row(stage, digest([task.key for task in tasks])[:12], len(tasks), todo)

    def waiting(self) -> bool:
        """Whether a stage has work to do, so that the keys of those after it are not known."""
        return self._waiting

    def unknown(self, stage: str, shards: int) -> None:
        self._row(stage, "after the stages before", shards, None)

    def _row(self, stage: str, key: str, shards: int, todo: int | None) -> None:
        whole = self._sample.seconds.get(stage)
        share = 1.0 if todo is None else todo / max(shards, 1)
        seconds = None if whole is None else whole * share / threads(self._config.runner)
        sample = self._sample
        self.rows.append(StagePlan(stage, key, shards, todo, sample.documents, sample.text_bytes, seconds))


def take_sample(config: RunConfig, found: dict[str, list[InputFile]]) -> Sample:
    """Reads, annotates and scores a little of every source, and scales it to the size of the input."""
    documents = text_bytes = 0.0
    seconds = {"documents": 0.0, "signals": 0.0}
    batches = []
    for settings in config.input:
        files = found[settings.source]
        started = time.monotonic()
        batch, share = _read_sample(files, settings)
        scale = sum(f.size for f in files) / max(files[0].size * share, 1)
        seconds["documents"] += (time.monotonic() - started) * scale
        seconds["signals"] += _annotate_seconds(config, batch) * scale
        documents += batch.num_rows * scale
        text_bytes += sum(batch["byte_count"].to_pylist()) * scale
        batches.append(batch)
    seconds |= _score_seconds(config, batches, text_bytes)
    return Sample(round(documents), round(text_bytes), seconds)


def _read_sample(files: Sequence[InputFile], settings: InputSettings) -> tuple[pa.RecordBatch, float]:
    """The first documents of a source, and the share of the first file that they are."""
    file, share = files[0], min(1.0, SAMPLE_BYTES / max(files[0].size, 1))
    with filesystem.open_read(file.path) as stream:
        head = stream.read(SAMPLE_BYTES)
    if share < 1 and not head.startswith(b"PAR1"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, os.path.basename(file.path))
            filesystem.write_bytes(path, head)
            parts = [read.documents for read in read_shard(path, settings)]
    else:
        parts = [read.documents for read in read_shard(file.path, settings)]
        share = 1.0
    table = pa.Table.from_batches([to_documents(part, settings.source) for part in parts if part.num_rows])
    (batch,) = table.combine_chunks().to_batches()
    return batch, share


def _annotate_seconds(config: RunConfig, batch: pa.RecordBatch) -> float:
    stage = Annotate(config.scorers())
    stage.annotate(batch.slice(0, 1))  # compiles and loads
    started = time.monotonic()
    stage.annotate(batch)
    return time.monotonic() - started


def _score_seconds(config: RunConfig, batches: Sequence[pa.RecordBatch], text_bytes: float) -> dict[str, float]:
    """Seconds for the whole input by model; a model that is not trained yet is left out."""
    few = pa.Table.from_batches([b.slice(0, SAMPLE_DOCUMENTS).select(["text", "byte_count"]) for b in batches])
    (batch,) = few.combine_chunks().to_batches()
    found = {}
    for settings in config.score:
        if settings.model != TRAINED:
            scorer = open_lm(settings)
            scorer.score(batch.slice(0, 1))
            started = time.monotonic()
            scorer.score(batch)
            share = sum(batch["byte_count"].to_pylist()) / max(text_bytes, 1)
            found[SCORES + settings.name] = (time.monotonic() - started) / max(share, 1e-9)
    return found


def describe(row: StagePlan) -> dict[str, str]:
    """A plan's row as text."""
    return {
        "stage": row.stage,
        "key": row.key,
        "shards": f"{row.shards:,}",
        "todo": "?" if row.todo is None else f"{row.todo:,}",
        "documents": f"~{row.documents:,}",
        "bytes": f"~{row.text_bytes:,}",
        "about": "" if row.seconds is None or row.todo == 0 else duration(row.seconds),
    }
