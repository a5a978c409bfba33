"""Computes exact summaries of the numeric columns, over all documents and over the kept ones, for the manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from siftlm.engine.drive import Context
from siftlm.engine.shards import Task
from siftlm.engine.values import SUFFIX
from siftlm.stages.columns import available, read_columns
from siftlm.stages.passes import search
from siftlm.stages.portions import Portion
from siftlm.statistics.passes import Together
from siftlm.statistics.scores import ScoreSearch
from siftlm.store import Store, digest

SUMMARIES = "summaries"  # folder of the store with the passes of a summary, each removed after it
SMALL_CORPUS = 1 << 16  # documents; their quantiles take one pass with as many entries a column
ENTRIES = 1 << 13  # of a larger corpus: a few passes in bounded memory
HELD = 1 << 23  # numbers of a shard that are in memory at a time: 64 MB, and again for those of kept documents
NOT_SCORES = frozenset({"kept", "copies", "weight", "position"})


def numeric_columns(columns: dict[str, pa.DataType]) -> list[str]:
    """Returns the names of the numeric columns that are summarised."""
    numbers = (n for n, t in columns.items() if pa.types.is_integer(t) or pa.types.is_floating(t))
    return [name for name in numbers if name not in NOT_SCORES]


@dataclass(frozen=True)
class Summaries:
    """Computes the quantiles of some columns over all documents and over the kept ones."""

    columns: tuple[str, ...]
    store: Store

    def begin(self, entry_limit: int) -> Together:
        """Returns the state before the first pass, with nothing counted yet."""
        return Together({name: ScoreSearch.start(self.columns, entry_limit=entry_limit) for name in ("all", "kept")})

    def read(self, task: Task, store: Store) -> pa.Table:
        """Returns the column of a shard that tells which documents are kept."""
        return read_columns(task, store, {"kept"})

    def observe(self, rows: Portion, state: Together) -> Together:
        """Returns the statistics of these documents for the current pass, reading a few columns at a time."""
        return Together.merged(self._parts(rows, state))

    def _parts(self, rows: Portion, state: Together) -> Iterator[Together]:
        kept = rows.table["kept"]
        few = max(1, HELD // max(1, len(kept)))
        for start in range(0, len(self.columns), few):
            names = self.columns[start : start + few]
            table = rows.read(lambda task: read_columns(task, self.store, set(names)))  # noqa: B023
            tables = {"all": table, "kept": table.filter(kept)}
            yield Together({name: search.observe(tables[name], names) for name, search in state.parts.items()})

    def settle(self, state: Together, partial: Together | None) -> Together:
        """Returns the state of the searches for quantiles after a pass over all shards."""
        assert partial is not None, "columns without shards"
        return Together({name: search.settle(partial.parts[name]) for name, search in state.parts.items()})


def summarise(selected: Sequence[Task], context: Context) -> dict[str, Any]:
    """Returns each numeric column's counts, mean, extremes and percentiles, over all documents and over the kept."""
    store = context.store
    key = digest("summary", [sorted(task.inputs.items()) for task in selected])
    path = store.path(SUMMARIES, key, SUFFIX)
    summaries = Summaries(tuple(numeric_columns(available(selected[0], store))) if selected else (), store)
    state = summaries.begin(SMALL_CORPUS if context.documents <= SMALL_CORPUS else ENTRIES)
    last = search("summary", summaries, state, path, selected, context)
    return {name: search.table() for name, search in last.parts.items()}
