"""Statistics of all shards, merged: one small pipeline, whose answer comes back through a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from siftlm import filesystem
from siftlm.stages.runner import RunnerSettings, run_pipeline
from siftlm.stages.shards import Task, read_plan, write_plan
from siftlm.stages.values import read_value, write_value
from siftlm.store import Store, digest

if TYPE_CHECKING:
    import apache_beam as beam

T = TypeVar("T")


def gather(
    name: str,
    statistic: Callable[[Task], T],
    merge: Callable[[Iterable[T]], T],
    tasks: Sequence[Task],
    store: Store,
    runner: RunnerSettings,
) -> T | None:
    """`merge(statistic(task) for task in tasks)`, computed by the runner; None where there are no tasks.

    `merge` must not mind order or grouping.
    """
    if not tasks:
        return None
    plan = write_plan(store, name, tasks)
    answer = store.path("gathered", digest(name, plan), ".npz")

    def build(pipeline: beam.Pipeline) -> None:
        import apache_beam as beam

        from siftlm.stages.graphs import Merge

        _ = (
            pipeline
            | "plan" >> beam.Create([plan])
            | "tasks" >> beam.FlatMap(read_plan)
            | "spread" >> beam.Reshuffle()
            | "statistics" >> beam.Map(statistic)
            | "merge" >> beam.CombineGlobally(Merge(merge))
            | "answer" >> beam.Map(lambda value: write_value(answer, value))
        )

    run_pipeline(runner, name, build)
    value: T = read_value(answer)
    filesystem.remove(answer)
    return value
