"""Scores the documents that are not yet dropped with a language model, and writes scores/<model>/."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.devices.pool import on_device
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, Told
from siftlm.scorers import ScoreSettings, open_score, pinned
from siftlm.stages.columns import ELIGIBLE, SCORES, read_columns
from siftlm.stages.eligible import out_already
from siftlm.stages.folds import FOLD, FOLDS
from siftlm.stages.members import TrainedModels
from siftlm.stages.portions import with_rows
from siftlm.stages.score_step import COPIES, HOLD_OUT, WINDOW_BYTES, ScoreStep, text_windows, wanted
from siftlm.stages.scoring import (
    Window,
    begin,
    begin_members,
    one_ahead,
    open_scores,
    outputs_of,
    stored_facts,
)
from siftlm.stages.texts import TEXTS, document_batches
from siftlm.store import Marker, Store, digest

VERSION = 1


@dataclass(frozen=True)
class Score(ScoreStep):
    """Scores documents with one model, and in the same pass with `later` models that use the same tokens.

    Rows of dropped documents are null. A key has two halves: the model and the texts, then which documents are
    eligible. What outputs with the same first half hold is taken over, for a document's score does not depend on its
    neighbours.
    """

    settings: ScoreSettings
    later: tuple[Score, ...] = ()
    window_bytes: int = WINDOW_BYTES
    trained: TrainedModels | None = None  # where the run trains what scores

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        trained = self.trained
        return (*TEXTS, ELIGIBLE, *(trained.steps if trained else ()), *([FOLDS] if trained and trained.folds else ()))

    def identity(self) -> object:
        return VERSION, self.settings.model_dump()

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with the digests of models, earlier outputs to reuse, and other models' outputs."""
        shared = shards[0].shared if shards else {}
        folders = {name: store.path(name, shared[name].key, "") for name in self._awaited() if name in shared}
        own, others = self._models(folders)
        tokens = open_score(own[0]).tokens_digest() if others else None
        near = [model for model in others if tokens and model.runs_on == own[0].runs_on]
        others = [model for model in near if open_score(model).tokens_digest() == tokens]
        digests = {models[0].name: [open_score(model).digest() for model in models] for models in (own, *zip(others))}
        outputs = {name: self._outputs(name, of, shards, store) for name, of in digests.items()}
        tasks = []
        for at, shard in enumerate(shards):
            key, earlier = outputs[self.settings.name][at]
            companions = {model.name: outputs[model.name][at] for model in others}
            tasks.append(shard.task(key, earlier=earlier, companions=companions, models=digests, trained=folders))
        return tasks

    def _outputs(
        self, name: str, digests: Sequence[str], shards: Sequence[Shard], store: Store
    ) -> list[tuple[str, list[str]]]:
        """For every shard the key of its scores, and those of earlier ones with the same first half."""
        model = digest("score", VERSION, digests[0] if len(digests) == 1 else digests)
        read = [shard.contents(TEXTS) + ([shard.content(FOLDS)] if self._folds else []) for shard in shards]
        halves = [(digest(model, of), digest(shard.content(ELIGIBLE))) for of, shard in zip(read, shards, strict=True)]
        return outputs_of(SCORES + name, halves, store)

    def run(self, task: Task, store: Store) -> Marker:
        started = time.monotonic()
        reasons, _ = out_already(task, store)
        scored = self._scored(task)
        outputs = {self.settings.name: (task.key, task.facts["earlier"]), **task.facts["companions"]}
        copies = self.trained.copies if self.trained else 1
        with ExitStack() as files:
            files.enter_context(self.pinned(task))
            models = []
            for of in scored:
                (key, earlier), stage = outputs[of[0].name], SCORES + of[0].name
                if of is scored[0] or not store.is_done(stage, key):
                    models.append(files.enter_context(open_scores(of, copies, key, earlier, store)))
            folds = read_columns(task, store, {FOLD})[FOLD].to_numpy() if self._folds else np.zeros(len(reasons), int)

            def feed() -> Iterator[Window]:
                for rows, documents in with_rows(text_windows(store, task, scored[0][0].window, self.window_bytes)):
                    alive = pc.is_null(reasons[rows]).to_numpy(zero_copy_only=False)
                    for scores in models:
                        scores.look(documents["text"].filter(pa.array(alive)), folds[rows][alive])
                    if models[0].alone:
                        yield begin(models, documents, alive, rows.start)
                    else:
                        yield begin_members(models[0], documents, alive, rows.start, folds[rows])

            for window in one_ahead(feed()):
                for scores, batch in zip(models, window.finish(), strict=True):
                    scores.write(batch)
        dropped = pc.sum(pc.is_valid(reasons)).as_py() or 0
        seconds = round((time.monotonic() - started) / len(models), 3)
        marker, *committed = [scores.marker(task, dropped, seconds) for scores in models]
        for of_other in committed:
            store.commit(of_other)
        return marker

    def advise(self, task: Task, store: Store) -> Sequence[str]:
        models, _ = self._models(task.facts["trained"])
        documents = next(document_batches(task, store, rows=64, columns=["text"]), None)
        return open_score(models[0]).advise(documents["text"]) if documents else ()

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:
        """Returns what the score files record about the model that wrote them: digest, dtype and window rule.

        Of masks it tells how many tokens they mark, and their size.
        """
        if not tasks:
            return Told()
        models, _ = self._models(tasks[0].facts["trained"])
        facts = stored_facts(store, self.name, tasks[0].key)
        digests = tasks[0].facts["models"][self.settings.name]
        several = {"models": str(len(models))} if len(models) > 1 else {}
        of_all = digest(digests) if several else digests[0]
        told = {self.settings.name: {"model": models[0].origin, "digest": of_all} | several | facts}
        return Told(self.leaks(markers, COPIES if self.trained else HOLD_OUT), models=told, tables=self.masks(markers))

    @property
    def _folds(self) -> bool:
        return self.trained is not None and self.trained.folds is not None

    def _awaited(self) -> list[str]:
        """The steps that train models of this score, or of one that may be computed beside it."""
        return [name for step in (self, *self.later) if step.trained for name in step.trained.steps]

    def _scored(self, task: Task) -> list[Sequence[ScoreSettings]]:
        """The models of the step's own score, then those of other scores whose tokens are the same."""
        own, others = self._models(task.facts["trained"])
        return [own, *((model,) for model in others if model.name in task.facts["companions"])]

    def pinned(self, task: Task) -> AbstractContextManager[None]:
        digests = task.facts["models"]
        return pinned(
            [(open_score(m), d) for of in self._scored(task) for m, d in zip(of, digests[of[0].name], strict=True)]
        )

    def _models(self, folders: Mapping[str, str]) -> tuple[Sequence[ScoreSettings], list[ScoreSettings]]:
        """The models of this score, and of later ones those that are there and score alone, with what was trained."""
        own = self._members(folders)
        assert own, "the models that a run trains are trained before they score"
        later = [step._members(folders) for step in self.later] if len(own) == 1 else []
        return own, [members[0] for members in later if len(members) == 1]

    def _members(self, folders: Mapping[str, str]) -> list[ScoreSettings]:
        if self.trained is None:
            return [self.settings]
        if any(name not in folders for name in self.trained.steps):
            return []
        return [self.settings.trained(folders[name]) for name in self.trained.steps]


def check(model: ScoreSettings) -> None:
    """Raises a UserError for a model that is missing, invalid or too large, by loading it on its device."""
    on_device(wanted(model), _check, model)


def _check(model: ScoreSettings) -> None:
    open_score(model).check()


def steps(
    models: Sequence[ScoreSettings],
    window_bytes: int = WINDOW_BYTES,
    trained: Callable[[ScoreSettings], TrainedModels | None] | None = None,
) -> list[Score]:
    """Returns a scoring step for every model, in their order; `trained` says which steps train what one awaits."""
    made: list[Score] = []
    for settings in reversed(models):
        made.insert(0, Score(settings, tuple(made), window_bytes, trained(settings) if trained else None))
    return made
