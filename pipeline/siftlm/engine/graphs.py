"""Builds the graphs of steps that work shard by shard, with as little logic as possible in Beam.

Imported only when a pipeline is built or run. What a graph holds does not depend on the shards: it reads them from a
plan, a file with one task a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from siftlm.engine.allocator import limit_arenas
from siftlm.engine.runner import RunnerSettings, resource_hints, threads
from siftlm.engine.shards import ShardPool, ShardStage, Task, read_plan
from siftlm.engine.values import write_value
from siftlm.store import Store


def shard_graph(pipeline: beam.Pipeline, stage: ShardStage, plan: str, store: Store, runner: RunnerSettings) -> None:
    """Runs every task of the plan once somewhere; its output is a file."""
    work = beam.ParDo(RunShards(stage, store, threads(runner)))
    _ = tasks(pipeline, plan) | stage.name >> work.with_resource_hints(**resource_hints(runner, stage.name))


def statistics_graph(
    pipeline: beam.Pipeline,
    statistic: Callable[[Sequence[Task]], Any],
    merge: Callable[[Iterable[Any]], Any],
    plan: str,
    answer: str,
    store: Store,
) -> None:
    """Merges the statistics of all tasks of the plan into the file `answer`."""
    _ = (
        tasks(pipeline, plan)
        | "statistics" >> beam.Map(lambda task: statistic([task]))
        | "merge" >> beam.CombineGlobally(Merge(merge))
        | "answer" >> beam.Map(lambda value: write_value(answer, value, store))
    )


def tasks(pipeline: beam.Pipeline, plan: str) -> Any:
    """Returns the tasks of a plan, a PCollection spread over the workers."""
    paths = pipeline | "plan" >> beam.Create([plan])
    return paths | "tasks" >> beam.FlatMap(read_plan) | "spread" >> beam.Reshuffle()


class RunShards(beam.DoFn):
    """Runs a stage on the tasks of a bundle, a few at a time."""

    def __init__(self, stage: ShardStage, store: Store, workers: int) -> None:
        self._stage, self._store, self._workers = stage, store, workers
        self._pool: ShardPool | None = None

    def setup(self) -> None:
        limit_arenas()
        self._pool = ShardPool(self._stage, self._store, self._workers)

    def process(self, task: Task) -> Iterator[None]:
        assert self._pool is not None
        self._pool.submit(task)
        return iter(())

    def finish_bundle(self) -> None:
        assert self._pool is not None
        self._pool.drain()

    def teardown(self) -> None:
        if self._pool is not None:
            self._pool.close()


class InThreads(beam.DoFn):
    """`function` of every element, a few of a bundle at a time: for work that releases the interpreter lock."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function, self._workers = function, workers

    def setup(self) -> None:
        limit_arenas()
        self._pool = ThreadPoolExecutor(self._workers)

    def start_bundle(self) -> None:
        self._futures: list[Future[Any]] = []

    def process(self, element: Any) -> None:
        self._futures.append(self._pool.submit(self._function, element))

    def finish_bundle(self) -> Iterator[Any]:
        try:
            yield from [GlobalWindows.windowed_value(future.result()) for future in self._futures]
        finally:
            for future in self._futures:  # once one has failed, those that have not begun are left out
                future.cancel()

    def teardown(self) -> None:
        self._pool.shutdown()


class Merge(beam.CombineFn):
    """A mergeable statistic as a combiner; the accumulator is None until something is there."""

    def __init__(self, merge: Callable[[Iterable[Any]], Any]) -> None:
        self._merge = merge

    def create_accumulator(self) -> Any:
        return None

    def add_input(self, accumulator: Any, value: Any) -> Any:
        return value if accumulator is None else self._merge([accumulator, value])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        parts = [part for part in accumulators if part is not None]
        return self._merge(parts) if parts else None

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator
