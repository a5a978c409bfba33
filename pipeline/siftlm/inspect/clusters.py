"""Finds the documents of a cluster of duplicates: the representative and the first others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.engine.drive import Context
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
    """Finds the first `shown` documents of some clusters of duplicates in a few shards."""

    clusters: tuple[str, ...]
    store: Store
    shown: int = SHOWN

    def __call__(self, tasks: Sequence[Task]) -> tuple[Member, ...]:
        wanted = {"cluster_id", *DESCRIBED}
        return self.merge(map(self._members, portions(tasks, lambda task: read_columns(task, self.store, wanted))))

    def _members(self, portion: Portion) -> tuple[Member, ...]:
        listed = pc.is_in(portion.table["cluster_id"], pa.array(self.clusters, pa.string()))
        rows = np.flatnonzero(listed.to_numpy())
        described = portion.table.take(pa.array(rows)).to_pylist()
        places = zip(portion.shard[rows].tolist(), portion.row[rows].tolist(), described, strict=True)
        return self.merge(
            [[(d.pop("cluster_id"), d["duplicate"] is not None, shard, row, d) for shard, row, d in places]]
        )

    def merge(self, parts: Iterable[Iterable[Member]]) -> tuple[Member, ...]:
        """Returns the first `shown` members of every cluster: the representative, then others in the run's order."""
        members = sorted(chain.from_iterable(parts), key=lambda member: member[:4])
        clusters = groupby(members, key=lambda member: member[0])
        return tuple(member for _, cluster in clusters for member in islice(cluster, self.shown))


def members(
    run: SelectedRun, clusters: Iterable[str], documents: int, runner: RunnerSettings, shown: int = SHOWN
) -> tuple[Member, ...]:
    """Returns the first members of some clusters of a finished run; none where it did not search for duplicates."""
    if "cluster_id" not in run.columns():
        return ()
    find = FindMembers(tuple(clusters), run.store, shown)
    return gather("members", find, find.merge, run.tasks(), Context(run.store, runner, documents)) or ()
