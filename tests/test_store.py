"""The store: outputs are there whole or not at all, and every marker adds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from siftlm.engine.audit import AuditError, audit
from siftlm.store import Marker, Store, digest
from siftlm.tables import open_parquet

SCHEMA = pa.schema([pa.field("number", pa.int64(), nullable=False), pa.field("text", pa.large_string())])


def batch(start: int, end: int) -> pa.RecordBatch:
    numbers = list(range(start, end))
    return pa.record_batch([numbers, [f"text {n}" for n in numbers]], schema=SCHEMA)


def marker(stage: str = "signals", rows_in: int = 3, rows_out: int = 3, **rest: object) -> Marker:
    return Marker(stage, "key", "shard", rows_in, rows_out, **rest)  # type: ignore[arg-type]


def test_an_output_is_there_only_when_its_block_ends_well(tmp_path: Path) -> None:
    """A worker that dies while writing leaves nothing under the output's name."""
    store = Store(str(tmp_path))

    def write_half() -> None:
        with store.writer("signals", "key", SCHEMA) as out:
            out.write(batch(0, 5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert not list((tmp_path / "signals").glob("key*"))


def test_rows_come_back_in_order_whatever_the_row_groups(tmp_path: Path) -> None:
    """A range of rows is the same rows, however they were grouped when written."""
    store = Store(str(tmp_path))
    with open_parquet(store.path("signals", "key"), SCHEMA, row_group_rows=7) as out:
        for start in range(0, 50, 5):
            out.write(batch(start, start + 5))
    store.commit(marker(files={".parquet": out.seal}))
    for start, end in [(0, 50), (3, 4), (6, 23), (49, 50), (20, 20)]:
        found = [n for b in store.row_range("signals", "key", start, end, rows=4) for n in b["number"].to_pylist()]
        assert found == list(range(start, end))


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """Outputs can be compared by checksum."""
    for name in ("a", "b"):
        with open_parquet(str(tmp_path / name), SCHEMA, metadata={"k": "v"}) as out:
            out.write(batch(0, 100))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_marker_that_does_not_add_up_is_not_committed(tmp_path: Path) -> None:
    """A stage that lost a row fails where it lost it."""
    with pytest.raises(AssertionError, match="1 unaccounted for"):
        Store(str(tmp_path)).commit(marker(rows_in=4))


def test_a_marker_comes_back_as_it_was(tmp_path: Path) -> None:
    """What a run learns from a marker is what the stage wrote."""
    store = Store(str(tmp_path))
    wrote = marker(rows_in=6, dropped={"a": 2}, errors={"b": 1}, facts={"runs": [[0, 3, 9]]})
    store.commit(wrote)
    assert store.marker("signals", "key") == wrote
    assert store.done("signals") == {"key"}
    assert not store.done("never written")


def test_digests_tell_apart_what_differs() -> None:
    """Nesting and order count; the order of a table's keys does not."""
    assert digest("a", ["b"]) != digest("a", "b")
    assert digest(1, 2) != digest(2, 1)
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})
    assert digest(np.int64(3)) == digest(3)


def test_the_audit_finds_a_stage_that_read_fewer_rows_than_there_are() -> None:
    """A shard that a stage skipped cannot go unnoticed."""
    markers = {"documents": [marker("documents")], "signals": [marker(rows_in=2, rows_out=2)]}
    with pytest.raises(AuditError, match="signals of shard: 2 rows in, 3 documents"):
        audit(markers)


def test_the_audit_finds_copies_that_were_not_written() -> None:
    """Selected and written must be the same number."""
    decided = marker("decisions", facts={"copies": 4})
    markers = {"documents": [marker("documents")], "decisions": [decided], "data": [marker("data")]}
    with pytest.raises(AuditError, match="3 rows written, 4 selected"):
        audit(markers)
