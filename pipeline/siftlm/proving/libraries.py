"""Reads which documents there are to draw from: the pool of all eligible ones, and what each arm has selected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.shards import Task
from siftlm.proving.draws import Documents
from siftlm.stages.columns import DECISIONS, read_columns
from siftlm.stages.eligible import Split
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS, TEXTS, document_batches
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.store import Store, digest

HELD_OUT = "prove"  # the purpose of the keyed draw of documents that measure models
ROWS_COLUMNS = ("doc_id", "byte_count")


@dataclass(frozen=True)
class Holdout:
    """Decides by id which documents of some sources measure models, and so train none."""

    sources: frozenset[str]
    share: float
    seed: int

    def mask(self, hashes: npt.NDArray[np.uint64], source: str) -> npt.NDArray[np.bool_]:
        """Returns bool[n], True where a document of `source` measures models."""
        if source not in self.sources:
            return np.zeros(len(hashes), np.bool_)
        return np.asarray(uniform(keyed(hashes, self.seed, HELD_OUT)) < self.share, np.bool_)


@dataclass(frozen=True)
class Library:
    """Holds documents of the shards of one configuration or run, with what each weighs in a selection.

    Attributes:
        name: The arm, or the name of the pool.
        store: Where the outputs of the shards are.
        tasks: The shards, each with the keys of its outputs.
        split: Which documents are dropped before any rule; None for what a selection has kept.
        holdout: Which documents measure models.
        materialised: Whether copies count as the selection drew them, or its weights.
    """

    name: str
    store: Store
    tasks: Sequence[Task]
    holdout: Holdout
    split: Split | None = None
    materialised: bool = True

    @cached_property
    def identity(self) -> str:
        """Returns a digest of the outputs that texts are read from."""
        return digest([[task.inputs.get(step) for step in (DOCUMENTS, IDS, *TEXTS)] for task in self.tasks])

    @cached_property
    def rows(self) -> pa.Table:
        """Returns the documents: shard, row, doc_id, byte_count, weight, source and whether each is held out.

        Documents without text have no weight.
        """
        return pa.concat_tables([self._rows_of(number, task) for number, task in enumerate(self.tasks)])

    def documents(self, sources: Sequence[str], bytes_per_token: Mapping[str, float]) -> Documents:
        """Returns what draws need to know; sizes are in estimated tokens, and sources are numbered by their place."""
        table = self.rows
        names = table["source"].to_pylist()
        rates = np.array([bytes_per_token.get(name, 1.0) for name in names])
        numbers = pc.index_in(table["source"], pa.array(sources, pa.string())).to_numpy()
        return Documents(
            hash_strings(table["doc_id"].combine_chunks()),
            table["byte_count"].to_numpy(),
            np.ceil(table["byte_count"].to_numpy() / rates).astype(np.int64) + 1,
            np.where(table["held_out"].to_numpy(), 0.0, table["weight"].to_numpy()),
            np.asarray(numbers, np.int64),
        )

    def texts(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        """Yields (number of a row of `rows`, its text) of the documents numbered by `rows`, sorted, in order."""
        shard, row = (self.rows[name].to_numpy() for name in ("shard", "row"))
        for number, task in enumerate(self.tasks):
            here = rows[shard[rows] == number]
            yield from zip(here.tolist(), self._texts_of(task, row[here]), strict=True)

    def _texts_of(self, task: Task, rows: npt.NDArray[np.int64]) -> Iterator[str]:
        start, left = 0, rows
        if not len(rows):
            return
        for batch in document_batches(task, self.store, columns=["text"]):
            end = start + batch.num_rows
            here = left[: int(np.searchsorted(left, end))]
            yield from batch["text"].take(pa.array(here - start)).to_pylist()
            start, left = end, left[len(here) :]
            if not len(left):
                return

    def _rows_of(self, number: int, task: Task) -> pa.Table:
        table = read_columns(task, self.store, {*ROWS_COLUMNS, *self._decisive()})
        sizes = table["byte_count"].to_numpy()
        weight = np.where(sizes > 0, self._weight(task, table), 0.0)
        hashes = hash_strings(table["doc_id"].combine_chunks())
        source = str(task.facts["source"])
        rows = table.num_rows
        return pa.table(
            {
                "shard": np.full(rows, number),
                "row": np.arange(rows),
                "doc_id": table["doc_id"].cast(pa.string()),
                "byte_count": sizes.astype(np.int64),
                "weight": weight,
                "source": pa.array([source] * rows, pa.string()),
                "held_out": self.holdout.mask(hashes, source),
            }
        )

    def _decisive(self) -> tuple[str, ...]:
        return () if self.split else ("kept", "copies", "weight")

    def _weight(self, task: Task, table: pa.Table) -> npt.NDArray[np.float64]:
        if self.split:
            return np.array([reason is None for reason in self.split.losses(task, self.store)[:, 0]], np.float64)
        assert DECISIONS in task.inputs
        counted = table["copies" if self.materialised else "weight"].to_numpy().astype(np.float64)
        return np.where(table["kept"].to_numpy(zero_copy_only=False), counted, 0.0)
