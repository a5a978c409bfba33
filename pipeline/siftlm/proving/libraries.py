"""Reads which documents there are to draw from: the pool of all eligible ones, and what each arm has selected.

Memory has 20 bytes of every document of the pool, and of every one that an arm has selected. Ids and texts are read
from the store where they are needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from siftlm.engine.shards import Task
from siftlm.proving.draws import Documents, Indices
from siftlm.stages.columns import DECISIONS, read_columns
from siftlm.stages.eligible import Split
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.texts import IDS, TEXTS, doc_ids, document_batches
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.store import Store, digest

HELD_OUT = "prove"  # the purpose of the keyed draw of documents that measure models
ROWS_COLUMNS = ("doc_id", "byte_count")
Part = tuple[np.ndarray, ...]
"""Rows, hashes, bytes and weights of documents of a shard."""
KINDS = (np.uint32, np.uint64, np.uint32, np.float32)


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
class Places:
    """Holds some documents of shards, in their order: where each is, its id's hash, size and weight.

    Attributes:
        store: Where the outputs of the shards are.
        tasks: The shards, each with the keys of its outputs.
        starts: int64[shards + 1], how many of the documents come before each shard, and their number.
        rows: uint32[n], the row of each in its shard.
        hashes: uint64[n], hashes of the ids.
        bytes: uint32[n], UTF-8 bytes of each text, at most 2^32 - 1.
        weight: float32[n], expected copies of each in one pass.
    """

    store: Store
    tasks: Sequence[Task]
    starts: Indices
    rows: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint64]
    bytes: npt.NDArray[np.uint32]
    weight: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Returns a digest of which documents they are and what they weigh."""
        return digest(*(xxhash.xxh3_128_hexdigest(part.data) for part in (self.hashes, self.weight)))

    @property
    def sources(self) -> list[str]:
        """Returns the source of every shard."""
        return [str(task.facts["source"]) for task in self.tasks]

    def of_source(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Returns bool[n], True where a document is of one of the sources."""
        return np.repeat([source in names for source in self.sources], np.diff(self.starts))

    def documents(self, sources: Sequence[str], bytes_per_token: Mapping[str, float]) -> Documents:
        """Returns what draws need to know; sources are numbered by their place in `sources`."""
        numbers = np.array([sources.index(source) for source in self.sources], np.int16)
        rates = np.array([bytes_per_token.get(name, 1.0) for name in sources], np.float64)
        source = np.repeat(numbers, np.diff(self.starts))
        return Documents(self.hashes, self.bytes, self.weight, source, rates)

    def by_shard(self, numbers: Indices) -> Iterator[tuple[Task, Indices, Indices]]:
        """Yields for every shard some of whose documents are named its task, their numbers, and their rows there.

        `numbers` are those of documents among all of these, ascending.
        """
        edges = np.searchsorted(numbers, self.starts)
        for task, first, last in zip(self.tasks, edges, edges[1:], strict=False):
            if first < last:
                here = numbers[first:last]
                yield task, here, self.rows[here].astype(np.int64)

    def texts(self, numbers: Indices) -> Iterator[tuple[int, str]]:
        """Yields (number, text) of the documents with these numbers, which ascend."""
        for task, here, rows in self.by_shard(numbers):
            yield from zip(here.tolist(), _texts_of(task, self.store, rows), strict=True)

    def doc_ids(self, numbers: Indices) -> list[str]:
        """Returns the ids of the documents with these numbers, which ascend."""
        read = (doc_ids(task, self.store).take(pa.array(rows)) for task, _, rows in self.by_shard(numbers))
        return [name for names in read for name in names.to_pylist()]


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

    @property
    def training(self) -> Places:
        """Returns the documents with text and weight that models may train on."""
        return self._places[0]

    @property
    def measuring(self) -> Places:
        """Returns those that measure models."""
        return self._places[1]

    @cached_property
    def _places(self) -> tuple[Places, Places]:
        trains, measures = _Columns(), _Columns()
        for task in self.tasks:
            for parts, made in zip((trains, measures), self._parts(task), strict=True):
                parts.add(made)
        joined = [Places(self.store, self.tasks, *parts.joined()) for parts in (trains, measures)]
        return joined[0], joined[1]

    def _parts(self, task: Task) -> tuple[Part, Part]:
        """A shard's documents that train models, and those that measure them."""
        table = read_columns(task, self.store, {*ROWS_COLUMNS, *(() if self.split else ("kept", "copies", "weight"))})
        sizes = table["byte_count"].to_numpy()
        weight = self._weight(task, table)
        rows = np.flatnonzero((sizes > 0) & (weight > 0))
        hashes = hash_strings(table["doc_id"].combine_chunks().take(pa.array(rows)))
        held_out = self.holdout.mask(hashes, str(task.facts["source"]))
        made = (rows.astype(np.uint32), hashes, _small(sizes[rows]), weight[rows].astype(np.float32))
        trains, measures = (tuple(column[chosen] for column in made) for chosen in (~held_out, held_out))
        return trains, measures

    def _weight(self, task: Task, table: pa.Table) -> npt.NDArray[np.float64]:
        if self.split:
            return np.array([reason is None for reason in self.split.losses(task, self.store)[:, 0]], np.float64)
        assert DECISIONS in task.inputs
        counted = table["copies" if self.materialised else "weight"].to_numpy().astype(np.float64)
        return np.where(table["kept"].to_numpy(zero_copy_only=False), counted, 0.0)


def _small(sizes: np.ndarray) -> npt.NDArray[np.uint32]:
    return np.asarray(np.minimum(sizes, np.iinfo(np.uint32).max), np.uint32)


class _Columns:
    """Collects the columns of one shard after another, and joins them."""

    def __init__(self) -> None:
        self._columns: tuple[list[np.ndarray], ...] = tuple([np.zeros(0, kind)] for kind in KINDS)
        self._starts = [0]

    def add(self, part: Part) -> None:
        """Adds the documents of the next shard."""
        for column, made in zip(self._columns, part, strict=True):
            column.append(made)
        self._starts.append(self._starts[-1] + len(part[0]))

    def joined(self) -> Iterator[np.ndarray]:
        """Yields where shards begin and then the columns; the parts of each are freed when the next is joined."""
        yield np.array(self._starts, np.int64)
        for column in self._columns:
            yield np.concatenate(column)
            column.clear()


def _texts_of(task: Task, store: Store, rows: Indices) -> Iterator[str]:
    """The texts of some rows of a shard, which ascend; nothing is read after the last."""
    start, left = 0, rows
    for batch in document_batches(task, store, columns=["text"], end=int(rows[-1]) + 1):
        end = start + batch.num_rows
        here = left[: int(np.searchsorted(left, end))]
        yield from batch["text"].take(pa.array(here - start)).to_pylist()
        start, left = end, left[len(here) :]
