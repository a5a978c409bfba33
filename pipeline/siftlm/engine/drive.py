"""Starts the pipelines of steps: for the shards that have no output yet, and never for nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siftlm.engine.beam import import_beam
from siftlm.engine.runner import RunnerSettings, run_pipeline, threads
from siftlm.engine.shards import ShardStage, Task, write_plan
from siftlm.engine.spill import Links
from siftlm.store import Marker, Store

Build = Callable[[Any, str, int], None]
"""Adds a graph to a pipeline, given the file that lists its tasks and the threads of a worker."""


@dataclass(frozen=True)
class Context:
    """Where the work of a step is done, and how much there is of it."""

    store: Store
    runner: RunnerSettings
    documents: int = 0  # that were read
    text_bytes: int = 0


def run_shards(stage: ShardStage, tasks: Sequence[Task], store: Store, runner: RunnerSettings) -> list[Marker]:
    """Runs the tasks that have no marker and returns the markers of all tasks, in their order."""
    done = store.committed(stage.name, (task.key for task in tasks))
    waiting = [task for task in tasks if task.key not in done]
    if waiting:
        plan = write_plan(store, stage.name, waiting)
        import_beam()  # without its warnings
        from siftlm.engine.graphs import shard_graph

        run_pipeline(runner, stage.name, lambda pipeline: shard_graph(pipeline, stage, plan, store, runner))
    return markers_of(stage.name, tasks, done, store)


def run_graph(name: str, tasks: Sequence[Task], links: Links, context: Context, graph: Callable[[], Build]) -> None:
    """Runs a graph over tasks, and removes the files that it passed from worker to worker.

    Args:
        name: of the pipeline.
        tasks: that the graph reads from a file.
        links: the folder of the files, which no other run uses.
        context: the store and the runner.
        graph: imports the module of the graph, which imports Beam.
    """
    plan = write_plan(context.store, name, tasks)
    import_beam()  # without its warnings
    build = graph()
    try:
        run_pipeline(context.runner, name, lambda pipeline: build(pipeline, plan, threads(context.runner)))
    finally:
        links.remove()


def markers_of(stage: str, tasks: Sequence[Task], known: Mapping[str, Marker], store: Store) -> list[Marker]:
    """Returns the markers of all tasks in order, those that are not known yet from the store."""
    return [known.get(task.key) or store.marker(stage, task.key) for task in tasks]
