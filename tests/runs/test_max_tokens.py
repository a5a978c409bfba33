"""With `max_tokens` a model reads the beginnings of texts; budgets and sums count whole texts all the same."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import Any

import pytest
from tests.runs.conftest import Bench

from siftlm.report.terminal import print_summary

READ = 5
BUDGET = 600


@pytest.fixture(scope="module")
def scored(shared_bench: Bench, tiny_model: Any) -> Bench:
    """Forty texts and a model whose tokens are bytes, so that each text has as many tokens as letters."""
    rng = random.Random(4)
    texts = ["".join(rng.choices("abcdef ", k=rng.randrange(3, 90))) for _ in range(40)]
    shared_bench.shard("a.jsonl", [{"id": f"d{number}", "text": text} for number, text in enumerate(texts)])
    tiny_model(shared_bench.root / "model")
    return shared_bench


def run(bench: Bench, out: str, **select: Any) -> dict[str, Any]:
    """The manifest of a run whose model scores five tokens of every text."""
    model = {"name": "lm", "model": str(bench.root / "model"), "device": "cpu", "threads": 1, "max_tokens": READ}
    chosen = {"select": {"tokens": "lm_token_count", **select}, "output": {"rejects": True}}
    manifest: dict[str, Any] = bench.run(out, score=[model], store=str(bench.root / "store"), **chosen).manifest
    return manifest


def test_a_budget_of_top_and_the_tokens_kept_are_of_whole_texts(
    scored: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the letters of the texts, added up from the best down; the scored tokens would keep nearly everything."""
    manifest = run(scored, "top", rules=[{"kind": "top", "column": "lm_perplexity", "budget_tokens": BUDGET}])
    kept, dropped = scored.rows("top"), scored.rows("top", "rejects")
    ranked = sorted([*kept, *dropped], key=lambda row: row["lm_perplexity"])
    sums = list(accumulate(len(row["text"]) for row in ranked))
    best = 1 + next(place for place, total in enumerate(sums) if total >= BUDGET)
    assert {row["doc_id"] for row in kept} == {row["doc_id"] for row in ranked[:best]}
    assert 0 < best < len(ranked) == 40
    assert [row["lm_scored_token_count"] for row in ranked] == [min(READ, len(row["text"])) for row in ranked]
    assert manifest["statistics"]["kept"]["tokens"] == sums[best - 1]
    print_summary(manifest, "folder", unchanged=False)
    assert f"{sums[best - 1]:,} tokens in folder/data" in capsys.readouterr().out


def test_a_rate_of_tokens_and_a_budget_of_weights_are_of_whole_texts(scored: Bench) -> None:
    """Half of the letters; and expected copies that hold three times the letters that there are."""
    rate = {"kind": "top", "column": "lm_perplexity", "rate": 0.5, "by": "tokens"}
    half = run(scored, "rate", rules=[rate])["statistics"]["kept"]["tokens"]
    letters = sum(len(row["text"]) for part in ("data", "rejects") for row in scored.rows("rate", part))
    assert letters / 2 <= half < letters / 2 + 90
    weights = {"factors": [], "budget_tokens": 3 * letters, "cap": 4.0}
    weighted = run(scored, "weights", weights=weights)["statistics"]
    assert weighted["kept"]["tokens"] == letters
    assert weighted["weighted"]["tokens"] == pytest.approx(3 * letters)
