"""Runs `siftlm prove`: trains small models on draws of every selection, and says which selection teaches better."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice

import numpy as np
import orjson

from siftlm import filesystem
from siftlm.checks.validate import check_config
from siftlm.engine.drive import Context
from siftlm.engine.progress import Progress, StageCounts
from siftlm.engine.runner import LOCAL
from siftlm.engine.shards import Task
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.errors import UserError
from siftlm.proving.comparison import Noise
from siftlm.proving.cost import Trainings, cost_line
from siftlm.proving.design import Replicate, fair_tokens, replicates
from siftlm.proving.draws import Documents, Indices
from siftlm.proving.held_out import Measuring, SeenNgrams, choose, joined
from siftlm.proving.items import read_items
from siftlm.proving.libraries import Library
from siftlm.proving.outcome import Outcome
from siftlm.proving.partitions import Partitions, partitions
from siftlm.proving.power import Power
from siftlm.proving.readings import Readings
from siftlm.proving.replicates import PACE, STAGE, TOKENS, TrainReplicate, key_of, run_replicates, task_of
from siftlm.proving.selections import Selections, selections
from siftlm.proving.settings import RANDOM, ProofConfig, ProofPlan, SoupSettings
from siftlm.proving.soups import STAGE as SOUPS
from siftlm.proving.soups import MeasureSoup, Recipe, branch_optimisation, branches, recipes, soup_task
from siftlm.proving.values import check_columns
from siftlm.proving.vocabulary import STAGE as TOKENIZERS
from siftlm.proving.vocabulary import bytes_per_token, read_tokenizer, tokenizer_path
from siftlm.proving.watching import TrainingCounts
from siftlm.proxies.training.settings import ModelShape, Training
from siftlm.proxies.training.tokens import TextOfGroup, write_tokens
from siftlm.report.proof import FOLDER, PAGE, PROOF, ProofReport
from siftlm.report.proof_page import proof_page
from siftlm.stages import publish
from siftlm.stages.registry import register
from siftlm.store import Marker, Store, digest, mended

SEEN = "proof_seen"  # which n-grams of held-out documents stand in a token file
TEXTS_AT_A_TIME = 256


def prove(plan: ProofPlan, progress: Progress, *, dry_run: bool = False) -> ProofReport | None:
    """Trains the models that the store does not have, and writes proof.json and proof.html; returns the result.

    With `dry_run` only the selections are made, and what would be trained is said.
    """
    config = plan.config
    check_config(config)
    if not dry_run and (missing := _missing_device(config)):
        raise UserError(f"prove.training.{missing}")
    for place, by in (("soups.by", config.prove.soups.by if config.prove.soups else []), ("by", config.prove.by)):
        check_columns(config, by, f"prove.{place}")
    with publish.workspace(config.output.folder, config.name, config.store_folder) as store:
        made = mended(lambda: Proof.begin(plan, store, progress).result(dry_run=dry_run))
        if made is not None:
            folder = f"{config.output.folder}/{FOLDER}"
            content = orjson.dumps(made.as_json(), option=orjson.OPT_INDENT_2)
            filesystem.write_bytes(f"{folder}/{PROOF}", content)
            filesystem.write_bytes(f"{folder}/{PAGE}", proof_page(made).encode())
    return made


def _missing_device(config: ProofConfig) -> str:
    """What is wrong with the device that models would be trained on, in words; empty where it is there."""
    if config.prove.training.device == "cpu" or config.runner.name != LOCAL:
        return ""
    from siftlm.proxies.training.device import opened_device

    try:
        opened_device(config.prove.training)
    except UserError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Proof:
    """Holds a proof whose selections have been made."""

    plan: ProofPlan
    store: Store
    progress: Progress
    chosen: Selections

    @classmethod
    def begin(cls, plan: ProofPlan, store: Store, progress: Progress) -> Proof:
        """Returns the proof after running what its selections need."""
        return cls(plan, store, progress, selections(plan, store, progress))

    def result(self, *, dry_run: bool) -> ProofReport | None:
        """Trains the random draws and then all others; returns what they show, or None for a dry run."""
        settings = self.plan.config.prove
        for line in (*self.power.lines_before(settings.noise), *self.cost_lines):
            self.progress.say(line)
        if dry_run:
            return None
        tasks = self.tasks(settings.model)
        readings = Readings(self.store, self.measuring, self.seen.shares() < settings.overlap)
        nulls = [n for n, made in enumerate(self.replicates) if made.arm == RANDOM]
        trained = self._train([tasks[n] for n in nulls], settings.model)
        random = readings.losses([self.replicates[n] for n in nulls], trained)
        noise = Noise.of(random, [RANDOM], readings.held_out).deviation(RANDOM)
        self.progress.say(self.power.line_after(noise))
        markers = self._train(tasks, settings.model)
        small = self._train(self.tasks(settings.small), settings.small) if settings.small else []
        outcome = Outcome(self.plan, self.chosen, self.replicates, markers, readings, small)
        soups = None
        if settings.soups is not None:
            soups = outcome.soups(self.recipes, self._soups(markers[0].key), self.partitions.names)
        self._register()
        return replace(outcome.report(self.power), soups=soups)

    @cached_property
    def sources(self) -> list[str]:
        libraries = [self.chosen.pool, *self.chosen.arms.values()]
        return sorted({name for library in libraries for name in library.training.sources})

    @cached_property
    def tokenizer_path(self) -> str:
        return tokenizer_path(self.plan.config.prove, self.chosen.pool, self.plan.config.seed, self.store)

    @cached_property
    def libraries(self) -> Mapping[str, Library]:
        """Returns what replicates draw from, by name."""
        return {RANDOM: self.chosen.pool, **self.chosen.arms}

    @cached_property
    def documents(self) -> Mapping[str, Documents]:
        """Returns what draws need to know of the documents of every library."""
        tokenizer = read_tokenizer(self.tokenizer_path, self.store)
        seed = self.plan.config.seed
        return {
            name: library.training.documents(self.sources, bytes_per_token(tokenizer, library, seed))
            for name, library in self.libraries.items()
        }

    @cached_property
    def steps(self) -> int:
        """Returns the steps of every training."""
        arms = {name: self.documents[name] for name in self.chosen.arms}
        return max(1, fair_tokens(self.plan.config.prove, arms) // self._step_tokens)

    @property
    def tokens(self) -> int:
        """Returns the tokens of every training."""
        return self.steps * self._step_tokens

    @property
    def _step_tokens(self) -> int:
        settings = self.plan.config.prove
        return Training(settings.model, settings.training, 1).step_tokens

    @cached_property
    def replicates(self) -> list[Replicate]:
        arms = {name: self.documents[name] for name in self.chosen.arms}
        config = self.plan.config
        return replicates(config.prove, self.documents[RANDOM], arms, self.tokens, config.seed)

    @property
    def _soup_settings(self) -> SoupSettings:
        settings = self.plan.config.prove.soups
        assert settings is not None, "soups were asked for"
        return settings

    @cached_property
    def partitions(self) -> Partitions:
        """Returns the partitions of the pool that soups are made of."""
        least = self._soup_settings.tokens / self.plan.config.prove.max_epochs
        return partitions(self.chosen.pool, self.documents[RANDOM], self._soup_settings, least)

    @cached_property
    def branches(self) -> list[Replicate]:
        """Returns the trainings of the partitions; none where there are no soups."""
        if self.plan.config.prove.soups is None:
            return []
        return branches(self.partitions, self.documents[RANDOM], self._soup_settings, self.plan.config.seed)

    @cached_property
    def recipes(self) -> list[Recipe]:
        """Returns the soups of all arms and of other mixtures; none where nobody asked for them."""
        if self.plan.config.prove.soups is None:
            return []
        return recipes(self.partitions, self.documents, self.replicates, self._soup_settings)

    @cached_property
    def power(self) -> Power:
        settings = self.plan.config.prove
        arms = len(self.chosen.arms)
        return Power(arms, settings.replicates, settings.null_replicates, settings.level, self.tokens)

    @cached_property
    def measuring(self) -> Measuring:
        """Returns the held-out documents and items, those that stand in training documents included."""
        config = self.plan.config
        documents = choose(self.chosen.held_out, self.chosen.domains, config.prove, config.seed)
        return joined([documents, *(read_items(settings, config.seed) for settings in config.prove.items)])

    def tasks(self, shape: ModelShape) -> list[Task]:
        """Returns the tasks that train the replicates in a shape, after their texts were tokenised."""
        return self._tasks(self.replicates, self.training(shape), {})

    def training(self, shape: ModelShape) -> Training:
        """Returns how every replicate is trained, but for its seeds."""
        settings = self.plan.config.prove
        marks = {max(1, round(self.steps * n / settings.marks)) for n in range(1, settings.marks + 1)}
        return Training(shape, settings.training, self.steps, marks=tuple(sorted(marks)))

    def _tasks(self, trained: Sequence[Replicate], training: Training, start: Mapping[str, str]) -> list[Task]:
        """The tasks of some trainings; `start` is empty, or names the model that they go on from."""
        places = {"held_out": self.held_out_tokens, "tokenizer": self.tokenizer_path, **start}
        common = {**places, "steps": training.steps, "marks": list(training.marks), PACE: self._pace(training)}
        tasks = []
        for number, (made, key) in enumerate(zip(trained, self._keys(trained, training, start), strict=True)):
            numbers = np.searchsorted(self._rows(made.library), made.rows)
            facts = {**common, "tokens": self.drawn_tokens[made.library]}
            tasks.append(task_of(number, made, key, numbers, facts, self.store))
        return tasks

    def _keys(self, trained: Sequence[Replicate], training: Training, start: Mapping[str, str]) -> list[str]:
        """The keys of the models of some trainings, for which no text is read."""
        tokenizer = read_tokenizer(self.tokenizer_path, self.store).identity()
        identity = [training.identity(), tokenizer, self.held_out_tokens, *start.values()]
        contents = (
            digest(self.libraries[made.library].identity, self.documents[made.library].hashes[made.rows])
            for made in trained
        )
        return [key_of(made, content, identity) for made, content in zip(trained, contents, strict=True)]

    def _pace(self, training: Training) -> str:
        """A digest of all that the time of a training depends on, but for the machine."""
        return digest(training.identity(), self.held_out_tokens)

    @cached_property
    def drawn_tokens(self) -> Mapping[str, str]:
        """Returns the keys of the token files with the drawn documents of every library, which are made."""
        return {name: self._tokens(name, self.held_out_tokens) for name in self.libraries}

    @cached_property
    def seen(self) -> SeenNgrams:
        return SeenNgrams(self.measuring)

    def _rows(self, library: str) -> Indices:
        """The documents of a library that any replicate draws, in the order of its shards."""
        drawn = [made.rows for made in (*self.replicates, *self.branches) if made.library == library]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *drawn]))

    def _tokens(self, name: str, held_out: str) -> str:
        """The key of the token file with the drawn documents of a library; their n-grams are noted in `seen`."""
        library, rows = self.libraries[name], self._rows(name)
        tokenizer = read_tokenizer(self.tokenizer_path, self.store)
        key = digest(library.identity, rows, tokenizer.identity())
        path = self.store.path(SEEN, digest(key, held_out), SUFFIX)
        seen = SeenNgrams(self.measuring)

        def texts() -> Iterator[TextOfGroup]:
            feed = library.training.texts(rows)
            while some := [text for _, text in islice(feed, TEXTS_AT_A_TIME)]:
                seen.note(some)
                yield from (TextOfGroup("all", text) for text in some)

        if not self.store.holds_sealed(path) or self.store.find(TOKENS, key) is None:
            with self.progress.working(f"{TOKENS}/{name}"):
                if self.store.find(TOKENS, key) is None:
                    write_tokens(self.store, key, texts(), tokenizer, TOKENS)
                else:
                    for _ in texts():
                        pass
            write_value(path, seen.mask, self.store)
        self.seen.add(read_value(path, self.store))
        return key

    @cached_property
    def held_out_tokens(self) -> str:
        """Returns the key of the token file with what measures models, which is made."""
        texts, tokenizer = self.measuring.texts, read_tokenizer(self.tokenizer_path, self.store)
        key = digest([digest(text) for text in texts], tokenizer.identity())
        if self.store.find(TOKENS, key) is None:
            feed = (TextOfGroup("all", text) for text in texts)
            write_tokens(self.store, key, feed, tokenizer, TOKENS)
        return key

    def _train(self, tasks: Sequence[Task], shape: ModelShape) -> list[Marker]:
        return self._run(TrainReplicate(shape, self.plan.config.prove.training), tasks, self.training(shape))

    def _run(
        self, stage: TrainReplicate | MeasureSoup, tasks: Sequence[Task], training: Training | None = None
    ) -> list[Marker]:
        """Runs the tasks that have no output yet, and notes that this proof needs all of these."""
        self.chosen.needs.add(stage.name, [task.key for task in tasks])
        context = Context(self.store, self.plan.config.runner)
        counts = partial(TrainingCounts, steps=training.steps, step_tokens=training.step_tokens) if training else None
        with self.progress.stage(stage.name, tasks, self.store, counts or StageCounts):
            return run_replicates(stage, tasks, context, os.cpu_count() or 1)

    @property
    def cost_lines(self) -> list[str]:
        """Returns what the trainings will take in words, where they are this machine's to do."""
        config = self.plan.config
        if config.runner.name != LOCAL:
            return []
        if missing := _missing_device(config):
            return [f"how long they take cannot be told here: {missing}"]
        shapes = [config.prove.model, *([config.prove.small] if config.prove.small else [])]
        keys = [(training := self.training(shape), self._keys(self.replicates, training, {})) for shape in shapes]
        soups = list[Task]()
        if self.branches:
            start = {"start": keys[0][1][0]}
            keys.append((self.branch_training, self._keys(self.branches, self.branch_training, start)))
            soups = self._soup_tasks(keys[-1][1])
        done = self.store.done(STAGE)
        every = [Trainings(training, self._pace(training), len(of), len(set(of) - done)) for training, of in keys]
        measures = len({task.key for task in soups} - self.store.done(SOUPS))
        context = Context(self.store, config.runner)
        given = {"held_out": self.held_out_tokens, "tokenizer": self.tokenizer_path}
        return [cost_line(every, measures, given, context, os.cpu_count() or 1)]

    @cached_property
    def branch_training(self) -> Training:
        """Returns how the models of partitions are trained, but for their seeds."""
        config = self.plan.config.prove
        one = Training(config.model, branch_optimisation(config.training, self._soup_settings), 1)
        return replace(one, steps=max(1, self._soup_settings.tokens // one.step_tokens))

    def _soups(self, start: str) -> list[Marker]:
        """Trains the models of the partitions from a model on, and measures their averages."""
        config, training = self.plan.config.prove, self.branch_training
        tasks = self._tasks(self.branches, training, {"start": start})
        trained = self._run(TrainReplicate(config.model, training.optimisation), tasks, training)
        stage = MeasureSoup(config.model, config.training)
        return self._run(stage, self._soup_tasks([marker.key for marker in trained]))

    def _soup_tasks(self, models: Sequence[str]) -> list[Task]:
        """The tasks that measure averages of the models of partitions with these keys."""
        training = self.plan.config.prove.training
        numbers, held_out = [training.device, training.precision], self.held_out_tokens
        return [soup_task(n, recipe, models, held_out, numbers) for n, recipe in enumerate(self.recipes)]

    def _register(self) -> None:
        """Tells the store what it must keep for this proof."""
        needs, config = self.chosen.needs, self.plan.config
        files = {*self.drawn_tokens.values(), self.held_out_tokens}
        needs.add(TOKENS, files)
        needs.add(SEEN, [digest(key, self.held_out_tokens) for key in self.drawn_tokens.values()])
        needs.add(TOKENIZERS, [self.tokenizer_path.rpartition("/")[2].partition(".")[0]])
        identity = digest([(folder, sorted(of_folder)) for folder, of_folder in needs.keys.items()])
        register(self.store, config.name, config.output.folder, "prove", identity, needs)
