"""Statistics of all shards: whole, whatever their number, with few parts of the answer at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from siftlm.engine.drive import Context
from siftlm.engine.gather import PARTS, TOGETHER, gather
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.store import Store


@pytest.mark.parametrize("shards", [1, PARTS - 1, PARTS, PARTS + 1, 7 * PARTS + 3, 3 * TOGETHER + 1])
def test_every_part_is_merged_once_and_few_wait(shards: int, tmp_path: Path) -> None:
    """Memory does not grow with the shards."""
    lock, alive, most = threading.Lock(), 0, 0

    def part(tasks: Sequence[Task]) -> list[int]:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        assert len(tasks) <= TOGETHER
        return [task.shard for task in tasks]

    def merge(parts: Iterable[list[int]]) -> list[int]:
        nonlocal alive
        every = list(parts)
        with lock:
            alive -= len(every) - 1
        return sorted(shard for found in every for shard in found)

    tasks = [Task(number, "", "") for number in range(shards)]
    found = gather("count", part, merge, tasks, Context(Store(str(tmp_path)), RunnerSettings(), 1000))
    assert found == list(range(shards))
    assert most <= 2 * PARTS
    assert alive == 1


def test_nothing_has_no_answer(tmp_path: Path) -> None:
    """There is nothing to merge."""
    assert gather("count", lambda tasks: len(tasks), sum, [], Context(Store(str(tmp_path)), RunnerSettings())) is None
