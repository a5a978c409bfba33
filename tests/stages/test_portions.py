"""Small shards that are counted together: each row once, and its place known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from siftlm.engine.shards import Task
from siftlm.stages import portions as module
from siftlm.stages.portions import portions


@pytest.mark.parametrize("sizes", [[3], [2, 2], [0, 5, 0], [1, 9, 1, 1, 4], [0]])
def test_every_row_is_in_one_portion_with_its_shard_and_its_place_there(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards stay whole and in order, whatever their size; a large one ends a portion."""
    monkeypatch.setattr(module, "PORTION_ROWS", 4)
    tables = [
        pa.table({"name": pa.array([f"{s}:{r}" for r in range(size)], pa.string())}) for s, size in enumerate(sizes)
    ]
    tasks = [Task(shard, "", "") for shard in range(len(sizes))]
    found = list(portions(tasks, lambda task: tables[task.shard]))
    assert [task for portion in found for task in portion.tasks] == tasks
    names = [name for portion in found for name in portion.table["name"].to_pylist()]
    assert names == [name for table in tables for name in table["name"].to_pylist()]
    places = [f"{s}:{r}" for p in found for s, r in zip(p.shard.tolist(), p.row.tolist(), strict=True)]
    assert places == names
    assert all(sum(sizes[task.shard] for task in p.tasks[:-1]) < 4 for p in found)
    again = [portion.read(lambda task: tables[task.shard]) for portion in found]
    assert np.all([a.equals(p.table) for a, p in zip(again, found, strict=True)])
