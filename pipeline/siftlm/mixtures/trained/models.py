"""Trains one model on a mixture of domains, as a task that runs beside others."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from siftlm.engine.shards import Task
from siftlm.mixtures.settings import learner_settings
from siftlm.mixtures.trained.watching import Watching, watching
from siftlm.proving.replicates import one_thread, saved_weights, stored_tokens
from siftlm.proving.vocabulary import read_tokenizer
from siftlm.proxies.training import Job, ModelShape, Optimisation, Seeds, Training, frozen_model, train
from siftlm.proxies.training.steps_file import StepsFile
from siftlm.store import Marker, Store

VERSION = 1
MODELS = "mixture_models"  # trained models with their losses
TOKENS = "mixture_tokens"  # token files of the domains
MEANS = "mixture_means"  # losses of averaged models


@dataclass(frozen=True)
class TrainMixture:
    """Trains the model of a task on shares of domains, which a method may change meanwhile.

    The facts of a task are `tokens` and `held_out` (keys of token files), `tokenizer` (a path), `shares` by domain,
    `steps`, `seed`, `marks`, `rate` (of learning), `start` (the key of a model, or None), and `learner`: None, or what
    a `LearnerPlan` has.
    """

    model: ModelShape
    training: Optimisation
    name: str = MODELS

    def run(self, task: Task, store: Store) -> Marker:
        told = StepsFile(Path(store.path(MODELS, task.key, "")))
        with ExitStack() as open_models:
            job = self.job(task, store, open_models)
            train(job, store, MODELS, task.key, name=task.name, progress=told)
        return store.marker(MODELS, task.key)

    def job(self, task: Task, store: Store, open_models: ExitStack) -> Job:
        """Returns the training of a task; models that are open meanwhile are closed with `open_models`."""
        facts = task.facts
        settings = one_thread(self.training).model_copy(update={"learning_rate": facts["rate"]})
        seeds = Seeds(weights=facts["seed"], order=facts["seed"])
        tokens, held_out = (stored_tokens(facts[name], store, TOKENS) for name in ("tokens", "held_out"))
        marks = tuple(facts["marks"])
        training = Training(self.model, settings, facts["steps"], seeds, shares=facts["shares"], marks=marks)
        job = Job(training, tokens, read_tokenizer(facts["tokenizer"], store), held_out)
        if facts["start"]:
            job = replace(job, start=saved_weights(facts["start"], store, MODELS))
        if facts["learner"]:
            job = replace(job, mixer=self._mixer(task, job, store, open_models))
        return job

    def _mixer(self, task: Task, job: Job, store: Store, open_models: ExitStack) -> Watching:
        plan, reference = task.facts["learner"], None
        if plan["reference"]:
            weights = saved_weights(plan["reference"], store, MODELS)
            settings = job.training.optimisation
            reference = open_models.enter_context(frozen_model(weights, self.model, settings, job.tokens))
        return watching(learner_settings(plan["method"]), plan, job, reference)
