"""A run stores masks of tokens, tells their size, and takes them over for documents that are eligible later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siftlm.scorers.token_masks import decode_mask

pytest.importorskip("apache_beam")
MASKS = [{"name": "hard", "above": 20.0}, {"name": "hard_runs", "above": 20.0, "encoding": "runs"}]


def test_masks_are_those_of_the_nats(bench: Any, tiny_model: Any, tmp_path: Path) -> None:
    texts = ["A sieve keeps the coarse.", "", "It lets the fine grains fall, one by one, and never tires of it."]
    bench.shard("0.jsonl", [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)])
    model = str(tiny_model(tmp_path / "model"))
    score = {"name": "lm", "model": model, "device": "cpu", "per_token": ["nll"], "token_masks": MASKS}
    rules = [{"kind": "threshold", "column": "byte_count", "min": 10}]
    first = bench.run(score=[score], preselect=rules, output={"rejects": True})
    for row in bench.rows():
        expected = np.exp(np.array(row["lm_token_nll"], np.float32).astype(np.float64)) > 20.0
        tokens = row["lm_scored_token_count"]
        assert decode_mask(row["lm_hard_mask"], tokens).tolist() == expected.tolist()
        assert decode_mask(row["lm_hard_runs_mask"], tokens, "runs").tolist() == expected.tolist()
        assert row["lm_hard_masked"] == expected.sum()
    told = {row["mask"]: row for row in first.manifest["tables"]["Masks of tokens"]}
    tokens = sum(row["lm_scored_token_count"] for row in bench.rows())
    assert told["lm_hard"]["bytes"] == sum(len(row["lm_hard_mask"]) for row in bench.rows())
    assert told["lm_hard"]["marked tokens"] == sum(row["lm_hard_masked"] for row in bench.rows())
    assert told["lm_hard"]["bytes a token"] == pytest.approx(told["lm_hard"]["bytes"] / tokens)
    bench.run("again", score=[score], output={"rejects": True})
    again = {row["doc_id"]: row["lm_hard_mask"] for row in bench.rows("again")}
    assert {row["doc_id"]: row["lm_hard_mask"] for row in bench.rows()}.items() <= again.items()
    assert again["d1"] == b""
