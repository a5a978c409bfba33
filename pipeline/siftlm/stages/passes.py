"""Runs passes over the shards of a run until a statistic of the whole corpus is computed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Protocol

import pyarrow as pa

from siftlm import filesystem
from siftlm.engine.drive import Context
from siftlm.engine.gather import gather
from siftlm.engine.shards import Task
from siftlm.engine.values import read_value, write_value
from siftlm.stages.portions import Portion, portions
from siftlm.statistics.passes import Partial, StateT, Statistic, merged, settled
from siftlm.store import Store


class ShardStatistic(Statistic[Portion, StateT, Any], Protocol[StateT]):
    """Computes a statistic of the whole corpus from some columns of its shards, in one or more passes."""

    def read(self, task: Task, store: Store) -> pa.Table:
        """Returns the columns of a shard from which the statistic is computed."""


def _observed(statistic: ShardStatistic[Any], path: str, store: Store, tasks: Sequence[Task]) -> Partial:
    """What one pass observes of some shards. The state is read from a file, for it may hold a cut for every domain."""
    state = _state(path, store)
    read = portions(tasks, lambda task: statistic.read(task, store))
    observed: Partial = merged(statistic.observe(portion, state) for portion in read)
    return observed


@lru_cache(maxsize=1)
def _state(path: str, store: Store) -> Any:
    """The state of a pass, which is read once a process, not once a shard."""
    return read_value(path, store)


def search(
    name: str, statistic: ShardStatistic[StateT], state: StateT, path: str, tasks: Sequence[Task], context: Context
) -> StateT:
    """Returns the final state of a statistic after passes over all shards, starting from `state`.

    Every pass has a file of its own beside `path`: another run over the same store may be in another pass.
    """

    def look(state: StateT) -> Any:
        own = f"{path}.{uuid.uuid4().hex}"
        write_value(own, state, context.store)
        observed = gather(name, partial(_observed, statistic, own, context.store), merged, tasks, context)
        filesystem.remove(own)
        return observed

    return settled(statistic, state, look)
