"""Builds the Beam graphs of steps that work shard by shard, with as little logic as possible in them.

Imported only when a pipeline is built or run. What a graph holds does not depend on the shards: it reads them from a
plan, a file with one task a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from operator import attrgetter
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from siftlm.engine.allocator import limit_arenas
from siftlm.engine.devices.pool import WantedDevice
from siftlm.engine.runner import RunnerSettings, resource_hints, shards_at_once
from siftlm.engine.shards import ShardStage, Task, read_plan, run_task
from siftlm.engine.values import write_value
from siftlm.store import Store


def shard_graph(
    pipeline: beam.Pipeline,
    stage: ShardStage,
    plan: str,
    store: Store,
    runner: RunnerSettings,
    wanted: WantedDevice | None = None,
) -> None:
    """Adds to a pipeline the work on every task of the plan; each writes its output to a file."""
    one = partial(run_task, stage, store=store, wanted=wanted)
    work = beam.ParDo(InThreads(one, shards_at_once(runner, wanted)))
    _ = tasks(pipeline, plan) | stage.name >> work.with_resource_hints(**resource_hints(runner, stage.name))


def statistics_graph(
    pipeline: beam.Pipeline,
    statistic: Callable[[Sequence[Task]], Any],
    merge: Callable[[Iterable[Any]], Any],
    plan: str,
    answer: str,
    store: Store,
) -> None:
    """Adds to a pipeline the merging of all tasks' statistics into the file `answer`."""
    _ = (
        tasks(pipeline, plan)
        | "statistics" >> beam.Map(lambda task: statistic([task]))
        | "merge" >> beam.CombineGlobally(Merge(merge))
        | "answer" >> beam.Map(lambda value: write_value(answer, value, store))
    )


def tasks(pipeline: beam.Pipeline, plan: str) -> Any:
    """Returns the tasks of a plan file as a PCollection that is spread over the workers."""
    paths = pipeline | "plan" >> beam.Create([plan])
    return paths | "tasks" >> beam.FlatMap(read_plan) | "spread" >> beam.Reshuffle()


def with_parts(name: str, tasks: Any, parts: Any, number: Callable[[Task], int] = attrgetter("shard")) -> Any:
    """Returns a PCollection of (task, values of its shard), where `parts` holds pairs (shard number, value)."""
    numbered = tasks | f"{name}, numbered" >> beam.Map(lambda task: (number(task), task))
    grouped = {"task": numbered, "parts": parts} | f"{name}, by shard" >> beam.CoGroupByKey()
    return grouped | f"{name}, of a shard" >> beam.MapTuple(lambda _, group: (*group["task"], group["parts"]))


class InThreads(beam.DoFn):
    """Calls a function on several elements of a bundle at once, for work that releases the interpreter lock.

    Once a call has failed, calls that have not begun are skipped: the next run makes them.
    """

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function, self._workers = function, workers

    def setup(self) -> None:
        limit_arenas()
        self._pool = ThreadPoolExecutor(self._workers)

    def start_bundle(self) -> None:
        self._futures: list[Future[Any]] = []

    def process(self, element: Any) -> Iterator[Any]:
        if self._workers == 1:  # a bundle can be split where nothing of it waits
            yield self._function(element)
        else:
            self._futures.append(self._pool.submit(self._function, element))

    def finish_bundle(self) -> Iterator[Any]:
        finished, _ = wait(self._futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in finished):
            for future in self._futures:
                future.cancel()
            wait(self._futures)
        results = [future.result() for future in self._futures if not future.cancelled()]
        yield from map(GlobalWindows.windowed_value, results)

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Merge(beam.CombineFn):
    """Combines the values of a mergeable statistic; the accumulator is None until the first value."""

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
