"""Reads the output of a step in batches that follow those of another step."""

from __future__ import annotations

import pyarrow as pa

from siftlm.store import Store
from siftlm.tables import Choice


class Aligned:
    """Reads rows [start, end) of one step's output, in batches of any size that the caller asks for."""

    def __init__(self, store: Store, stage: str, key: str, columns: Choice, start: int, end: int, rows: int) -> None:
        self._batches = store.row_range(stage, key, start, end, rows=rows, columns=columns)
        self._waiting: list[pa.Table] = []

    def take(self, rows: int) -> pa.Table:
        """Returns the next `rows` rows, at least one; every output has one row per document."""
        while sum(table.num_rows for table in self._waiting) < rows:
            self._waiting.append(pa.Table.from_batches([next(self._batches)]))
        table = pa.concat_tables(self._waiting)
        self._waiting = [table.slice(rows)]
        return table.slice(0, rows)
