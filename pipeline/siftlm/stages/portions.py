"""Reads the columns of several small shards together as one table.

A count costs the same for two rows and for thousands, so that thousands of tiny shards would pay for it one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.statistics.ordered import Int64Array

T = TypeVar("T")
PORTION_ROWS = 1 << 16  # documents of several shards that are counted together


@dataclass(frozen=True)
class Portion:
    """Holds the concatenated columns of a few shards, with the shard and row number of every row."""

    tasks: tuple[Task, ...]
    table: pa.Table
    shard: Int64Array
    row: Int64Array

    @staticmethod
    def of(tasks: Sequence[Task], tables: Sequence[pa.Table]) -> Portion:
        """Returns a portion of `tasks` from their tables, which must all have the same columns."""
        rows = [table.num_rows for table in tables]
        return Portion(
            tasks=tuple(tasks),
            table=tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks(),
            shard=np.repeat(np.array([task.shard for task in tasks], np.int64), rows),
            row=np.concatenate([np.arange(count, dtype=np.int64) for count in rows]),
        )

    def read(self, read: Callable[[Task], pa.Table]) -> pa.Table:
        """Returns other columns of the same shards, read by `read`, as one table."""
        return Portion.of(self.tasks, [read(task) for task in self.tasks]).table


def portions(tasks: Sequence[Task], read: Callable[[Task], pa.Table]) -> Iterator[Portion]:
    """Yields the tables that `read` returns for the shards, in order, several shards together; no shard is split."""
    tables = ((task, read(task)) for task in tasks)
    for pairs in batched(tables, (lambda pair: int(pair[1].num_rows), PORTION_ROWS)):
        yield Portion.of(*zip(*pairs, strict=True))


def with_rows(batches: Iterable[pa.RecordBatch], start: int = 0) -> Iterator[tuple[slice, pa.RecordBatch]]:
    """Yields (slice of row numbers, batch) for every batch, numbering rows from `start`."""
    for batch in batches:
        yield slice(start, start + batch.num_rows), batch
        start += batch.num_rows


def batched(values: Iterable[T], *limits: tuple[Callable[[T], int], int]) -> Iterator[list[T]]:
    """Yields the values in lists, ending a list once one of its total sizes reaches its limit."""
    batch, totals = list[T](), [0] * len(limits)
    for value in values:
        batch.append(value)
        totals = [total + size(value) for total, (size, _) in zip(totals, limits, strict=True)]
        if any(total >= limit for total, (_, limit) in zip(totals, limits, strict=True)):
            yield batch
            batch, totals = [], [0] * len(limits)
    if batch:
        yield batch
