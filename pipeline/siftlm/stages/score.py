"""score: documents/ -> scores/<model>/, what a language model says of every document that is still alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.scorers import LMScorer, LMSettings, open_lm
from siftlm.stages.columns import SCORES, Survivors
from siftlm.stages.shards import Task
from siftlm.stages.texts import document_batches, text_identity
from siftlm.store import Marker, Store, digest

VERSION = 1
WINDOW_BYTES = 128 << 20  # text of a window; two are held at a time, beside what the model itself needs

ScoreWindow = Callable[[], pa.RecordBatch]
"""A window of documents that is read and tokenised; the call gives its score columns."""


@dataclass(frozen=True)
class Score:
    """Scores the survivors of a shard with one model; rows that do not survive are null.

    `earlier` are outputs of the same model over the same documents, with other survivors: what they hold is taken
    over, for a document's score does not depend on its neighbours.
    """

    settings: LMSettings
    survivors: Survivors

    @property
    def name(self) -> str:
        return SCORES + self.settings.name

    def run(self, task: Task, store: Store) -> Marker:
        scorer = open_lm(self.settings)
        schema = pa.schema(scorer.fields())
        reasons = self.survivors.reasons(task, store)
        known = Known(self.name, task.facts.get("earlier", []), store)
        errors: Counter[str] = Counter()
        metadata = {f"siftlm.{k}": v for k, v in scorer.metadata().items()}
        with store.writer(self.name, task.key, schema, metadata=metadata) as scores:

            def feed() -> Iterator[ScoreWindow]:
                for start, window in _windows(store, task, self.settings.window_documents):
                    alive = pc.is_null(reasons.slice(start, window.num_rows)).to_numpy(zero_copy_only=False)
                    yield score_rows(scorer, window, alive, known.rows(start, window.num_rows))

            for score_window in one_ahead(feed()):
                batch = score_window()
                scores.write(batch)
                errors.update(error for error in batch["error"].to_pylist() if error)
        dropped = pc.sum(pc.is_valid(reasons)).as_py() or 0
        return Marker(
            stage=self.name,
            key=task.key,
            shard=task.name,
            rows_in=scores.rows,
            rows_out=scores.rows - dropped - errors.total(),
            dropped={"not_alive": dropped} if dropped else {},
            errors=dict(sorted(errors.items())),
        )


class Known:
    """Scores of a shard that earlier outputs hold already, row by row."""

    def __init__(self, stage: str, keys: Sequence[str], store: Store) -> None:
        self._tables = [store.table(stage, key) for key in keys]

    def rows(self, start: int, rows: int) -> pa.Table | None:
        """The known scores of a window, null where there is none."""
        best: pa.Table | None = None
        for table in self._tables:
            window = table.slice(start, rows)
            best = window if best is None else _coalesce(best, window)
        return best


def one_ahead(feed: Iterator[ScoreWindow]) -> Iterator[ScoreWindow]:
    """The same windows, each read and tokenised by a thread while the one before is in the model."""
    with ThreadPoolExecutor(1, "feed") as thread:
        coming = thread.submit(next, feed, None)
        while window := coming.result():
            coming = thread.submit(next, feed, None)
            yield window


def score_rows(scorer: LMScorer, window: pa.RecordBatch, alive: np.ndarray, known: pa.Table | None) -> ScoreWindow:
    """Tokenises a window of documents: what is alive and not known. The rest of the columns is known or null."""
    schema = pa.schema(scorer.fields())
    have = np.zeros(window.num_rows, bool)
    if known is not None:
        have = pc.is_valid(known["token_count"]).to_numpy() & alive
    missing = alive & ~have
    score = scorer.tokenised(window.filter(pa.array(missing)))

    def columns() -> pa.RecordBatch:
        fresh = pa.Table.from_batches([score()])
        place = np.full(len(alive), -1, np.int64)
        place[missing] = np.arange(fresh.num_rows)
        if known is not None and have.any():
            place[have] = fresh.num_rows + np.arange(int(have.sum()))
            fresh = pa.concat_tables([fresh, known.filter(pa.array(have)).select(fresh.schema.names)])
        indices = pa.array(place, mask=place < 0)
        each = [fresh[name].combine_chunks().take(indices) for name in schema.names]
        return pa.RecordBatch.from_arrays(each, schema=schema)

    return columns


def _coalesce(first: pa.Table, second: pa.Table) -> pa.Table:
    """Whole rows of `first` where it has a score, else of `second`."""
    scored = pc.is_valid(first["token_count"])
    columns = [pc.if_else(scored, a, b) for a, b in zip(first.columns, second.columns, strict=True)]
    return pa.Table.from_arrays(columns, names=first.schema.names)


def _windows(store: Store, task: Task, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first row, documents) in windows of bounded rows and bytes."""
    waiting: list[pa.RecordBatch] = []
    start = held = held_bytes = 0
    for batch in document_batches(task, store, rows=min(rows, 512), columns=["text"]):
        waiting.append(batch)
        held += batch.num_rows
        held_bytes += batch.nbytes
        if held >= rows or held_bytes >= WINDOW_BYTES:
            yield start, _join(waiting)
            start, waiting, held, held_bytes = start + held, [], 0, 0
    if waiting:
        yield start, _join(waiting)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return batch


def tasks(
    settings: LMSettings,
    survivors: Survivors,
    clusters: Sequence[Task],
    contents: Sequence[str],
    store: Store,
) -> list[Task]:
    """A task for every documents shard.

    The first half of the key is the model and the texts, the second the survivors: outputs that share the
    first half hold scores that can be taken over.
    """
    model = digest("score", VERSION, open_lm(settings).digest())
    done: dict[str, list[str]] = {}
    for other in sorted(store.done(SCORES + settings.name)):
        done.setdefault(other.partition("-")[0], []).append(other)
    found = []
    for task, content in zip(clusters, contents, strict=True):
        base = digest(model, *text_identity(task))
        read = [task.inputs[stage] for stage in survivors.stages() if stage in task.inputs]
        key = f"{base}-{digest(survivors.identity(), read, content)}"
        earlier = [other for other in done.get(base, []) if other != key]
        found.append(replace(task, key=key, facts={**task.facts, "earlier": earlier}))
    return found


def model_facts(settings: LMSettings, scored: Sequence[Task], store: Store) -> dict[str, str]:
    """What the score files say of the model that wrote them: digest, dtype, window rule."""
    facts = {"model": settings.model, "digest": open_lm(settings).digest()}
    if scored:
        stored = store.schema(SCORES + settings.name, scored[0].key).metadata or {}
        prefix = b"siftlm."
        facts |= {k.removeprefix(prefix).decode(): v.decode() for k, v in stored.items() if k.startswith(prefix)}
    return facts
