"""Output files and row groups end at the same rows, however the documents are cut into shards."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from siftlm.stages.layout import Given, cut_parts, row_groups

SIZES = st.lists(st.integers(-1, 9), max_size=60)  # -1 is a row that gives nothing


def parts_of(sizes: list[int], cuts: list[int], most: int) -> list[list[int]]:
    """The rows of the whole that every file has, where shards end at the cuts."""
    bounds = [0, *sorted(cut % (len(sizes) + 1) for cut in cuts), len(sizes)]
    shards = [np.array(sizes[start:end], np.int64) for start, end in pairwise(bounds)]
    given_rows = [Given(int((shard >= 0).sum()), int(shard[shard >= 0].sum())) for shard in shards]
    parts = cut_parts(given_rows, lambda number: shards[number], most)
    rows = [
        [bounds[shard] + row for shard, start, end in part for row in range(start, min(end, len(shards[shard])))]
        for part in parts
    ]
    return [[row for row in part if sizes[row] >= 0] for part in rows]


@given(SIZES, st.lists(st.integers(0, 60), max_size=8), st.integers(1, 20))
def test_files_end_where_their_stretch_of_the_text_does(sizes: list[int], cuts: list[int], most: int) -> None:
    expected: dict[int, list[int]] = {}
    before = 0
    for row, size in enumerate(sizes):
        if size >= 0:
            expected.setdefault(before // most, []).append(row)
            before += size
    assert parts_of(sizes, cuts, most) == (list(expected.values()) or [[]])


@given(st.lists(st.integers(0, 9), max_size=60), st.lists(st.integers(0, 60), max_size=8), st.integers(1, 20))
def test_row_groups_end_with_the_row_that_fills_them(sizes: list[int], cuts: list[int], most: int) -> None:
    table = pa.table({"row": pa.array(range(len(sizes)), pa.int64()), "byte_count": pa.array(sizes, pa.int64())})
    bounds = [0, *sorted(cut % (len(sizes) + 1) for cut in cuts), len(sizes)]
    made = list(row_groups((table.slice(a, b - a) for a, b in pairwise(bounds)), most, 7))
    expected: list[list[int]] = [[]]
    for row in range(len(sizes)):
        expected[-1].append(row)
        if sum(sizes[n] for n in expected[-1]) >= most or len(expected[-1]) == 7:
            expected.append([])
    assert [group["row"].to_pylist() for group in made] == [group for group in expected if group]
