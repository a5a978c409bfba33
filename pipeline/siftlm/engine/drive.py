"""Starts the pipeline of a step for the shards that have no output yet, if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from siftlm.engine.devices.pool import WantedDevice
from siftlm.engine.runner import RunnerSettings, run_pipeline, threads
from siftlm.engine.shards import ShardStage, Task, write_plan
from siftlm.engine.spill import Links
from siftlm.store import Marker, Store

if TYPE_CHECKING:
    import apache_beam as beam


class GraphWork(Protocol):
    """Holds the functions that a Beam graph calls, and the temporary files that it needs."""

    @property
    def links(self) -> Links: ...


@dataclass(frozen=True)
class Context:
    """Holds the store and runner that a step works with, and the size of the corpus."""

    store: Store
    runner: RunnerSettings
    documents: int = 0  # that were read
    text_bytes: int = 0


def run_shards(
    stage: ShardStage, tasks: Sequence[Task], context: Context, wanted: WantedDevice | None = None
) -> list[Marker]:
    """Runs the tasks that have no marker, each on a device of its own where one is wanted.

    Returns the markers of all tasks, in their order.
    """
    store, runner = context.store, context.runner
    done = store.committed(stage.name, (task.key for task in tasks))
    waiting = [task for task in tasks if task.key not in done]

    def build(pipeline: beam.Pipeline) -> None:
        from siftlm.engine.graphs import shard_graph

        shard_graph(pipeline, stage, write_plan(store, stage.name, waiting), store, runner, wanted)

    if waiting:
        run_pipeline(runner, stage.name, build)
    return markers_of(stage.name, tasks, done, store)


def run_graph(name: str, tasks: Sequence[Task], work: GraphWork, context: Context) -> None:
    """Runs a step's Beam graph over tasks, then removes the temporary files passed between workers.

    The module `graph` beside that of `work` builds it, and is imported here, for it imports Beam.
    """

    def build(pipeline: beam.Pipeline) -> None:
        graph = import_module(f"{type(work).__module__.rpartition('.')[0]}.graph")
        graph.build(pipeline, work, write_plan(context.store, name, tasks), threads(context.runner))

    try:
        run_pipeline(context.runner, name, build)
    finally:
        work.links.remove()


def markers_of(stage: str, tasks: Sequence[Task], known: Mapping[str, Marker], store: Store) -> list[Marker]:
    """Returns the markers of all tasks in order, reading those that are not in `known` from the store."""
    return [known.get(task.key) or store.marker(stage, task.key) for task in tasks]
