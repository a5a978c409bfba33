"""Scores every document that is still alive by a language model: documents/ -> scores/<model>/."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.drive import Context, run_shards
from siftlm.engine.runner import batch_size
from siftlm.engine.shards import Task
from siftlm.engine.step import Loss, Shard, Step, Told
from siftlm.scorers import ScoreScorer, ScoreSettings, open_score, pinned
from siftlm.scorers.score import Pending
from siftlm.stages.columns import ELIGIBLE, SCORES
from siftlm.stages.eligible import out_already
from siftlm.stages.places import FAILED
from siftlm.stages.reference import STAGE as REFERENCE
from siftlm.stages.texts import TEXTS, document_batches
from siftlm.store import Marker, Store, digest
from siftlm.tables import ShardWriter

VERSION = 1
WINDOW_BYTES = 128 << 20  # text of a window; two are held at a time, beside what the model itself needs


@dataclass(frozen=True)
class ScorePass:
    """Scores the survivors of a shard with one model; rows that do not survive are null.

    `earlier` are outputs of the same model over the same documents, with other survivors: what they hold is taken
    over, for a document's score does not depend on its neighbours. `companions` are models with the same tokenizer:
    what a task says of them is scored in the same pass, from the same tokens, and committed here.
    """

    settings: ScoreSettings
    companions: tuple[ScoreSettings, ...] = ()
    window_bytes: int = WINDOW_BYTES

    @property
    def name(self) -> str:
        return SCORES + self.settings.name

    def run(self, task: Task, store: Store) -> Marker:
        started = time.monotonic()
        reasons, _ = out_already(task, store)
        wanted = [self.settings, *(other for other in self.companions if other.name in task.facts["companions"])]
        with ExitStack() as files:
            files.enter_context(pinned([(open_score(s), task.facts["models"][s.name]) for s in wanted]))
            models = [files.enter_context(_scores(self.settings, task.key, task.facts.get("earlier", []), store))]
            for other in self.companions:
                key, earlier = task.facts["companions"][other.name]
                if not store.is_done(SCORES + other.name, key):
                    models.append(files.enter_context(_scores(other, key, earlier, store)))

            def feed() -> Iterator[Window]:
                for start, documents in _windows(store, task, self.settings.window, self.window_bytes):
                    alive = pc.is_null(reasons.slice(start, documents.num_rows)).to_numpy(zero_copy_only=False)
                    yield begin(models, documents, alive, start)

            for window in one_ahead(feed()):
                for scores, batch in zip(models, window.finish(), strict=True):
                    scores.write(batch)
        dropped = pc.sum(pc.is_valid(reasons)).as_py() or 0
        seconds = round((time.monotonic() - started) / len(models), 3)
        mine, *others = [scores.marker(task, dropped, seconds) for scores in models]
        for marker in others:
            store.commit(marker)
        return mine


@contextmanager
def _scores(settings: ScoreSettings, key: str, earlier: Sequence[str], store: Store) -> Iterator[Scores]:
    """The scores of a shard under one model, whose file appears when the block ends well."""
    scorer, stage = open_score(settings), SCORES + settings.name
    metadata = {f"siftlm.{k}": v for k, v in scorer.metadata().items()}
    with store.writer(stage, key, pa.schema(scorer.fields()), metadata=metadata) as file:
        yield Scores(scorer, stage, key, Known(stage, earlier, store), file)


@dataclass
class Scores:
    """One model's scores of a shard, as they are written."""

    scorer: ScoreScorer
    stage: str
    key: str
    known: Known
    file: ShardWriter
    errors: Counter[str] = field(default_factory=Counter)

    def write(self, batch: pa.RecordBatch) -> None:
        self.file.write(batch)
        self.errors.update(error for error in batch["error"].to_pylist() if error)

    def marker(self, task: Task, dropped: int, seconds: float) -> Marker:
        rows = self.file.rows
        return Marker(
            stage=self.stage,
            key=self.key,
            shard=task.name,
            rows_in=rows,
            rows_out=rows - dropped - self.errors.total(),
            dropped={"not_alive": dropped} if dropped else {},
            errors=dict(sorted(self.errors.items())),
            files={".parquet": self.file.seal},
            facts={"seconds": seconds},
        )


class Known:
    """Scores of a shard that earlier outputs hold already, row by row."""

    def __init__(self, stage: str, keys: Sequence[str], store: Store) -> None:
        self._tables = [store.table(stage, key) for key in keys]

    def rows(self, start: int, rows: int) -> pa.Table | None:
        """Returns the known scores of a window, null where there is none."""
        best: pa.Table | None = None
        for table in self._tables:
            window = table.slice(start, rows)
            best = window if best is None else _coalesce(best, window)
        return best


class OnItsWay(Protocol):
    """Work that has begun and may no longer be wanted."""

    def cancel(self) -> None: ...


Begun = TypeVar("Begun", bound=OnItsWay)


def one_ahead(feed: Iterator[Begun]) -> Iterator[Begun]:
    """Yields the same windows, each read, tokenised and begun by a thread while the one before is in the model."""
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
    """A window of documents on its way through the models."""

    parts: list[Part]

    def finish(self) -> list[pa.RecordBatch]:
        """Returns the score columns of every model, one row a document."""
        return [part.finish() for part in self.parts]

    def cancel(self) -> None:
        for part in self.parts:
            part.scoring.cancel()


@dataclass(frozen=True)
class Part:
    """Holds a window under one model: what is on its way, and what is known already."""

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


def begin(models: Sequence[Scores], documents: pa.RecordBatch, alive: np.ndarray, start: int) -> Window:
    """Tokenises what is alive and unknown to any of the models, once, and sends it on its way through each."""
    known = [scores.known.rows(start, documents.num_rows) for scores in models]
    have = [
        np.zeros(len(alive), bool) if table is None else pc.is_valid(table["token_count"]).to_numpy() & alive
        for table in known
    ]
    wanted = np.logical_or.reduce([alive & ~held for held in have])
    tokens = models[0].scorer.tokenise(documents.filter(pa.array(wanted)).column("text"))
    parts = []
    for scores, table, held in zip(models, known, have, strict=True):
        missing = alive & ~held
        scoring = scores.scorer.begin(tokens[np.flatnonzero(missing[wanted])])
        parts.append(Part(pa.schema(scores.scorer.fields()), missing, scoring, held, table))
    return Window(parts)


def _coalesce(first: pa.Table, second: pa.Table) -> pa.Table:
    """Whole rows of `first` where it has a score, else of `second`."""
    scored = pc.is_valid(first["token_count"])
    columns = [pc.if_else(scored, a, b) for a, b in zip(first.columns, second.columns, strict=True)]
    return pa.Table.from_arrays(columns, names=first.schema.names)


def _windows(store: Store, task: Task, rows: int, size: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first row, documents) in windows of bounded rows and bytes."""
    waiting: list[pa.RecordBatch] = []
    start = held = held_bytes = 0
    for batch in document_batches(task, store, rows=min(rows, 512), columns=["text"]):
        waiting.append(batch)
        held += batch.num_rows
        held_bytes += batch.nbytes
        if held >= rows or held_bytes >= size:
            yield start, _join(waiting)
            start, waiting, held, held_bytes = start + held, [], 0, 0
    if waiting:
        yield start, _join(waiting)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


@dataclass(frozen=True)
class Score(Step):
    """Scores documents by one model, and in the same pass by `later` ones with the same tokens.

    A key has two halves: the model and the texts, then which documents are eligible. Outputs that share the first half
    hold scores that can be taken over.
    """

    settings: ScoreSettings
    later: tuple[Score, ...] = ()
    window_bytes: int = WINDOW_BYTES
    by_model: ClassVar[bool] = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return SCORES + self.settings.name

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
        """Names in each task the model, earlier outputs to take over, and outputs of other models."""
        trained = shards[0].shared.get(REFERENCE) if shards else None
        folder = store.path(REFERENCE, trained.key, "") if trained else None
        mine = _model(self.settings, folder)
        assert mine is not None, "the reference model is trained before it scores"
        models = [mine, *self._companions(mine, folder)]
        digests = {model.name: open_score(model).digest() for model in models}
        made = {name: _outputs(name, of, shards, store) for name, of in digests.items()}
        facts = [
            {"earlier": made[mine.name][at][1], "companions": {m.name: made[m.name][at] for m in models[1:]}}
            for at in range(len(shards))
        ]
        return [
            shard.task(made[mine.name][at][0], models=digests, trained=folder, **facts[at])
            for at, shard in enumerate(shards)
        ]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        if not tasks:
            return []
        window_bytes = batch_size(context.runner, self.window_bytes)
        return run_shards(self._pass(tasks[0], window_bytes), tasks, context.store, context.runner)

    def rehearsed(self, task: Task, store: Store) -> None:
        store.commit(self._pass(task, self.window_bytes).run(task, store))

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns what the score files say of the model that wrote them: digest, dtype, window rule."""
        if not tasks:
            return Told()
        model = self._pass(tasks[0], self.window_bytes).settings
        stored = store.schema(self.name, tasks[0].key).metadata or {}
        prefix = b"siftlm."
        facts = {k.removeprefix(prefix).decode(): v.decode() for k, v in stored.items() if k.startswith(prefix)}
        digest_of = tasks[0].facts["models"][model.name]
        return Told(models={model.name: {"model": model.origin, "digest": digest_of} | facts})

    def _companions(self, mine: ScoreSettings, folder: str | None) -> list[ScoreSettings]:
        """The later models that can be scored from the same tokens."""
        others = [model for step in self.later if (model := _model(step.settings, folder))]
        tokens = open_score(mine).tokens_digest() if others else None
        return [model for model in others if tokens and open_score(model).tokens_digest() == tokens]

    def _pass(self, task: Task, window_bytes: int) -> ScorePass:
        folder = task.facts["trained"]
        mine, *others = [_model(step.settings, folder) for step in (self, *self.later)]
        named = tuple(model for model in others if model and model.name in task.facts["companions"])
        assert mine is not None, "a task knows the folder of its model"
        return ScorePass(mine, named, window_bytes)


def _model(settings: ScoreSettings, trained: str | None) -> ScoreSettings | None:
    """The settings with the folder of the model that the run trains; None where it is not trained yet."""
    if not settings.awaited:
        return settings
    return settings.trained(trained) if trained else None


def _outputs(name: str, model_digest: str, shards: Sequence[Shard], store: Store) -> list[tuple[str, list[str]]]:
    """For every shard the key of its scores under a model, and those of earlier ones with the same first half."""
    model = digest("score", VERSION, model_digest)
    done: dict[str, list[str]] = {}
    for other in sorted(store.done(SCORES + name)):
        done.setdefault(other.partition("-")[0], []).append(other)
    found = []
    for shard in shards:
        base = digest(model, shard.contents(TEXTS))
        key = f"{base}-{digest(shard.content(ELIGIBLE))}"
        found.append((key, [other for other in done.get(base, []) if other != key]))
    return found


def steps(models: Sequence[ScoreSettings]) -> list[Score]:
    """Returns a step for every model, in their order."""
    made: list[Score] = []
    for settings in reversed(models):
        made.insert(0, Score(settings, tuple(made)))
    return made
