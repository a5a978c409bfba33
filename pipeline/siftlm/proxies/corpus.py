"""The documents of the loop: read, annotated and deduplicated as a run does it, and split three ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.checks.validate import check_config
from siftlm.config import TRAINED
from siftlm.engine.progress import Progress
from siftlm.engine.shards import ShardStage, Task, run_shards
from siftlm.errors import UserError
from siftlm.job import _Run
from siftlm.loop import LoopConfig
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.scorers import LMSettings
from siftlm.stages import publish, reference
from siftlm.stages.columns import read_columns
from siftlm.stages.texts import document_batches, document_identity
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.store import Store, digest, mended

BENCHMARK = "held_out_for_benchmark"
TEXT_ROWS = 512
FAMILY = "family"


@dataclass(frozen=True)
class Corpus:
    """The shards of the loop after deduplication; `contents` digest their clusters."""

    config: LoopConfig
    store: Store
    progress: Progress
    work: _Run
    shards: list[Task]
    contents: list[str]

    def reasons(self, task: Task) -> pa.Array:
        """Over the rows of a shard: null for a document of the matrix, else why it is none.

        Beside the reasons of a run, `held_out_for_benchmark` and `empty`.
        """
        reasons = self.config.survivors().reasons(task, self.store)
        table = read_columns(task, self.store, {"doc_id", "byte_count"})
        alive = pc.is_null(reasons)
        reasons = pc.if_else(pc.and_(alive, self._in_benchmark(table["doc_id"])), BENCHMARK, reasons)
        empty = pc.and_(pc.is_null(reasons), pc.equal(table["byte_count"], 0))
        return pc.if_else(empty, "empty", reasons).combine_chunks()

    def _in_benchmark(self, doc_ids: pa.ChunkedArray) -> pa.Array:
        share = self.config.benchmark.holdout if self.config.benchmark else 0.0
        return pa.array(uniform(keyed(hash_strings(doc_ids.combine_chunks()), self.config.seed, "benchmark")) < share)

    def identity(self) -> str:
        """Changes when the documents of the matrix do."""
        share = self.config.benchmark.holdout if self.config.benchmark else 0.0
        shards = [[*document_identity(task), content] for task, content in zip(self.shards, self.contents, strict=True)]
        survivors = self.config.survivors()
        read = [[task.inputs["signals"], *survivors.read(task)] for task in self.shards]
        return digest("corpus", shards, read, survivors.identity(), share, self.config.seed)

    def texts(self, task: Task, rows: npt.NDArray[np.bool_]) -> Iterator[str]:
        """The texts of a shard where `rows` is True, in order."""
        start = 0
        for batch in document_batches(task, self.store, rows=TEXT_ROWS, columns=["text"]):
            yield from batch.filter(pa.array(rows[start : start + batch.num_rows]))["text"].to_pylist()
            start += batch.num_rows

    def family_key(self, sources: Sequence[str], settings: ReferenceSettings) -> str:
        """The key of a model of the family: all that its bytes depend on."""
        mine = [n for n, task in enumerate(self.shards) if task.facts["source"] in sources]
        survivors = self.config.survivors()
        shards = [[*document_identity(self.shards[n]), self.contents[n]] for n in mine]
        return digest(FAMILY, reference.VERSION, settings.model_dump(), survivors.training_identity(), shards)

    def models(self) -> list[LMSettings]:
        """The language models of the matrix: those of [[score]], then the family's.

        Raises:
            UserError: There is none, or the family has not been trained.
        """
        found = [self._trained(settings) for settings in self.config.score]
        for name, (sources, settings) in (self.config.family.members() if self.config.family else {}).items():
            key = self.family_key(sources, settings)
            if self.store.find(FAMILY, key) is None:
                raise UserError(f"family: every model must be trained, {name!r} is not; run siftlm train-family first")
            model = {"name": name, "model": self.store.path(FAMILY, key, ""), "device": "cpu"}
            found.append(LMSettings.model_validate({**model, "threads": settings.threads}))
        if not found:
            raise UserError("score: there must be language models, got no [[score]] and no [family] table")
        return found

    def _trained(self, settings: LMSettings) -> LMSettings:
        if settings.model != TRAINED:
            return settings
        return settings.model_copy(update={"model": self.work.reference(self.shards, self.contents)})

    def run(self, stage: ShardStage, tasks: Sequence[Task]) -> None:
        """Runs what has no marker of a stage."""
        with self.progress.stage(stage.name, tasks, self.store):
            run_shards(stage, tasks, self.store, self.config.runner)


@contextmanager
def open_corpus(config: LoopConfig, progress: Progress) -> Iterator[Corpus]:
    """The corpus of a configuration, its folder held for this process; runs what has not been run yet."""
    check_config(config)
    with publish.workspace(config.folder, config.name, config.store_folder):
        store = Store(config.store_folder)
        yield mended(lambda: _read(config, store, progress))


def _read(config: LoopConfig, store: Store, progress: Progress) -> Corpus:
    work = _Run(config, store, progress)
    shards, contents = work.dedup(work.annotate(work.ingest()))
    return Corpus(config, store, progress, work, work.measure(work.cut(shards)), list(contents))
