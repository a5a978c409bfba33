"""What a shard reads, files together or a slice of one, changes no byte of the output and no place of an error."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("apache_beam")
RANDOM = random.Random(3)
DEFAULT, TINY, MIDDLE = 256 << 20, 1, 3_000_000


def text(n: int) -> str:
    return f"text {n} " + " ".join(RANDOM.choice(["alpha", "beta", "gamma"]) for _ in range(RANDOM.randrange(5, 60)))


@pytest.fixture
def mixed(bench: Any) -> Any:
    """Thirty small files and a large one in each of three formats, with copies, errors and ids that repeat."""
    texts = [text(n) for n in range(400)]
    for n in range(30):
        rows: list[Any] = [{"id": f"d{n % 7}-{m}", "text": texts[(7 * n + m) % 300]} for m in range(5)]
        bench.shard(f"small-{n:02d}.jsonl", [*rows, "no json", {"id": "nothing"}])
    large: list[Any] = [{"id": f"l{n}", "text": texts[n % 400]} for n in range(1500)]
    large[777] = "broken {"
    bench.shard("zz-large.jsonl", large)
    (bench.root / "in/rows").mkdir()
    table = pa.table({"id": [f"p{n}" for n in range(900)], "text": [None if n == 555 else text(n) for n in range(900)]})
    pq.write_table(table, bench.root / "in/rows/large.parquet", row_group_size=100)
    records = []
    for n in range(900):
        block = text(n).encode()
        head = (
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:uuid:{n}>\r\n"
            f"Content-Length: {len(block)}\r\n\r\n"
        )
        records.append(gzip.compress(head.encode() + block + b"\r\n\r\n"))
    records[444] = records[444][:-12]
    (bench.root / "in/archive.warc.wet.gz").write_bytes(b"".join(records))
    return bench


def settings(mixed: Any, shard_bytes: int) -> dict[str, Any]:
    return {
        "input": [
            {
                "source": "web",
                "paths": [str(mixed.root / "in" / kind) for kind in ("*.jsonl", "rows/*.parquet", "*.warc.wet.gz")],
                "id_field": "id",
                "shard_bytes": shard_bytes,
                "columns": {"id": "string"},
            }
        ],
        "dedup": {},
        "columns": [{"name": "size_rank", "expr": "rank(byte_count)"}],
        "select": {"rules": [{"kind": "band", "column": "size_rank", "criterion": "medium", "rate": 0.8}]},
        "output": {"rejects": True, "shard_bytes": 1 << 16},
    }


def test_shards_of_any_shape_give_the_same_bytes(mixed: Any) -> None:
    """And errors with the same file, position and offset."""
    made, errors, shards = {}, {}, {}
    for size in (DEFAULT, TINY, MIDDLE):
        result = mixed.run(f"out{size}", **settings(mixed, size))
        made[size] = mixed.content(f"out{size}")
        errors[size] = mixed.errors(f"out{size}")
        shards[size] = len(result.manifest["inputs"])
    assert shards[DEFAULT] == 1 < shards[MIDDLE] < 20 < 40 < shards[TINY]  # slices of 64 KiB at least
    assert made[TINY] == made[DEFAULT] == made[MIDDLE]
    assert errors[TINY] == errors[DEFAULT] == errors[MIDDLE]
    small = [error for error in errors[DEFAULT] if error["shard"].endswith("small-17.jsonl")]
    assert [(error["position"], error["reason"]) for error in small] == [(5, "broken_json"), (6, "missing_field")]
    (broken,) = [error for error in errors[DEFAULT] if error["shard"].endswith("zz-large.jsonl")]
    lines = (mixed.root / "in/zz-large.jsonl").read_bytes().splitlines(keepends=True)
    assert (broken["position"], broken["offset"]) == (777, len(b"".join(lines[:777])))


def test_a_new_file_makes_its_group_anew_and_nothing_else(bench: Any) -> None:
    for n in range(300):
        bench.shard(f"{n:03d}.jsonl", [{"id": f"d{n}", "text": f"text number {n}"}])
    tree = {"input": [{"source": "web", "paths": [str(bench.root / "in")], "id_field": "id", "shard_bytes": 16 << 20}]}
    groups = len(bench.run(**tree).manifest["inputs"])
    before = bench.markers()
    bench.shard("150-new.jsonl", [{"id": "new", "text": "a new text"}])
    bench.run(**tree)
    new = {name for name in bench.markers().keys() - before.keys() if name.startswith("documents/")}
    assert 4 < groups < 60
    assert 1 <= len(new) <= 2


def test_explain_names_the_file_of_a_document(mixed: Any) -> None:
    from siftlm.inspect.explain import explain

    mixed.run(**settings(mixed, DEFAULT))
    told = explain(str(mixed.root / "out"), "d3-4")
    assert Path(told.path).name in {f"small-{n:02d}.jsonl" for n in range(3, 30, 7)}
    row = json.loads(Path(told.path).read_text().splitlines()[told.record])
    assert row == {"id": "d3-4", "text": told.text}
