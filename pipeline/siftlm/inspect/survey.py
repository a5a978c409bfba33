"""Counts the documents of a run for the report and for the comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siftlm.engine.shards import Task
from siftlm.report.tally import Asked, Tally, merged, tally
from siftlm.stages.columns import read_columns
from siftlm.stages.portions import portions
from siftlm.store import Store


@dataclass(frozen=True)
class Survey:
    """Counts some shards."""

    asked: Asked
    store: Store

    def __call__(self, tasks: Sequence[Task]) -> Tally:
        wanted = self.asked.wanted()
        read = portions(tasks, lambda task: read_columns(task, self.store, wanted))
        return merged(tally(portion.table, portion.shard, portion.row, self.asked) for portion in read)
