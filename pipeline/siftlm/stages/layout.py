"""Decides which rows each output file and each of its row groups has.

It depends on the documents and their order alone, never on what the shards are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

GROUP_ROWS = 16_384  # of a row group, at most

Part = list[tuple[int, int, int]]
"""The row ranges (shard, start, end) of an output file, in order."""


class Given(NamedTuple):
    """Counts the rows that a shard gives to the output, and the bytes of their text."""

    rows: int
    bytes: int


def cut_parts(shards: Sequence[Given], sizes: Callable[[int], np.ndarray], most_bytes: int) -> list[Part]:
    """Returns the row ranges of every output file; there is one file where there is no row.

    Args:
        shards: What every shard gives.
        sizes: Returns for every row of a shard the bytes of text that it gives, -1 where it gives none, int64[rows];
            only called where a file ends within the shard.
        most_bytes: File k has the rows whose text begins at byte [k, k + 1) * most_bytes of all text.
    """
    parts: dict[int, Part] = {}
    before = 0
    for shard, given in enumerate(shards):
        first, last = before // most_bytes, (before + given.bytes) // most_bytes
        if given.rows and first == last:
            parts.setdefault(first, []).append((shard, 0, sys.maxsize))
        elif given.rows:
            every = sizes(shard)
            rows = np.flatnonzero(every >= 0)
            number = (before + np.cumsum(every[rows]) - every[rows]) // most_bytes
            starts = np.flatnonzero(np.r_[True, np.diff(number) > 0])
            bounds = [*rows[starts].tolist(), sys.maxsize]
            for at, start, end in zip(number[starts].tolist(), bounds, bounds[1:], strict=False):
                parts.setdefault(at, []).append((shard, start, end))
        before += given.bytes
    return [parts[number] for number in sorted(parts)] or [[]]


def row_groups(tables: Iterable[pa.Table], most_bytes: int, most_rows: int = GROUP_ROWS) -> Iterator[pa.Table]:
    """Yields the rows again as row groups, which depend on the rows alone.

    A row group ends with the row whose text fills `most_bytes` (by the column `byte_count`), or with `most_rows` rows.
    """
    waiting: list[pa.Table] = []
    rows = size = 0
    for given in tables:
        table = given
        while table.num_rows:
            ends = size + np.cumsum(table["byte_count"].to_numpy())
            fits = min(int(np.searchsorted(ends, most_bytes)) + 1, most_rows - rows)
            waiting.append(table.slice(0, fits))
            if fits > table.num_rows:
                rows, size = rows + table.num_rows, int(ends[-1])
                break
            yield pa.concat_tables(waiting)
            table, waiting, rows, size = table.slice(fits), [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)
