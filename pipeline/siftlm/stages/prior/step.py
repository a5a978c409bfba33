"""Defines the step that measures documents by the frequencies of their tokens in the whole corpus.

The tokens of every shard are counted first; the counts of a shard have a key of their own, so that a refresh counts
only what is new. Counts are integers, so neither the order of the documents nor their shards can change a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm.engine.drive import Context, run_shards
from siftlm.engine.shards import Task
from siftlm.engine.step import Shard, ShardStep
from siftlm.engine.values import SUFFIX, read_value, write_value
from siftlm.scorers.text_tokenizer import OpenTokenizer, TokenizerFiles, find_tokenizer, open_text_tokenizer
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.portions import with_rows
from siftlm.stages.prior.settings import PriorSettings
from siftlm.stages.texts import TEXTS, document_batches
from siftlm.statistics.ordered import BoolArray
from siftlm.store import Marker, Store, digest
from siftlm_kernels.token_prior import TokenCounts, prior_numbers

if TYPE_CHECKING:
    from siftlm.scorers.lm_tokens import TokenIds

VERSION = 2
STEP = "prior/"  # prefix of the steps that measure documents
COUNTS = "token_counts"  # the tokens of every shard
PRIORS = "token_priors"  # those of the whole corpus, and the fact of a task that names their file
COUNTS_SCHEMA = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in TokenCounts._fields])
TOKENIZER = "tokenizer"  # the fact of a task that is the tokenizer's digest
BATCH_DOCUMENTS = 1024


@dataclass(frozen=True)
class Prior(ShardStep):
    """Measures every document by the priors of its tokens, null for one without tokens and for dropped duplicates."""

    place: str  # of the settings, for errors
    settings: PriorSettings
    drops: bool | None  # whether duplicates are out; None for a run that does not look for them
    per: ClassVar[Literal["corpus"]] = "corpus"

    @property
    def name(self) -> str:  # type: ignore[override]
        return STEP + self.settings.name

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        return TEXTS if self.drops is None else (*TEXTS, CLUSTERS)

    def identity(self) -> object:
        return VERSION, self.drops, self.settings.counts, self.settings.name, self.tokenizer_files().digest()

    def tokenizer_files(self) -> TokenizerFiles:
        """Returns where the tokenizer is; raises UserError where it is not."""
        return find_tokenizer(f"{self.place}.tokenizer", self.settings.tokenizer, self.settings.revision)

    def tokenizer(self, task: Task | None = None) -> OpenTokenizer:
        """Returns the tokenizer, that of the key of a task where one is given; raises UserError."""
        return open_text_tokenizer(self.tokenizer_files(), task.facts[TOKENIZER] if task else None)

    def columns(self) -> pa.Schema:
        return pa.schema(self.settings.columns())

    def tasks(self, shards: Sequence[Shard], store: Store) -> list[Task]:
        """Returns the tasks, each with the digest of the tokenizer that its key is made of."""
        facts = {TOKENIZER: self.tokenizer_files().digest()}
        return [replace(task, facts={**task.facts, **facts}) for task in super().tasks(shards, store)]

    def work(self, tasks: Sequence[Task], context: Context) -> list[Marker]:
        store = context.store
        done = store.committed(self.name, (task.key for task in tasks))
        path = self._path(tasks, store)
        if len(done) < len(tasks) and not store.holds_sealed(path):
            run_shards(CountTokens(self), self._counting(tasks), context)
            write_value(path, self._total(tasks, store), store)
        return super().work([replace(task, facts={**task.facts, PRIORS: path}) for task in tasks], context)

    def keeps(self, tasks: Sequence[Task]) -> Sequence[tuple[str, str]]:
        if not tasks:
            return []
        return [(PRIORS, self._key(tasks)), *((COUNTS, task.key) for task in self._counting(tasks))]

    def run(self, task: Task, store: Store) -> Marker:
        priors = _priors(task.facts[PRIORS], store, self.settings.counts == "tokens_and_documents")
        with store.writer(self.name, task.key, self.columns()) as out:
            for encoded, alive in self.encoded(task, store):
                columns = prior_numbers(encoded.ids, encoded.offsets, priors)
                out.write(pa.RecordBatch.from_arrays([_spread(c, alive) for c in columns], schema=self.columns()))
        return task.marker(self.name, out.rows, out.seal)

    def rehearse(self, task: Task, store: Store) -> float | None:
        (counted,) = self._counting([task])
        store.commit(CountTokens(self).run(counted, store))
        path = self._path([task], store)
        write_value(path, self._total([task], store), store)
        super().rehearse(replace(task, facts={**task.facts, PRIORS: path}), store)
        return None

    def encoded(self, task: Task, store: Store) -> Iterator[tuple[TokenIds, BoolArray]]:
        """Yields per batch of a shard the tokens of the documents that count, and a mask that marks them."""
        encode, alive = self.tokenizer(task).encode, None
        if self.drops:
            duplicate = store.table(CLUSTERS, task.inputs[CLUSTERS], ["duplicate"])["duplicate"]
            alive = np.asarray(pc.is_null(duplicate).to_numpy(), np.bool_)
        for rows, batch in with_rows(document_batches(task, store, rows=BATCH_DOCUMENTS, columns=["text"])):
            here = np.ones(batch.num_rows, np.bool_) if alive is None else alive[rows]
            yield encode(batch["text"].filter(pa.array(here)).to_pylist()), here

    def _counting(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks that count the tokens of shards, whose keys say nothing of other shards or of priors."""
        counted = COUNTS, VERSION, self.drops
        return [
            replace(task, key=digest(*counted, task.facts[TOKENIZER], [task.inputs.get(step) for step in self.reads]))
            for task in tasks
        ]

    def _key(self, tasks: Sequence[Task]) -> str:
        return digest(PRIORS, VERSION, [task.key for task in self._counting(tasks)])

    def _path(self, tasks: Sequence[Task], store: Store) -> str:
        return store.path(PRIORS, self._key(tasks), SUFFIX)

    def _total(self, tasks: Sequence[Task], store: Store) -> list[NDArray[np.int64]]:
        total = TokenCounts.empty(self.tokenizer(tasks[0]).vocabulary)
        for task in self._counting(tasks):
            table = store.table(COUNTS, task.key, COUNTS_SCHEMA.names)
            for sums, column in zip(total, table.columns, strict=True):
                sums += column.to_numpy()
        return list(total)


@dataclass(frozen=True)
class CountTokens:
    """Counts the tokens of a shard's documents, and writes a row for every token of the vocabulary."""

    prior: Prior
    name: str = COUNTS

    def run(self, task: Task, store: Store) -> Marker:
        counts, documents = TokenCounts.empty(self.prior.tokenizer(task).vocabulary), 0
        for encoded, alive in self.prior.encoded(task, store):
            counts.add(encoded.ids, encoded.offsets)
            documents += len(alive)
        with store.writer(COUNTS, task.key, COUNTS_SCHEMA) as out:
            out.write(pa.RecordBatch.from_arrays([pa.array(column) for column in counts], schema=COUNTS_SCHEMA))
        return task.marker(COUNTS, documents, out.seal)


@lru_cache(maxsize=2)
def _priors(path: str, store: Store, by_documents: bool) -> NDArray[np.float64]:
    return TokenCounts(*read_value(path, store)).priors(by_documents=by_documents)


def _spread(values: NDArray[np.float64], alive: BoolArray) -> pa.Array:
    """A column with the values of the documents that count, and nulls for the others and for NaN."""
    column = np.full(len(alive), np.nan)
    column[alive] = values
    return pa.array(column, mask=np.isnan(column))
