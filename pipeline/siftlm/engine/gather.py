"""Merges statistics of all shards, in this process or by a pipeline that returns them through a file."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from siftlm import filesystem
from siftlm.engine.drive import Context
from siftlm.engine.runner import run_pipeline
from siftlm.engine.shards import Task, write_plan
from siftlm.engine.values import SUFFIX, read_value

T = TypeVar("T")

IN_DRIVER_DOCUMENTS = 1_000_000  # columns of so few are read faster than a cluster starts a pipeline
GATHERED = "gathered"  # folder of the store with answers, each of one call
PARTS = 8  # of an answer that wait to be merged, and as many that are computed or wait
TOGETHER = 1024  # shards at most whose statistic is computed by one call


def gather(
    name: str,
    statistic: Callable[[Sequence[Task]], T],
    merge: Callable[[Iterable[T]], T],
    tasks: Sequence[Task],
    context: Context,
) -> T | None:
    """Returns the statistics of all tasks, merged by `merge`; None if there are no tasks.

    The order and grouping of tasks must not change the result. A small corpus is read here, a large one by the runner.
    """
    if not tasks:
        return None
    if context.documents <= IN_DRIVER_DOCUMENTS:
        return _folded(statistic, merge, tasks)
    store = context.store
    plan = write_plan(store, name, tasks)
    answer = store.path(GATHERED, uuid.uuid4().hex, SUFFIX)  # of this call alone: other runs may share the store

    from siftlm.engine.graphs import statistics_graph

    run_pipeline(
        context.runner, name, lambda pipeline: statistics_graph(pipeline, statistic, merge, plan, answer, store)
    )
    value: T = read_value(answer, store)
    filesystem.remove(answer)
    return value


def _folded(statistic: Callable[[Sequence[Task]], T], merge: Callable[[Iterable[T]], T], tasks: Sequence[Task]) -> T:
    """The answer, with few parts in memory at a time, however many tasks there are."""
    workers = os.cpu_count() or 1
    together = min(TOGETHER, -(-len(tasks) // (4 * workers)))
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[Future[T]] = deque()
        done: list[T] = []
        for start in range(0, len(tasks), together):
            coming.append(pool.submit(statistic, tasks[start : start + together]))
            if len(coming) == PARTS:
                done.append(coming.popleft().result())
            if len(done) == PARTS:
                done = [merge(done)]
        return merge([*done, *(future.result() for future in coming)])
