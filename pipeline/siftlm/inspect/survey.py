"""Counts the documents of a run for the report and for the comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence

from siftlm.engine.shards import Task
from siftlm.report.tally import Asked, Tally, merged, tally
from siftlm.stages.columns import read_columns
from siftlm.stages.portions import portions
from siftlm.store import Store


def survey(tasks: Sequence[Task], asked: Asked, store: Store) -> Tally:
    """Returns the tally of some shards."""
    wanted = asked.wanted()
    read = portions(tasks, lambda task: read_columns(task, store, wanted))
    return merged(tally(portion.table, portion.shard, portion.row, asked) for portion in read)
