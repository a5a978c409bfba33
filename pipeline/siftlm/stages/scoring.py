"""Scores windows of documents with the models of one or more scores, and writes what they say of a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.scorers import ScoreScorer, ScoreSettings, open_score
from siftlm.scorers.score import Pending
from siftlm.scorers.token_masks import MASK, MASKED
from siftlm.stages.columns import SCORES
from siftlm.stages.members import MembersPending
from siftlm.statistics.hashing import hash_strings
from siftlm.statistics.text_sketch import TextSketch
from siftlm.store import Marker, Store
from siftlm.tables import ShardWriter

FACTS = "siftlm."  # begins the names of what a file's metadata says of the model that wrote it
MARK = "token_count"  # null only where a document was not scored
SEEN, COMPARED = "seen", "compared"  # texts that a model was trained on, of those of which that can be told
TOKENS = "tokens"  # the count of all tokens that a mask could mark


@contextmanager
def open_scores(
    models: Sequence[ScoreSettings], copies: int, key: str, earlier: Sequence[str], store: Store
) -> Iterator[Scores]:
    """Yields the scores of a shard under one model, or under several of one name.

    Of several, `copies` each belong to a fold. Their file appears when the block ends well.
    """
    scorers = [open_score(settings) for settings in models]
    by_fold = [scorers[start : start + copies] for start in range(0, len(scorers), copies)]
    stage, schema = SCORES + models[0].name, pa.schema(scorers[0].fields())
    with store.writer(stage, key, schema, metadata=as_facts(scorers[0].metadata())) as file:
        yield Scores(by_fold, stage, key, [store.table(stage, other) for other in earlier], file)


@dataclass
class Scores:
    """Writes one model's scores of a shard, and counts its errors.

    Where a run trains several models, each document is scored by the copies of the model that has not seen its fold.
    """

    scorers: Sequence[Sequence[ScoreScorer]]  # by fold
    stage: str
    key: str
    earlier: Sequence[pa.Table]
    file: ShardWriter
    errors: Counter[str] = field(default_factory=Counter)
    masks: Counter[str] = field(default_factory=Counter)  # tokens, and by mask marked tokens and bytes
    seen: Counter[str] = field(default_factory=Counter)  # texts that the models were trained on, and those compared

    @property
    def scorer(self) -> ScoreScorer:
        """Returns the scorer, the first of several, which have the same columns."""
        return self.scorers[0][0]

    @property
    def alone(self) -> bool:
        """Tells whether one model scores all documents."""
        return len(self.scorers) == len(self.scorers[0]) == 1

    def known(self, start: int, rows: int) -> pa.Table | None:
        """Returns the scores that earlier outputs hold for a window of documents, null where there are none."""
        return known_rows(self.earlier, start, rows, MARK)

    @cached_property
    def sketches(self) -> list[TextSketch | None]:
        """Returns what the models of each fold say of the texts that they were trained on."""
        return [copies[0].trained_on() for copies in self.scorers]

    def look(self, texts: pa.Array, folds: np.ndarray) -> None:
        """Counts of the texts to score, whose folds are given, those that the models were trained on."""
        if not any(self.sketches):
            return
        hashes = hash_strings(texts)
        filled = pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
        for fold, sketch in enumerate(self.sketches):
            if sketch is not None:
                among, told = sketch.look(hashes[filled & ((folds == fold) | (len(self.sketches) == 1))])
                self.seen.update({SEEN: among, COMPARED: told})

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
        told |= {"seen": dict(self.seen)} if self.seen else {}
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
    have = [_have(table, alive) for table in known]
    wanted = np.logical_or.reduce([alive & ~known_here for known_here in have])
    tokens = models[0].scorer.tokenise(documents.filter(pa.array(wanted)).column("text"))
    parts = []
    for scores, table, known_here in zip(models, known, have, strict=True):
        missing = alive & ~known_here
        scoring = scores.scorer.begin(tokens[np.flatnonzero(missing[wanted])])
        parts.append(Part(pa.schema(scores.scorer.fields()), missing, scoring, known_here, table))
    return Window(parts)


def begin_members(
    scores: Scores, documents: pa.RecordBatch, alive: np.ndarray, start: int, folds: np.ndarray
) -> Window:
    """Tokenises the documents of each fold for the models that have not seen it; these score them one after another."""
    known = scores.known(start, documents.num_rows)
    have = _have(known, alive)
    missing = alive & ~have
    texts, fold = documents["text"].filter(pa.array(missing)), folds[missing]
    work = []
    for number, copies in enumerate(scores.scorers):
        rows = np.flatnonzero(fold == number)
        work.append((rows, [(scorer, scorer.tokenise(texts.take(pa.array(rows)))) for scorer in copies]))
    schema = pa.schema(scores.scorer.fields())
    return Window([Part(schema, missing, MembersPending(schema, work), have, known)])


def _have(known: pa.Table | None, alive: np.ndarray) -> np.ndarray:
    """A mask of the documents whose scores earlier outputs hold."""
    return np.zeros(len(alive), bool) if known is None else pc.is_valid(known[MARK]).to_numpy() & alive


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


def outputs_of(stage: str, halves: Sequence[tuple[str, str]], store: Store) -> list[tuple[str, list[str]]]:
    """Returns the key of each output, made of two halves, and the done keys with the same first half."""
    done: dict[str, list[str]] = {}
    for other in sorted(store.done(stage)):
        done.setdefault(other.partition("-")[0], []).append(other)
    keys = [(first, f"{first}-{second}") for first, second in halves]
    return [(key, [other for other in done.get(first, []) if other != key]) for first, key in keys]


def as_facts(told: Mapping[str, str]) -> dict[str, str]:
    """Returns what a model tells of itself, under the names by which a file's metadata has it."""
    return {f"{FACTS}{name}": value for name, value in told.items()}


def stored_facts(store: Store, stage: str, key: str) -> dict[str, str]:
    """Returns what a model told of itself when it wrote an output."""
    metadata = {name.decode(): value for name, value in (store.schema(stage, key).metadata or {}).items()}
    told = {name: value for name, value in metadata.items() if name.startswith(FACTS)}
    return {name.removeprefix(FACTS): value.decode() for name, value in told.items()}
