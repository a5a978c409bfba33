"""The global shuffle: which row groups of which shards an output shard gathers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from siftlm.engine.shards import Task
from siftlm.stages.write import OutputSettings, Write, fallen
from siftlm.store import Marker, Store

SCHEMA = pa.schema([pa.field("doc_id", pa.string()), pa.field("copy", pa.int32(), nullable=False)])


def scattered(shards: int, parts: int) -> list[Marker]:
    """Shards of several chunks, each of which has rows of some parts."""
    random = np.random.default_rng(shards)
    chunks = [np.flatnonzero(random.random(2 * parts) < 0.4) % parts for _ in range(shards)]
    facts = [{"groups": [[number, int(part)] for number, part in enumerate(mine)]} for mine in chunks]
    return [Marker("shuffled", f"key{n}", f"shard{n}", 0, 0, facts=mine) for n, mine in enumerate(facts)]


@pytest.mark.parametrize(("shards", "parts"), [(0, 1), (1, 1), (5, 3), (40, 17)])
def test_a_part_gathers_the_row_groups_that_fell_to_it(shards: int, parts: int) -> None:
    """Of every shard with any, in the order of the shards: the naive expression, part by part."""
    markers = scattered(shards, parts)
    found = fallen(markers, parts)
    assert len(found) == parts
    for index, mine in enumerate(found):
        every = [(m.key, [group for group, part in m.facts["groups"] if part == index]) for m in markers]
        assert mine == [(key, groups) for key, groups in every if groups]


def test_a_part_to_which_nothing_fell_is_empty(tmp_path: Path) -> None:
    """With few documents an interval of hashes may have none."""
    write = Write(OutputSettings(folder=str(tmp_path), shuffle=True), SCHEMA, str(tmp_path), {})
    marker = write.run(Task(0, "data/part.parquet", "key", facts={"scattered": []}), Store(str(tmp_path / "store")))
    assert (marker.rows_in, marker.rows_out) == (0, 0)
