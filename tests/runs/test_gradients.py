"""Gradients of documents in a run: which documents have them, what the manifest says, and what a plan does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.models import Models
from tests.runs.conftest import Bench

from siftlm.config import parse
from siftlm.plan import plan

pytest.importorskip("apache_beam")

TEXTS = [f"{'the rain stays in the north ' * (n % 4)}and document {n}" for n in range(24)] + [""]


def models(bench: Bench, tiny_model: Models, **settings: Any) -> dict[str, Any]:
    folder = str(tiny_model.kept(n_embd=32))
    pair = {"model": folder, "reference": str(tiny_model.kept(n_embd=32, seed=1)), "device": "cpu", **settings}
    alone = {"model": folder, "device": "cpu", **settings}
    made = [{"kind": "self_influence", "name": "influence", "long": "cut", **alone}]
    return {"language": None, "signals": None, "models": [*made, {"kind": "mimic", "name": "mimic", **pair}]}


def test_the_bytes_depend_on_no_shard_and_no_window(bench: Bench, tiny_model: Models) -> None:
    """Columns feed rules and formulas; the manifest tells how many documents were cut."""
    rows = [{"id": str(n), "text": text} for n, text in enumerate(TEXTS)]
    for shard in range(3):
        bench.shard(f"{shard}.jsonl", rows[shard::3])
    columns = [{"name": "later", "expr": "exp(-zscore(influence))"}]
    rules = [{"kind": "band", "column": "influence", "criterion": "low", "rate": 0.5}]
    bench.run(annotate=models(bench, tiny_model), columns=columns, select={"rules": rules})
    kept = {row["text"]: (row["influence"], row["mimic"], row["mimic_cosine"], row["later"]) for row in bench.rows()}
    assert len(kept) == 12
    again = Bench(bench.root / "again")
    again.shard("all.jsonl", rows[::-1])
    several = models(again, tiny_model, window_documents=4, threads=1)
    again.run(annotate=several, columns=columns, select={"rules": rules})
    values = {row["text"]: (row["influence"], row["mimic"], row["mimic_cosine"], row["later"]) for row in again.rows()}
    assert values == {text: (*value[:3], pytest.approx(value[3])) for text, value in kept.items()}
    told = json.loads((bench.root / "out/manifest.json").read_text())["models"]["influence"]
    assert told["layers"] == "first_block"
    assert told["truncated_documents"] == str(sum(len(text) > 64 for text in TEXTS))


def test_one_document_and_a_plan(bench: Bench, tiny_model: Models) -> None:
    bench.shard("one.jsonl", [{"id": "1", "text": "alone in the world"}])
    config = parse(bench.tree(annotate=models(bench, tiny_model)), [])
    rows = {row.stage: row for row in plan(config)}
    assert all(rows[f"models/{name}"].per_second for name in ("influence", "mimic"))
    bench.run(annotate=models(bench, tiny_model))
    (row,) = bench.rows()
    assert row["influence"] > 0
    assert -1 <= row["mimic_cosine"] <= 1
    bench.shard("one.jsonl", [])
    bench.run(out="empty", annotate=models(bench, tiny_model), output={"allow_empty": True})
