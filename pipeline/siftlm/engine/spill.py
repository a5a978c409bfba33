"""Keeps band keys, edges and components in files, so that a pipeline passes on only file positions.

A pipeline on one machine holds its collections in memory, and a combiner's accumulators are copied between steps.
So keys and edges are written where they are found, those of one partition at a time are read again, and one
union-find at a time merges files of edges: 1e8 linked documents take the 2 GB of
`siftlm_kernels.components.UnionFind`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import isqrt
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from siftlm import filesystem
from siftlm.statistics.hashing import finalise
from siftlm.store import Store
from siftlm.tables import open_parquet

Integers = NDArray[np.int64]
Edges = tuple[Integers, Integers]
Block = tuple[bytes, bytes]  # parallel arrays of 8 bytes an entry: keys, uint64, and numbers, int64
Span = tuple[str, int, int]  # a file, the byte at which a block begins, and its entries

LINK_SCHEMA = pa.schema([pa.field("number", pa.int64(), False), pa.field("component", pa.int64(), False)])
LINKS = "links"  # folder of the store that holds what lives as long as one run at most
BLOCK = 1 << 16


class SpanWriter:
    """Appends blocks to a file and returns the span (path, first byte, entries) of each."""

    def __init__(self, path: str, stream: BinaryIO) -> None:
        self._path, self._stream, self._end = path, stream, 0

    def write(self, block: Block) -> Span:
        span = (self._path, self._end, len(block[0]) // 8)
        self._end += sum(self._stream.write(side) for side in block)
        return span


def read_spans(spans: Iterable[Span]) -> tuple[NDArray[np.uint64], Integers]:
    """Returns the (keys, numbers) of the blocks that the spans locate, ordered by file and position."""
    ordered = sorted(spans)
    total = sum(entries for _, _, entries in ordered)
    keys, numbers, at = np.empty(total, np.uint64), np.empty(total, np.int64), 0
    for path, blocks in groupby(ordered, lambda span: span[0]):
        with filesystem.open_read(path) as stream:
            for _, start, entries in blocks:
                stream.seek(start)
                for side in (keys, numbers):
                    side[at : at + entries] = np.frombuffer(stream.read(8 * entries), side.dtype)
                at += entries
    return keys, numbers


def partition(keys: NDArray[np.uint64], owners: Integers, partitions: int) -> Iterator[tuple[int, Block]]:
    """Yields (partition, block) of the parallel arrays of keys and owners, split by a hash of the key."""
    if partitions == 1:
        yield 0, (keys.tobytes(), owners.tobytes())
        return
    part = (finalise(keys) % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(partitions + 1))
    for index in np.flatnonzero(np.diff(bounds)):
        rows = order[bounds[index] : bounds[index + 1]]
        yield int(index), (keys[rows].tobytes(), owners[rows].tobytes())


def groups(*columns: NDArray[Any]) -> tuple[Integers, Integers]:
    """Returns the start and length of every run of equal rows in parallel arrays."""
    new = np.arange(len(columns[0])) == 0
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    starts = np.flatnonzero(new)
    return starts, np.diff(np.r_[starts, len(new)])


@dataclass(frozen=True)
class Links:
    """Reads and writes files of keys and edges in one folder, which is removed when the graph has run."""

    store: Store
    key: str

    @property
    def folder(self) -> str:
        return f"{self.store.root}/{LINKS}/{self.key}"

    @property
    def final(self) -> str:
        """Returns the path of the file to which `merge` writes all components, sorted by number."""
        return f"{self.folder}/all.parquet"

    @contextmanager
    def open_spans(self, name: str) -> Iterator[SpanWriter]:
        """Yields a writer of blocks to a file, which appears when the context ends."""
        path = f"{self.folder}/{name}.bin"
        with filesystem.open_write(path, durable=False) as stream:
            yield SpanWriter(path, stream)

    def write(self, name: str, edges: Edges) -> str:
        """Writes edges (a, b), or components (number, smallest number of its component), and returns the path."""
        path = f"{self.folder}/{name}.parquet"
        with open_parquet(path, LINK_SCHEMA, durable=False) as links:
            for start in range(0, len(edges[0]), BLOCK):
                columns = [side[start : start + BLOCK] for side in edges]
                links.write(pa.record_batch(columns, schema=LINK_SCHEMA))
        return path

    def merge(self, name: str, paths: Iterable[str]) -> str:
        """Writes the connected components of the edges in several files, in whatever order; returns the path."""
        from siftlm_kernels.components import UnionFind

        forest = UnionFind()
        for path in sorted(paths):
            with _opened(path) as file:
                for batch in file.iter_batches(batch_size=BLOCK):
                    forest.add(batch["number"].to_numpy(), batch["component"].to_numpy())
        return self.write(name, forest.components())

    def read(self, path: str) -> Edges:
        """Returns the edges that a file holds."""
        with _opened(path) as file:
            table = file.read()
        return table["number"].to_numpy(), table["component"].to_numpy()

    def linked(self, shard: int) -> Edges:
        """Returns the rows of a shard that are linked with other documents, ascending, and their components."""
        low, high = shard << 32, (shard + 1) << 32
        with _opened(self.final) as file:
            groups = [file.metadata.row_group(group).column(0).statistics for group in range(file.num_row_groups)]
            links = file.read_row_groups([g for g, of in enumerate(groups) if of.min < high and of.max >= low])
        numbers = links["number"].to_numpy()
        rows = slice(*np.searchsorted(numbers, [low, high]))
        return numbers[rows] - low, links["component"].to_numpy()[rows]

    def remove(self) -> None:
        filesystem.remove(self.folder, recursive=True)


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    with filesystem.open_read(path) as stream:
        yield pq.ParquetFile(stream, pre_buffer=False, page_checksum_verification=True)


def branch(partition: int, partitions: int) -> int:
    """Returns the inner node of the merge tree for a partition's edges; partitions are spread evenly over nodes."""
    return partition % max(1, isqrt(partitions))
