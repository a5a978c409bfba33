"""Summarises every numeric column exactly, over all documents and over the kept ones, for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from siftlm import filesystem
from siftlm.engine.gather import gather
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.engine.values import SUFFIX, read_version, write_version
from siftlm.stages.columns import available, read_columns
from siftlm.stages.portions import Portion, portions
from siftlm.statistics.scores import ScoreSearch, ScoreStatistics
from siftlm.store import Store, digest

SMALL_CORPUS = 1 << 16  # documents; their quantiles take one pass with as many entries a column
ENTRIES = 1 << 13  # of a larger corpus: a few passes in bounded memory
HELD = 1 << 23  # numbers of a shard that are in memory at a time: 64 MB, and again for those of kept documents
NOT_SCORES = frozenset({"kept", "copies", "weight", "position"})

Both = dict[str, ScoreStatistics]


def numeric_columns(columns: dict[str, pa.DataType]) -> list[str]:
    """Returns the columns that have quantiles."""
    numbers = (n for n, t in columns.items() if pa.types.is_integer(t) or pa.types.is_floating(t))
    return [name for name in numbers if name not in NOT_SCORES]


@dataclass(frozen=True)
class Observe:
    """What some shards say of the columns, before and after selection."""

    columns: tuple[str, ...]
    path: str
    store: Store

    def __call__(self, tasks: Sequence[Task]) -> Both:
        return merge(part for portion in portions(tasks, self._read({"kept"})) for part in self._parts(portion))

    def _parts(self, portion: Portion) -> Iterator[Both]:
        searches: dict[str, ScoreSearch] = read_version(self.path, self.store)
        kept = portion.table["kept"]
        few = max(1, HELD // max(1, len(kept)))
        for start in range(0, len(self.columns), few):
            names = self.columns[start : start + few]
            table = portion.read(self._read(set(names)))
            every, of_kept = (searches["all"], table), (searches["kept"], table.filter(kept))
            yield {name: s.observe(t, names) for name, (s, t) in {"all": every, "kept": of_kept}.items()}

    def _read(self, names: set[str]) -> Callable[[Task], pa.Table]:
        return lambda task: read_columns(task, self.store, names)


def merge(parts: Iterable[Both]) -> Both:
    """Adds up the statistics of shards."""
    every = list(parts)
    return {name: ScoreStatistics.merged(part[name] for part in every) for name in ("all", "kept")}


def summarise(selected: Sequence[Task], documents: int, store: Store, runner: RunnerSettings) -> dict[str, Any]:
    """Returns per column count, missing, mean, extremes and percentiles, over all documents and over the kept ones."""
    key = digest("summary", [sorted(task.inputs.items()) for task in selected])
    path = store.path("summaries", key, SUFFIX)
    columns = tuple(numeric_columns(available(selected[0], store))) if selected else ()
    limit = SMALL_CORPUS if documents <= SMALL_CORPUS else ENTRIES
    searches = {name: ScoreSearch.start(columns, entry_limit=limit) for name in ("all", "kept")}
    while not all(search.done for search in searches.values()):
        opened = write_version(path, searches, store)
        merged = gather("summary", Observe(columns, opened, store), merge, selected, documents, store, runner)
        filesystem.remove(opened)
        assert merged is not None, "columns without shards"
        searches = {name: search.advanced(merged[name]) for name, search in searches.items()}
    return {name: search.table() for name, search in searches.items()}
