"""Scores documents with models that a column of theirs chooses, and writes scores/<name>."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.engine.step import Row, Shard, Step, Told
from siftlm.errors import UserError, nearest
from siftlm.scorers import ScoreSettings, open_score, pinned
from siftlm.scorers.ngram_by_language import BUCKET_VALUES
from siftlm.stages.columns import ELIGIBLE, read_columns
from siftlm.stages.eligible import out_already
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.portions import with_rows
from siftlm.stages.score_step import HOLD_OUT, WINDOW_BYTES, ScoreStep, text_windows
from siftlm.stages.scoring import COMPARED, SEEN, Scores
from siftlm.stages.texts import TEXTS
from siftlm.statistics.hashing import hash_strings
from siftlm.statistics.text_sketch import TextSketch
from siftlm.store import Marker, Store, digest

VERSION = 1
GROUPS = "groups"  # the fact of a marker that counts documents by the value of the column
SCORED = "scored"
LANGUAGES = "Scores by language"
MOST_TOLD = 5  # values without a model that a remark names


@dataclass
class _Counts:
    """Counts the documents of each value of a column: all, those with a score, and those in each bucket.

    Of texts to score it counts those that their model was trained on, by `sketches`.
    """

    sketches: Mapping[str, TextSketch]
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, values: pa.Array, scored: pa.RecordBatch) -> None:
        """Counts a batch of documents."""
        buckets = scored["bucket"].to_pylist() if "bucket" in scored.schema.names else [None] * len(values)
        good = pc.is_valid(scored["nll_sum"]).to_pylist()
        for value, has_score, bucket in zip(values.to_pylist(), good, buckets, strict=True):
            counts = self.groups.setdefault(value or "", Counter())
            counts.update({DOCUMENTS: 1, SCORED: int(has_score), **({bucket: 1} if bucket else {})})

    def look(self, values: pa.Array, texts: pa.Array) -> None:
        """Counts the texts of a batch, by the values that choose their models."""
        filled = pc.greater(pc.binary_length(texts), 0)
        for value, sketch in self.sketches.items():
            own = pc.fill_null(pc.and_(pc.equal(values, value), filled), False)
            among, told = sketch.look(hash_strings(texts.filter(own)))
            self.seen.update({SEEN: among, COMPARED: told})


@dataclass(frozen=True)
class ScoreByColumn(ScoreStep):
    """Scores the documents that are not yet dropped, each with the model that its value in a column names.

    A document whose value names no model has nulls. Rows of dropped documents are null.
    """

    settings: ScoreSettings
    column: str
    given: tuple[str, ...]  # the steps that have the column
    window_bytes: int = WINDOW_BYTES

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*TEXTS, *(step for step in self.given if step not in TEXTS), ELIGIBLE)

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:  # noqa: ARG002
        model = open_score(self.settings).digest()
        made = digest("score by column", VERSION, model)
        return [shard.task(digest(made, shard.contents(self.reads)), model=model) for shard in shards]

    def run(self, task: Task, store: Store) -> Marker:
        started, scorer = time.monotonic(), open_score(self.settings)
        counts = _Counts(scorer.trained_on_each())
        reasons, _ = out_already(task, store)
        values = read_columns(task, store, {self.column})[self.column].combine_chunks()
        schema = pa.schema(scorer.fields())
        with self.pinned(task), store.writer(self.name, task.key, schema) as out:
            scores = Scores([[scorer]], self.name, task.key, [], out, seen=counts.seen)
            for rows, documents in with_rows(text_windows(store, task, self.settings.window, self.window_bytes)):
                alive = pc.is_null(reasons[rows])
                chosen = pc.cast(values[rows], pa.string()).filter(alive)
                texts = documents["text"].filter(alive)
                scored = scorer.score(pa.record_batch({"text": texts, self.column: chosen}))
                counts.add(chosen, scored)
                counts.look(chosen, texts)
                scores.write(_spread(scored, alive.to_numpy(zero_copy_only=False)))
        dropped = pc.sum(pc.is_valid(reasons)).as_py() or 0
        marker = scores.marker(task, dropped, round(time.monotonic() - started, 3))
        groups = {value: dict(of) for value, of in sorted(counts.groups.items())}
        return replace(marker, facts={**marker.facts, GROUPS: groups})

    def tell(self, tasks: Sequence[Task], markers: Sequence[Marker], store: Store) -> Told:  # noqa: ARG002
        """Returns the models' digest, the documents of each value by bucket, and how many have no model."""
        if not tasks:
            return Told()
        groups = _merged([marker.facts.get(GROUPS, {}) for marker in markers])
        models = {self.settings.name: {"model": self.settings.origin, "digest": str(tasks[0].facts["model"])}}
        rows = [self._row(value, of) for value, of in _by_size(groups)]
        tables = {**({LANGUAGES: rows} if rows else {}), **self.masks(markers)}
        return Told(self.leaks(markers, HOLD_OUT), models=models, tables=tables, remarks=self._remarks(groups))

    def _row(self, value: str, of: Counter[str]) -> Row:
        parts = {bucket: of[bucket] for bucket in BUCKET_VALUES} if self._has_buckets else {}
        own: Row = {"score": self.settings.name, self.column: value or "none"}
        return {**own, "documents": of[DOCUMENTS], "with a score": of[SCORED], **parts}

    @property
    def _has_buckets(self) -> bool:
        return "bucket" in pa.schema(self.settings.scorer().fields()).names

    def _remarks(self, groups: Mapping[str, Counter[str]]) -> list[str]:
        """How many documents have no model, by the values that name none."""
        without = {value: of for value, of in groups.items() if value not in self.settings.chosen_by_column}
        if not without:
            return []
        total = sum(of[DOCUMENTS] for of in without.values())
        named = [f"{value or 'none'} {of[DOCUMENTS]:,}" for value, of in _by_size(without)]
        more = [f"{len(named) - MOST_TOLD} others"] if len(named) > MOST_TOLD else []
        told = ", ".join([*named[:MOST_TOLD], *more])
        return [f"score {self.settings.name!r}: {total:,} documents have no model, and no numbers ({told})"]

    def pinned(self, task: Task) -> AbstractContextManager[None]:
        return pinned([(open_score(self.settings), task.facts["model"])])


def steps(models: Sequence[ScoreSettings], before: Sequence[Step], window_bytes: int) -> list[ScoreByColumn]:
    """Returns a step for every model that a column chooses; raises UserError where no earlier step has the column."""
    return [_step(model, model.reads_column, before, window_bytes) for model in models if model.reads_column]


def _step(model: ScoreSettings, column: str, before: Sequence[Step], window_bytes: int) -> ScoreByColumn:
    types = {field.name: field.type for step in before for field in step.columns()}
    kind = types.get(column)
    if kind is None:
        near = nearest(column, types)
        hint = f"; did you mean {near!r}?" if near else ""
        raise UserError(f"{model.place}.by: must be a column that is there before scores, got {column!r}{hint}")
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        raise UserError(f"{model.place}.by: must be a column of strings, got {column!r} of {kind}")
    return ScoreByColumn(
        model, column, tuple(step.name for step in before if column in step.columns().names), window_bytes
    )


def _spread(scored: pa.RecordBatch, alive: np.ndarray) -> pa.RecordBatch:
    """The rows of the documents that are alive in their places, null in others."""
    places = np.where(alive, np.cumsum(alive) - 1, -1)
    return scored.take(pa.array(places, mask=~alive))


def _merged(parts: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, Counter[str]]:
    merged: dict[str, Counter[str]] = {}
    for part in parts:
        for value, counts in part.items():
            merged.setdefault(value, Counter()).update(counts)
    return merged


def _by_size(groups: Mapping[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return sorted(groups.items(), key=lambda pair: (-pair[1][DOCUMENTS], pair[0]))
