"""Finds the documents of a cluster of duplicates: the representative and the first others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.gather import gather
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.inspect.run import SelectedRun
from siftlm.stages.columns import read_columns
from siftlm.stages.portions import Portion, portions
from siftlm.store import Store

SHOWN = 4  # of a cluster
DESCRIBED = ("doc_id", "source", "domain", "kept", "reason", "duplicate")
Member = tuple[str, bool, int, int, dict[str, Any]]
"""cluster_id, whether it is represented by another, shard, row; then DESCRIBED."""


@dataclass(frozen=True)
class FindMembers:
    """The first `shown` members of some clusters in a few shards."""

    clusters: tuple[str, ...]
    store: Store
    shown: int = SHOWN

    def __call__(self, tasks: Sequence[Task]) -> tuple[Member, ...]:
        wanted = {"cluster_id", *DESCRIBED}
        return self.merge(map(self._found, portions(tasks, lambda task: read_columns(task, self.store, wanted))))

    def _found(self, portion: Portion) -> tuple[Member, ...]:
        named = pc.is_in(portion.table["cluster_id"], pa.array(self.clusters, pa.string()))
        rows = np.flatnonzero(named.to_numpy())
        mine = portion.table.take(pa.array(rows)).to_pylist()
        return self.first(
            (facts.pop("cluster_id"), facts["duplicate"] is not None, shard, row, facts)
            for shard, row, facts in zip(portion.shard[rows].tolist(), portion.row[rows].tolist(), mine, strict=True)
        )

    def first(self, found: Iterable[Member]) -> tuple[Member, ...]:
        """Returns the representative and the first others of every cluster, in the order of the run."""
        counted: Counter[str] = Counter()
        chosen = []
        for member in sorted(found, key=lambda member: member[:4]):
            counted[member[0]] += 1
            if counted[member[0]] <= self.shown:
                chosen.append(member)
        return tuple(chosen)

    def merge(self, parts: Iterable[tuple[Member, ...]]) -> tuple[Member, ...]:
        return self.first(member for part in parts for member in part)


def members(
    run: SelectedRun, clusters: Iterable[str], documents: int, runner: RunnerSettings, shown: int = SHOWN
) -> tuple[Member, ...]:
    """Returns the first members of some clusters of a finished run; none where it looked for no duplicates."""
    if "cluster_id" not in run.columns():
        return ()
    find = FindMembers(tuple(clusters), run.store, shown)
    return gather("members", find, find.merge, run.tasks(), documents, run.store, runner) or ()
