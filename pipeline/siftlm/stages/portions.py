"""Reads columns of many small shards together, a portion of the documents at a time.

A count costs the same for two rows and for thousands, so that thousands of tiny shards would pay for it one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from siftlm.engine.shards import Task
from siftlm.statistics.ordered import Int64Array

PORTION_ROWS = 1 << 16  # documents of several shards that are counted together


@dataclass(frozen=True)
class Portion:
    """Holds columns of a few shards, one below the other, and where each row comes from."""

    tasks: tuple[Task, ...]
    table: pa.Table
    shard: Int64Array
    row: Int64Array

    @staticmethod
    def of(tasks: Sequence[Task], tables: Sequence[pa.Table]) -> Portion:
        """Returns the columns of `tasks`, which are the same for all of them."""
        rows = [table.num_rows for table in tables]
        return Portion(
            tasks=tuple(tasks),
            table=tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks(),
            shard=np.repeat(np.array([task.shard for task in tasks], np.int64), rows),
            row=np.concatenate([np.arange(count, dtype=np.int64) for count in rows]),
        )

    def read(self, read: Callable[[Task], pa.Table]) -> pa.Table:
        """Returns other columns of the same shards."""
        return Portion.of(self.tasks, [read(task) for task in self.tasks]).table


def portions(tasks: Sequence[Task], read: Callable[[Task], pa.Table]) -> Iterator[Portion]:
    """Yields what `read` gives of every shard, in order; a shard is never cut."""
    taken: list[Task] = []
    tables: list[pa.Table] = []
    held = 0
    for task in tasks:
        taken.append(task)
        tables.append(read(task))
        held += tables[-1].num_rows
        if held >= PORTION_ROWS:
            yield Portion.of(taken, tables)
            taken, tables, held = [], [], 0
    if taken:
        yield Portion.of(taken, tables)
