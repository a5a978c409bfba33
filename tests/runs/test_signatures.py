"""Runs that write signatures of datasketch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasketch
import polars
import pytest

pytest.importorskip("apache_beam")
TEXTS = {
    "a": "the quick brown fox jumps over the lazy dog and then it sleeps until the evening comes again",
    "b": "the quick brown fox jumps over the lazy dog and then it sleeps until the morning comes again",
    "c": "nothing of what stands here is said by any other of these documents at all",
}


def test_an_index_of_datasketch_is_filled_from_the_output_of_a_run(bench: Any, tmp_path: Path) -> None:
    """The column stands beside the text; an index of the same similarity and permutations takes it as it is."""
    bench.shard("0.jsonl", [{"id": name, "text": text} for name, text in TEXTS.items()])
    shingles = {"similarity": 0.5, "permutations": 64}
    bench.run(dedup={"action": "annotate", "signatures": "datasketch", "shingles": shingles})
    index = datasketch.MinHashLSH(threshold=0.5, num_perm=64)
    for row in polars.read_parquet(tmp_path / "out/data/*.parquet").iter_rows(named=True):
        index.insert(row["doc_id"], datasketch.LeanMinHash.deserialize(row["minhash"]))
    words = TEXTS["a"].split()
    asked = datasketch.MinHash(64)
    asked.update_batch([" ".join(words[k : k + 5]).encode() for k in range(len(words) - 4)])
    assert set(index.query(asked)) == {"a", "b"}


def test_the_signatures_are_another_column_and_nothing_else(bench: Any) -> None:
    """Documents, clusters and order are the same; without `near` there are signatures but no bands."""
    bench.shard("0.jsonl", [{"id": name, "text": text} for name, text in TEXTS.items()])
    for near in (True, False):
        bench.run(f"without{near}", dedup={"near": near})
        bench.run(f"with{near}", dedup={"near": near, "signatures": "datasketch"})
        rows = bench.rows(f"with{near}")
        assert {len(row.pop("minhash")) for row in rows} == {16 + 4 * 112}
        assert rows == bench.rows(f"without{near}")
