"""Prepares the documents of the correlation commands, and splits them into training, benchmark and matrix.

They are read, annotated and deduplicated first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.checks.inputs import Inputs
from siftlm.checks.validate import check_config
from siftlm.engine.drive import run_shards
from siftlm.engine.progress import Progress
from siftlm.engine.shards import ShardStage, Task
from siftlm.engine.step import Shard
from siftlm.errors import UserError
from siftlm.job import Run
from siftlm.loop import LoopConfig
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.proxies.training.settings import SAME_WEIGHTS
from siftlm.scorers import LMSettings, ScoreSettings
from siftlm.stages import publish, reference
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.columns import ELIGIBLE, read_columns
from siftlm.stages.edit import EDITED
from siftlm.stages.eligible import Split, out_already
from siftlm.stages.reference import reference_steps
from siftlm.stages.registry import register
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.stages.texts import IDS, TEXTS, chosen_texts
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.steps import steps
from siftlm.store import Store, digest, mended

BENCHMARK = "held_out_for_benchmark"
FAMILY = "family"


@dataclass(frozen=True)
class Corpus:
    """Holds the shards of the correlation commands, once it is known which documents are eligible."""

    config: LoopConfig
    store: Store
    progress: Progress
    work: Run
    made: list[Shard]

    @cached_property
    def shards(self) -> list[Task]:
        """Returns the shards as tasks, each with the outputs that can be read of it."""
        return [shard.task() for shard in self.made]

    def reasons(self, task: Task) -> pa.Array:
        """Returns for each row of a shard why it is not in the matrix, null where it is.

        Beside the reasons of a run, `held_out_for_benchmark` and `empty`.
        """
        reasons, _ = out_already(task, self.store)
        table = read_columns(task, self.store, {"doc_id", "byte_count"})
        alive = pc.is_null(reasons)
        reasons = pc.if_else(pc.and_(alive, self._in_benchmark(table["doc_id"])), BENCHMARK, reasons)
        empty = pc.and_(pc.is_null(reasons), pc.equal(table["byte_count"], 0))
        return pc.if_else(empty, "empty", reasons).combine_chunks()

    def _in_benchmark(self, doc_ids: pa.ChunkedArray) -> pa.Array:
        share = self.config.benchmark.holdout if self.config.benchmark else 0.0
        return pa.array(uniform(keyed(hash_strings(doc_ids.combine_chunks()), self.config.seed, "benchmark")) < share)

    def identity(self) -> str:
        """Returns a digest that changes when the documents of the matrix do."""
        share = self.config.benchmark.holdout if self.config.benchmark else 0.0
        read = [shard.contents((*TEXTS, IDS, SIGNALS, ELIGIBLE)) for shard in self.made]
        return digest("corpus", read, share, self.config.seed)

    def texts(self, task: Task, rows: npt.NDArray[np.bool_]) -> Iterator[str]:
        """Yields the texts of those rows of a shard where `rows` is True, in order."""
        return chosen_texts(task, self.store, rows)

    def family_key(self, sources: Sequence[str], settings: ReferenceSettings) -> str:
        """Returns the store key of a model of the family, a digest of all that its bytes depend on."""
        shards = (shard for shard in self.made if shard.facts["source"] in sources)
        read = [shard.contents((*EDITED, *Split.reads)) for shard in shards]
        settled = settings.model_dump(exclude=SAME_WEIGHTS)
        return digest(FAMILY, reference.VERSION, settled, self.config.split().identity(), read)

    def models(self) -> list[ScoreSettings]:
        """Returns the settings of the matrix's language models: those of [[score]], then the family's.

        Raises:
            UserError: There is none, or the family has not been trained.
        """
        models: list[ScoreSettings] = [self._trained(settings) for settings in self.config.score]
        for name, (sources, settings) in (self.config.family.members() if self.config.family else {}).items():
            key = self.family_key(sources, settings)
            if self.store.find(FAMILY, key) is None:
                raise UserError(f"family: every model must be trained, {name!r} is not; run siftlm train-family first")
            self.work.needs.add(FAMILY, [key])
            model = {"name": name, "model": self.store.path(FAMILY, key, ""), "device": "cpu"}
            models.append(LMSettings.model_validate({**model, "threads": settings.threads}))
        if not models:
            raise UserError("score: there must be language models, got no [[score]] and no [family] table")
        return models

    def _trained(self, settings: ScoreSettings) -> ScoreSettings:
        if not settings.awaited:
            return settings
        settled = self.config.reference
        assert settled is not None, "a score of the run's own model has its settings"
        awaited = settled.trained(settings)
        if awaited is None or len(awaited.steps) > 1:
            raise UserError(
                f"score.{settings.name}: must be of one model here, got {settled.folds or settled.copies} that "
                "[reference] trains; leave out its folds and copies"
            )
        step = next(
            step for step in reference_steps(settled, self.config.split(), [settings]) if step.name in awaited.steps
        )
        trained = self.work.take(step, self.made)[0].shared[step.name].key
        return settings.trained(self.store.path(step.name, trained, ""))

    def run(self, stage: ShardStage, tasks: Sequence[Task]) -> None:
        """Runs a stage on the tasks that have no marker of it yet."""
        with self.progress.stage(stage.name, tasks, self.store):
            run_shards(stage, tasks, self.work.context)


@contextmanager
def open_corpus(config: LoopConfig, progress: Progress, command: str) -> Iterator[Corpus]:
    """Yields the corpus of a configuration, after running what has not been run yet.

    Its folder is locked for this process while it is in use. What `command` needed of the store is registered there.
    """
    check_config(config)
    with publish.workspace(config.folder, config.name, config.store_folder) as store:
        corpus = mended(lambda: _read(config, store, progress))
        yield corpus
        needs = corpus.work.needs
        identity = digest([(folder, sorted(keys)) for folder, keys in needs.keys.items()])
        register(store, config.name, config.folder, command, identity, needs)


def _read(config: LoopConfig, store: Store, progress: Progress) -> Corpus:
    work = Run(config, store, progress)
    shards = Inputs.find(config, store, progress.say).shards
    made = steps(config)
    decisive = {name for step in made if step.name == ELIGIBLE for name in step.reads}
    for step in made:
        if (step.by_model and step.name not in decisive) or step.name == DECISIONS:
            continue
        shards = work.take(step, shards)
    return Corpus(config, store, progress, work, shards)
