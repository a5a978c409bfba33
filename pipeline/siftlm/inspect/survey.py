"""Counts the documents of a run for the report and for the comparison of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from siftlm.engine.drive import Context
from siftlm.engine.gather import gather
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.inspect.run import SelectedRun
from siftlm.report.tally import Asked, Tally, merged, tally
from siftlm.stages.columns import read_columns
from siftlm.stages.portions import portions
from siftlm.store import Store


def survey(run: SelectedRun, name: str, asked: Asked, runner: RunnerSettings) -> Tally:
    """Returns the counts over all shards of a run, as a tally; large runs are counted by `runner`."""
    count = partial(_counted, asked=asked, store=run.store)
    return gather(name, count, merged, run.tasks(), Context(run.store, runner, run.documents)) or merged([])


def _counted(tasks: Sequence[Task], asked: Asked, store: Store) -> Tally:
    wanted = asked.wanted()
    read = portions(tasks, lambda task: read_columns(task, store, wanted))
    return merged(tally(portion.table, portion.shard, portion.row, asked) for portion in read)
