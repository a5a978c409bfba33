"""Scores the documents that are not yet dropped with a language model, and writes scores/<model>/."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.devices.pool import WantedDevice, on_device
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, Row, Shard, ShardStep, Told
from siftlm.scorers import DocumentModelSettings, ScoreScorer, ScoreSettings, open_score, pinned
from siftlm.scorers.score import Pending
from siftlm.scorers.token_masks import MASK, MASKED
from siftlm.stages.columns import ELIGIBLE, SCORES
from siftlm.stages.eligible import out_already
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.places import FAILED
from siftlm.stages.portions import batched, with_rows
from siftlm.stages.reference import STAGE as REFERENCE
from siftlm.stages.texts import TEXTS, document_batches
from siftlm.store import Marker, Store, digest
from siftlm.tables import ShardWriter

VERSION = 1
FACTS = "siftlm."  # begins the names of what a file's metadata says of the model that wrote it
MARK = "token_count"  # null only where a document was not scored
MASKS = "Masks of tokens"
TOKENS = "tokens"  # the count of all tokens that a mask could mark
WINDOW_BYTES = 128 << 20  # text of a window; two are held at a time, beside what the model itself needs


@contextmanager
def _scores(settings: ScoreSettings, key: str, earlier: Sequence[str], store: Store) -> Iterator[Scores]:
    """The scores of a shard under one model, whose file appears when the block ends well."""
    scorer, stage = open_score(settings), SCORES + settings.name
    with store.writer(stage, key, pa.schema(scorer.fields()), metadata=as_facts(scorer.metadata())) as file:
        yield Scores(scorer, stage, key, [store.table(stage, other) for other in earlier], file)


@dataclass
class Scores:
    """Writes one model's scores of a shard, and counts its errors."""

    scorer: ScoreScorer
    stage: str
    key: str
    earlier: Sequence[pa.Table]
    file: ShardWriter
    errors: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)  # tokens, and by mask marked tokens and bytes

    def known(self, start: int, rows: int) -> pa.Table | None:
        """Returns the scores that earlier outputs hold for a window of documents, null where there are none."""
        return known_rows(self.earlier, start, rows, MARK)

    def write(self, batch: pa.RecordBatch) -> None:
        self.file.write(batch)
        self.errors.update(error for error in batch["error"].to_pylist() if error)
        if masks := self.scorer.settings.masks:
            self.masks[TOKENS] += pc.sum(batch["scored_token_count"]).as_py() or 0
            for name in masks:
                self.masks[f"{name}{MASKED}"] += pc.sum(batch[f"{name}{MASKED}"]).as_py() or 0
                self.masks[f"{name}{MASK}"] += pc.sum(pc.binary_length(batch[f"{name}{MASK}"])).as_py() or 0

    def marker(self, task: Task, dropped: int, seconds: float) -> Marker:
        out, counts = self.file, {"not_alive": dropped}
        of_model = replace(task, key=self.key)
        told: dict[str, Any] = {"masks": dict(self.masks)} if self.masks else {}
        return of_model.marker(
            self.stage, out.rows, out.seal, dropped=counts, errors=self.errors, seconds=seconds, **told
        )


Begun = TypeVar("Begun", bound="Window | Part | Pending")


def one_ahead(feed: Iterator[Begun]) -> Iterator[Begun]:
    """Yields windows of documents in order, preparing the next in a thread while the current one is scored."""
    window: Begun | None = None
    with ThreadPoolExecutor(1, "feed") as thread:
        coming = thread.submit(next, feed, None)
        try:
            while window := coming.result():
                coming = thread.submit(next, feed, None)
                yield window
        except BaseException:  # the consumer's end, too
            after = None if coming.exception() else coming.result()
            for left in (window, after):
                if left is not None:
                    left.cancel()
            raise


@dataclass(frozen=True)
class Window:
    """Holds a window of documents that the models are scoring."""

    parts: list[Part]

    def finish(self) -> list[pa.RecordBatch]:
        """Waits for the models and returns every model's score columns, one row per document."""
        return [part.finish() for part in self.parts]

    def cancel(self) -> None:
        for part in self.parts:
            part.cancel()


@dataclass(frozen=True)
class Part:
    """Holds a window's scores under one model: those being computed and those known already."""

    schema: pa.Schema
    missing: np.ndarray
    scoring: Pending
    have: np.ndarray
    known: pa.Table | None

    def finish(self) -> pa.RecordBatch:
        fresh = pa.Table.from_batches([self.scoring.finish()])
        place = np.full(len(self.missing), -1, np.int64)
        place[self.missing] = np.arange(fresh.num_rows)
        if self.known is not None and self.have.any():
            place[self.have] = fresh.num_rows + np.arange(int(self.have.sum()))
            fresh = pa.concat_tables([fresh, self.known.filter(pa.array(self.have)).select(fresh.schema.names)])
        indices = pa.array(place, mask=place < 0)
        each = [fresh[name].combine_chunks().take(indices) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(each, schema=self.schema)

    def cancel(self) -> None:
        self.scoring.cancel()


def begin(models: Sequence[Scores], documents: pa.RecordBatch, alive: np.ndarray, start: int) -> Window:
    """Tokenises the documents that any of the models must score, once, and starts each model on those it lacks."""
    known = [scores.known(start, documents.num_rows) for scores in models]
    have = [
        np.zeros(len(alive), bool) if table is None else pc.is_valid(table[MARK]).to_numpy() & alive for table in known
    ]
    wanted = np.logical_or.reduce([alive & ~known_here for known_here in have])
    tokens = models[0].scorer.tokenise(documents.filter(pa.array(wanted)).column("text"))
    parts = []
    for scores, table, known_here in zip(models, known, have, strict=True):
        missing = alive & ~known_here
        scoring = scores.scorer.begin(tokens[np.flatnonzero(missing[wanted])])
        parts.append(Part(pa.schema(scores.scorer.fields()), missing, scoring, known_here, table))
    return Window(parts)


def known_rows(earlier: Sequence[pa.Table], start: int, rows: int, mark: str) -> pa.Table | None:
    """Returns what earlier outputs hold for a window of documents; None where there are no earlier outputs.

    Of each row it is what the first output has in which the column `mark` is not null.
    """

    def coalesced(first: pa.Table, second: pa.Table) -> pa.Table:
        known = pc.is_valid(first[mark])
        columns = [pc.if_else(known, a, b) for a, b in zip(first.columns, second.columns, strict=True)]
        return pa.Table.from_arrays(columns, names=first.schema.names)

    windows = [table.slice(start, rows) for table in earlier]
    return reduce(coalesced, windows) if windows else None


def _windows(store: Store, task: Task, rows: int, size: int) -> Iterator[pa.RecordBatch]:
    """The documents in windows of bounded rows and bytes."""
    documents = document_batches(task, store, rows=min(rows, 512), columns=["text"])
    for batches in batched(documents, (attrgetter("num_rows"), rows), (attrgetter("nbytes"), size)):
        yield from pa.Table.from_batches(batches).combine_chunks().to_batches()


def _model(settings: ScoreSettings, trained: str | None) -> ScoreSettings | None:
    """The settings with the folder of the model that the run trains; None where it is not trained yet."""
    if not settings.awaited:
        return settings
    return settings.trained(trained) if trained else None


def _outputs(name: str, model_digest: str, shards: Sequence[Shard], store: Store) -> list[tuple[str, list[str]]]:
    """For every shard the key of its scores under a model, and those of earlier ones with the same first half."""
    model = digest("score", VERSION, model_digest)
    halves = [(digest(model, shard.contents(TEXTS)), digest(shard.content(ELIGIBLE))) for shard in shards]
    return outputs_of(SCORES + name, halves, store)


def outputs_of(stage: str, halves: Sequence[tuple[str, str]], store: Store) -> list[tuple[str, list[str]]]:
    """Returns the key of each output, made of two halves, and the done keys with the same first half."""
    done: dict[str, list[str]] = {}
    for other in sorted(store.done(stage)):
        done.setdefault(other.partition("-")[0], []).append(other)
    keys = [(first, f"{first}-{second}") for first, second in halves]
    return [(key, [other for other in done.get(first, []) if other != key]) for first, key in keys]


@dataclass(frozen=True)
class Score(ShardStep):
    """Scores documents with one model, and in the same pass with `later` models that use the same tokens.

    Rows of dropped documents are null. A key has two halves: the model and the texts, then which documents are
    eligible. What outputs with the same first half hold is taken over, for a document's score does not depend on its
    neighbours.
    """

    settings: ScoreSettings
    later: tuple[Score, ...] = ()
    window_bytes: int = WINDOW_BYTES
    by_model: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return SCORES + self.settings.name

    @property
    def wanted(self) -> WantedDevice:
        return wanted(self.settings)

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*TEXTS, ELIGIBLE, *([REFERENCE] if self.settings.awaited else []))

    def identity(self) -> object:
        return VERSION, self.settings.model_dump()

    def columns(self) -> pa.Schema:
        return pa.schema(self.settings.columns())

    def losses(self) -> Sequence[Loss]:
        return [Loss(f"{FAILED}{self.settings.name}", "could be scored")]

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with the digests of models, earlier outputs to reuse, and other models' outputs."""
        trained = shards[0].shared.get(REFERENCE) if shards else None
        folder = store.path(REFERENCE, trained.key, "") if trained else None
        own, others = self._models(folder)
        tokens = open_score(own).tokens_digest() if others else None
        near = [model for model in others if tokens and model.runs_on == own.runs_on]
        others = [model for model in near if open_score(model).tokens_digest() == tokens]
        digests = {model.name: open_score(model).digest() for model in (own, *others)}
        outputs = {name: _outputs(name, of, shards, store) for name, of in digests.items()}
        tasks = []
        for at, shard in enumerate(shards):
            key, earlier = outputs[own.name][at]
            companions = {model.name: outputs[model.name][at] for model in others}
            tasks.append(shard.task(key, earlier=earlier, companions=companions, models=digests, trained=folder))
        return tasks

    def run(self, task: Task, store: Store) -> Marker:
        started = time.monotonic()
        reasons, _ = out_already(task, store)
        scored = self._scored(task)
        outputs = {scored[0].name: (task.key, task.facts["earlier"]), **task.facts["companions"]}
        with ExitStack() as files:
            files.enter_context(self._pinned(task))
            models = []
            for model in scored:
                key, earlier = outputs[model.name]
                if model is scored[0] or not store.is_done(SCORES + model.name, key):
                    models.append(files.enter_context(_scores(model, key, earlier, store)))

            def feed() -> Iterator[Window]:
                for rows, documents in with_rows(_windows(store, task, scored[0].window, self.window_bytes)):
                    alive = pc.is_null(reasons[rows]).to_numpy(zero_copy_only=False)
                    yield begin(models, documents, alive, rows.start)

            for window in one_ahead(feed()):
                for scores, batch in zip(models, window.finish(), strict=True):
                    scores.write(batch)
        dropped = pc.sum(pc.is_valid(reasons)).as_py() or 0
        seconds = round((time.monotonic() - started) / len(models), 3)
        marker, *committed = [scores.marker(task, dropped, seconds) for scores in models]
        for of_other in committed:
            store.commit(of_other)
        return marker

    def load(self, task: Task) -> None:
        with self._pinned(task):
            pass

    def advise(self, task: Task, store: Store) -> Sequence[str]:
        model, _ = self._models(task.facts["trained"])
        documents = next(document_batches(task, store, rows=64, columns=["text"]), None)
        return open_score(model).advise(documents["text"]) if documents else ()

    def stand_in(self, task: Task, store: Store) -> Marker:
        scorer = self.settings.scorer()
        return nulls(self.name, pa.schema(scorer.fields()), task, store)

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:
        """Returns what the score files record about the model that wrote them: digest, dtype and window rule.

        Of masks it tells how many tokens they mark, and their size.
        """
        if not tasks:
            return Told()
        model, _ = self._models(tasks[0].facts["trained"])
        facts = stored_facts(store, self.name, tasks[0].key)
        digest_of = tasks[0].facts["models"][model.name]
        told = {model.name: {"model": model.origin, "digest": digest_of} | facts}
        rows = self._masks(markers)
        return Told(models=told, tables={MASKS: rows} if rows else {})

    def _masks(self, markers: Sequence[Marker]) -> list[Row]:
        """A row for every mask of tokens: how many it marks, and how large it is."""
        counts = sum((Counter(marker.facts.get("masks", {})) for marker in markers), Counter[str]())
        tokens = max(1, counts[TOKENS])
        return [
            {
                "mask": f"{self.settings.name}_{name}",
                "marked tokens": counts[f"{name}{MASKED}"],
                "share of tokens": counts[f"{name}{MASKED}"] / tokens,
                "bytes": counts[f"{name}{MASK}"],
                "bytes a token": counts[f"{name}{MASK}"] / tokens,
            }
            for name in self.settings.masks
        ]

    def _scored(self, task: Task) -> list[ScoreSettings]:
        """The models that score a shard: the step's own, then those whose tokens are the same."""
        own, others = self._models(task.facts["trained"])
        return [own, *(model for model in others if model.name in task.facts["companions"])]

    def _pinned(self, task: Task) -> AbstractContextManager[None]:
        return pinned([(open_score(model), task.facts["models"][model.name]) for model in self._scored(task)])

    def _models(self, folder: str | None) -> tuple[ScoreSettings, list[ScoreSettings]]:
        """The model, and the later ones that are there, where the run trains one in `folder`."""
        own, *others = (_model(step.settings, folder) for step in (self, *self.later))
        assert own is not None, "the reference model is trained before it scores"
        return own, [model for model in others if model]


def wanted(model: ScoreSettings | DocumentModelSettings) -> WantedDevice:
    """Returns which device a model works on."""
    return WantedDevice(f"{model.place}.device", model.runs_on)


def check(model: ScoreSettings) -> None:
    """Raises a UserError for a model that is missing, invalid or too large, by loading it on its device."""
    on_device(wanted(model), _check, model)


def _check(model: ScoreSettings) -> None:
    open_score(model).check()


def nulls(stage: str, schema: pa.Schema, task: Task, store: Store) -> Marker:
    """Writes an output in which every value is null, and returns its marker."""
    rows = store.rows(DOCUMENTS, task.inputs[DOCUMENTS])
    with store.writer(stage, task.key, schema) as file:
        file.write(pa.RecordBatch.from_arrays([pa.nulls(rows, of.type) for of in schema], schema=schema))
    return task.marker(stage, file.rows, file.seal)


def as_facts(told: Mapping[str, str]) -> dict[str, str]:
    """Returns what a model tells of itself, under the names by which a file's metadata has it."""
    return {f"{FACTS}{name}": value for name, value in told.items()}


def stored_facts(store: Store, stage: str, key: str) -> dict[str, str]:
    """Returns what a model told of itself when it wrote an output."""
    metadata = {name.decode(): value for name, value in (store.schema(stage, key).metadata or {}).items()}
    told = {name: value for name, value in metadata.items() if name.startswith(FACTS)}
    return {name.removeprefix(FACTS): value.decode() for name, value in told.items()}


def steps(models: Sequence[ScoreSettings], window_bytes: int = WINDOW_BYTES) -> list[Score]:
    """Returns a scoring step for every model, in the order of the models."""
    made: list[Score] = []
    for settings in reversed(models):
        made.insert(0, Score(settings, tuple(made), window_bytes))
    return made
