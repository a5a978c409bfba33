"""Trains one model of a proof on the documents of its draw, as a task that any runner takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from siftlm.engine.drive import Context, run_shards
from siftlm.engine.runner import LOCAL, RunnerSettings
from siftlm.engine.shards import ShardStage, Task
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.proving.design import Replicate
from siftlm.proving.draws import Indices
from siftlm.proving.vocabulary import read_tokenizer
from siftlm.proxies.training.job import Job
from siftlm.proxies.training.saved import SavedWeights
from siftlm.proxies.training.settings import ModelShape, Optimisation, Seeds, Training
from siftlm.proxies.training.steps_file import StepsFile
from siftlm.proxies.training.tokens import NAME, TokenFile, open_token_file
from siftlm.proxies.training.train import train
from siftlm.store import Marker, Store, digest

VERSION = 1
STAGE = "proof"  # trained models with their losses
TOKENS = "proof_tokens"  # token files of drawn and of held-out documents
PACE = "pace"  # the fact that trainings of one duration have in common
ROWS = "proof_rows"  # which documents of a token file a model is trained on


class ReplicateStage(ShardStage, Protocol):
    """Defines a task on small models, whose settings of training say on which device and how many threads."""

    @property
    def training(self) -> Optimisation: ...


@dataclass(frozen=True)
class TrainReplicate:
    """Trains the model of a task on its documents, and measures it on the held-out ones.

    The facts of a task are `tokens` and `held_out` (keys of token files), `tokenizer` and `rows` (paths), `seed`,
    `steps`, `marks`, `pace` (a digest of all that its time depends on), and for one that goes on from another model
    `start` (its key).
    """

    model: ModelShape
    training: Optimisation
    name: str = STAGE

    def run(self, task: Task, store: Store) -> Marker:
        facts = task.facts
        seeds = Seeds(weights=facts["seed"], order=facts["seed"])
        job = Job(
            Training(self.model, one_thread(self.training), facts["steps"], seeds, marks=tuple(facts["marks"])),
            chosen(stored_tokens(facts["tokens"], store), read_value(facts["rows"], store)),
            read_tokenizer(facts["tokenizer"], store),
            stored_tokens(facts["held_out"], store),
        )
        if "start" in facts:
            job = replace(job, start=saved_weights(facts["start"], store))
        told = StepsFile(Path(store.path(STAGE, task.key, "")))
        train(job, store, STAGE, task.key, name=task.name, progress=told)
        marker = store.marker(STAGE, task.key)
        return replace(marker, facts={**marker.facts, PACE: facts[PACE]})


def one_thread(training: Optimisation) -> Optimisation:
    """Returns settings with one thread where nothing else is asked for, as replicates train side by side."""
    return training.model_copy(update={"threads": training.threads or 1})


def stored_tokens(key: str, store: Store, stage: str = TOKENS) -> TokenFile:
    """Returns a token file of the store; raises UserError where it is not as it was written."""
    folder = store.path(stage, key, "")
    made = open_token_file(Path(folder), NAME)
    if made is None:
        raise store.damaged(f"{folder}/{NAME}", "it is not as it was written", stage, key)
    return made


def saved_weights(key: str, store: Store, stage: str = STAGE) -> SavedWeights:
    """Returns the weights of a trained model of the store; raises UserError where it is not as it was written."""
    folder = store.path(stage, key, "")
    if store.find(stage, key) is None:
        raise store.damaged(folder, "it is not as it was written", stage, key)
    return SavedWeights.of(folder)


def chosen(file: TokenFile, documents: Indices) -> TokenFile:
    """Returns a token file in memory with some documents of another, as often as they are named, as one group."""
    starts = file.starts
    sizes = (starts[1:] - starts[:-1])[documents]
    places = [file.tokens[starts[n] : starts[n + 1]] for n in documents.tolist()]
    return replace(
        file,
        digest=digest(file.digest, documents),
        groups=("all",),
        tokens=np.concatenate([file.tokens[:0], *places]),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        byte_counts=file.byte_counts[documents],
        document_groups=np.zeros(len(documents), np.int64),
    )


def key_of(made: Replicate, content: str, identity: object) -> str:
    """Returns the key of a replicate's model.

    Args:
        made: The replicate.
        content: A digest of the drawn documents' ids and of what their texts are read from.
        identity: What the bytes of the model depend on besides documents and seed.
    """
    return digest(STAGE, VERSION, identity, content, made.seed)


def task_of(
    number: int, made: Replicate, key: str, numbers: Indices, facts: Mapping[str, object], store: Store
) -> Task:
    """Returns the task that trains a replicate.

    Args:
        number: Of the task.
        made: The replicate.
        key: Of its model.
        numbers: int64[n], the numbers of the documents in the token file.
        facts: What all tasks of a library have in common, see `TrainReplicate`.
        store: Where the numbers are written.
    """
    path = store.path(ROWS, digest(facts["tokens"], numbers), SUFFIX)
    if not store.holds_sealed(path):
        write_value(path, numbers, store)
    return Task(number, made.name, key, facts={**facts, "rows": path, "seed": made.seed})


def run_replicates(stage: ReplicateStage, tasks: Sequence[Task], context: Context, cores: int) -> list[Marker]:
    """Trains or measures the models that the store does not have, and returns the markers of all.

    On this machine every core has a process, for models this small train fastest on one thread each.
    """
    return run_shards(stage, tasks, replace(context, runner=a_core_each(context.runner, stage, cores)))


def a_core_each(runner: RunnerSettings, stage: ReplicateStage, cores: int) -> RunnerSettings:
    """Returns a runner with a process on every core of this machine; on a GPU models come one by one."""
    if runner.name != LOCAL or runner.processes > 1:
        return runner
    if stage.training.device != "cpu":
        return runner.model_copy(update={"threads": 1})
    processes = max(1, cores // (stage.training.threads or 1))
    return runner.model_copy(update={"processes": processes, "threads": 1})
