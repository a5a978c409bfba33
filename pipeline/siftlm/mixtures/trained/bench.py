"""Trains the models of a method on the texts of the domains, and says before how long that will take."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import orjson

from siftlm.engine.drive import Context, run_shards
from siftlm.engine.progress import Progress, duration
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.errors import UserError
from siftlm.mixtures.bench import Floats, Load, TrainedModel, TrainingPlan, TrainSettings
from siftlm.mixtures.trained.models import MEANS, MODELS, TOKENS, VERSION, TrainMixture
from siftlm.mixtures.trained.texts import DomainTexts, GroupedTexts, domain_texts
from siftlm.mixtures.trained.watching import check_gradients, check_windows, domain_nats
from siftlm.proving.cost import measured_pace
from siftlm.proving.replicates import one_thread, run_replicates, stored_tokens
from siftlm.proving.soups import MeasureSoup
from siftlm.proving.vocabulary import read_tokenizer
from siftlm.proving.watching import TrainingCounts
from siftlm.proxies.training import MIXER, TokenFile, Training, group_bits_per_byte, last_sums, write_tokens
from siftlm.stages.registry import Needs
from siftlm.store import Store, digest

RESAMPLES = 1000  # of held-out documents
STARTED = 2e11  # operations that a core does while a process starts
GRADIENTS = ("gradients", "windows")
"""What methods observe that need whole windows of held-out text."""


@dataclass(frozen=True)
class Bench:
    """Trains small models on mixtures; every model has a key in the store, by which it is found again."""

    settings: TrainSettings
    texts: DomainTexts
    store: Store
    progress: Progress
    needs: Needs
    expected: list[Load] = field(default_factory=list)
    """What is to be trained in all, until it has been said."""

    @classmethod
    def begin(cls, settings: TrainSettings, store: Store, progress: Progress) -> Bench:
        """Returns a bench after reading the texts of the domains; raises UserError."""
        needs = Needs()
        return cls(settings, domain_texts(settings, store, progress, needs), store, progress, needs)

    @property
    def domains(self) -> tuple[str, ...]:
        return self.texts.trains.names

    @property
    def targets(self) -> tuple[str, ...]:
        return self.texts.measures.names

    @property
    def notes(self) -> Sequence[str]:
        return self.texts.notes

    @cached_property
    def prior(self) -> Floats:
        given = self.settings.prior
        if unknown := sorted(set(given) - set(self.domains)):
            raise UserError(f"train.prior: must name domains, got {unknown[0]!r} of {list(self.domains)[:10]}")
        shares = np.array([given.get(name, 0.0) for name in self.domains]) if given else self.texts.tokens
        if (shares < 0).any() or not shares.sum() > 0:
            raise UserError(f"train.prior: must hold a share above 0 and none below, got {dict(given)}")
        return np.asarray(shares / shares.sum())

    @cached_property
    def training(self) -> Training:
        """Returns how every model is trained, but for what its plan says."""
        one = Training(self.settings.model, self.settings.training, 1)
        return replace(one, steps=max(1, self.settings.tokens // one.step_tokens))

    @property
    def steps(self) -> int:
        return self.training.steps

    @cached_property
    def tokens_key(self) -> str:
        """Returns the key of the token file that models are trained on, which is made."""
        return self._tokens(self.texts.trains)

    @cached_property
    def held_out_key(self) -> str:
        """Returns the key of the token file that measures models, which is made."""
        return self._tokens(self.texts.measures)

    def _tokens(self, texts: GroupedTexts) -> str:
        tokenizer = read_tokenizer(self.texts.tokenizer, self.store)
        key = digest(texts.identity, tokenizer.identity())
        with self.progress.working(f"{TOKENS}/{len(texts.rows):,} documents"):
            write_tokens(self.store, key, texts.texts(), tokenizer, TOKENS)
        self.needs.add(TOKENS, [key])
        return key

    def file(self, key: str) -> TokenFile:
        """Returns one of the two token files; raises UserError where it is not as it was written."""
        return stored_tokens(key, self.store, TOKENS)

    @cached_property
    def held_out(self) -> TokenFile:
        return self.file(self.held_out_key)

    def check(self, observes: str | None) -> None:
        """Raises UserError where a domain has too little text for what a method observes, or memory is too small."""
        context = self.settings.model.context_tokens
        whole = observes in GRADIENTS
        check_windows(self.file(self.tokens_key), self.held_out if whole else None, context)
        if observes == "gradients":
            check_gradients(len(self.domains) + len(self.targets), self.parameters)

    def train(self, plans: Sequence[TrainingPlan]) -> list[TrainedModel]:
        tasks = [self._task(number, plan) for number, plan in enumerate(plans)]
        self.needs.add(MODELS, [task.key for task in tasks])
        done = self.store.committed(MODELS, (task.key for task in tasks))
        waiting = [task for task in tasks if task.key not in done]
        if waiting and self.expected:
            self.progress.say(self.cost_line(self.expected))
            self.expected.clear()
        stage = TrainMixture(self.settings.model, self.settings.training)
        counts = partial(
            TrainingCounts, steps=max([plan.steps for plan in plans], default=1), step_tokens=self.training.step_tokens
        )
        with self.progress.stage(MODELS, tasks, self.store, counts):
            self._run(stage, tasks, len(waiting), sum(task.facts["steps"] for task in waiting))
        return [self._model(task, plan) for task, plan in zip(tasks, plans, strict=True)]

    def _run(self, stage: TrainMixture | MeasureSoup, tasks: Sequence[Task], waiting: int, steps: int) -> None:
        """Runs tasks side by side, a core each, or one by one with all cores where that takes no longer.

        `steps` are those of all that is to be done.
        """
        cores, context = len(os.sched_getaffinity(0)), Context(self.store, RunnerSettings(threads=1))
        operations = 6.0 * self.parameters * steps * self.training.step_tokens
        if waiting > 1 and operations > STARTED:
            run_replicates(stage, tasks, context, cores)
            return
        threads = self.settings.training.threads or cores
        alone = self.settings.training.model_copy(update={"threads": threads})
        run_shards(replace(stage, training=alone), tasks, context)

    @cached_property
    def parameters(self) -> int:
        """Returns the parameters of a model."""
        from siftlm.proxies.training.model import forms

        return sum(math.prod(form.size) for form in forms(self.settings.model, self.held_out.vocabulary))

    def _task(self, number: int, plan: TrainingPlan) -> Task:
        shares = np.maximum(plan.shares, 0.0)
        learner = plan.learner and {
            "method": dict(plan.learner.method),
            "reference": plan.learner.reference,
            "arrays": dict(plan.learner.arrays),
        }
        facts = {
            "tokens": self.tokens_key,
            "held_out": self.held_out_key,
            "tokenizer": self.texts.tokenizer,
            "shares": dict(zip(self.domains, shares.tolist(), strict=True)),
            "steps": plan.steps,
            "seed": self.settings.seed + plan.seed,
            "marks": list(plan.marks),
            "rate": plan.rate or self.settings.training.learning_rate,
            "start": plan.start,
            "learner": learner,
        }
        tokenizer = read_tokenizer(self.texts.tokenizer, self.store).identity()
        told = {name: value for name, value in facts.items() if name != "tokenizer"}
        key = digest(MODELS, VERSION, replace(self.training, steps=plan.steps).identity(), tokenizer, told)
        return Task(number, plan.name, key, facts=facts)

    def _model(self, task: Task, plan: TrainingPlan) -> TrainedModel:
        marker = self.store.marker(MODELS, task.key)
        folder, facts, held_out = self.store.path(MODELS, task.key, ""), marker.facts, self.held_out
        sums = last_sums(Path(folder))
        state = orjson.loads(Path(folder, MIXER).read_bytes()) if plan.learner else None
        epochs, drawn = (
            np.array([facts[name].get(domain, 0) for domain in self.domains], np.float64)
            for name in ("epochs_by_group", "tokens_by_group")
        )
        return TrainedModel(
            key=task.key,
            losses=group_bits_per_byte(held_out, sums),
            nats=domain_nats(held_out, sums),
            parameters=int(facts["parameters"]),
            epochs=epochs,
            state=state,
            document_bits=sums / np.log(2),
            drawn=drawn / max(1.0, float(drawn.sum())),
        )

    def averages(self, models: Sequence[str], shares: Floats) -> Floats:
        held_out = self.held_out_key
        numbers = [self.settings.training.device, self.settings.training.precision]
        tasks = []
        for number, row in enumerate(shares.tolist()):
            facts = {"models": list(models), "shares": row, "held_out": held_out}
            tasks.append(Task(number, f"mean {number}", digest(MEANS, VERSION, facts, numbers), facts=facts))
        self.needs.add(MEANS, [task.key for task in tasks])
        stage = MeasureSoup(self.settings.model, self.settings.training, MEANS, MODELS, TOKENS)
        measured = len(self.held_out.tokens) // (3 * self.training.step_tokens) + 1  # a loss is a third of a step
        with self.progress.stage(MEANS, tasks, self.store):
            self._run(stage, tasks, len(tasks), len(tasks) * measured)
        rows = (self.store.table(MEANS, task.key, ["nll_sum"])["nll_sum"].to_numpy() for task in tasks)
        return np.stack([group_bits_per_byte(self.held_out, sums) for sums in rows])

    def gain_interval(self, prior: Sequence[TrainedModel], mixture: Sequence[TrainedModel]) -> tuple[float, float]:
        """Returns where 90 of 100 draws of held-out documents have the gain, the mean over domains."""
        file, generator = self.held_out, np.random.default_rng(self.settings.seed)
        change = np.mean([a.document_bits - b.document_bits for a, b in zip(prior, mixture, strict=True)], axis=0)
        made = np.zeros(RESAMPLES)
        for group in range(len(file.groups)):
            rows = np.flatnonzero(file.document_groups == group)
            drawn = rows[generator.integers(len(rows), size=(RESAMPLES, len(rows)))]
            made += change[drawn].sum(1) / file.byte_counts[drawn].sum(1) / len(file.groups)
        low, high = np.percentile(made, [5, 95])
        return float(low), float(high)

    def cost_line(self, loads: Sequence[Load]) -> str:
        """Returns how long trainings take, less what is in the store, in a sentence."""
        cores = len(os.sched_getaffinity(0))
        one = Training(self.settings.model, one_thread(self.settings.training), 1)
        pace = measured_pace(one, self.held_out)
        seconds = 0.0
        for load in loads:
            single = load.steps * load.dearer * pace["step"] + load.marks * pace["measure"]
            seconds += single / cores if load.models == 1 else math.ceil(load.models / cores) * single
        models = sum(load.models for load in loads if load.steps)
        tokens = sum(load.models * load.steps for load in loads) * self.training.step_tokens
        return (
            f"{MODELS}: {models} models and {tokens:,} tokens, which take about {duration(seconds)} on this machine, "
            f"from {pace['steps']:.0f} measured steps, less what is in the store"
        )
