"""Runs tasks in several processes, in order and with a bounded number of them waiting."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from siftlm.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
Mapper = Callable[[Callable[[T], R], Iterable[T]], Iterator[R]]


class Workers:
    """Runs tasks in processes, or in this one where one is enough; results come in the order of the tasks."""

    def __init__(self, executor: ProcessPoolExecutor | None, processes: int) -> None:
        self._executor, self._waiting = executor, processes + 1

    def map(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """Yields the results of `work` on each task; takes only a few tasks more than it has results."""
        if self._executor is None:
            yield from map(work, tasks)
            return
        pending: deque[Future[Any]] = deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(work, task))
                if len(pending) > self._waiting:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError(
                "train-ngram: a process was killed, maybe for its memory; give it less with --memory"
            ) from None
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Opens so many worker processes, and ends them with the block."""
    if processes == 1:
        yield Workers(None, 1)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as executor:
        yield Workers(executor, processes)
