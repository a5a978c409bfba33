"""Jobs whose rules, weights and formulas name numbers that a score computes from the values of tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models import Models
from tests.runs.conftest import Bench, stages_of

pytest.importorskip("apache_beam")
NAMES = ["el2n_mean", "entropy_mean", "nll_p90", "worst_window"]


@pytest.fixture
def pages(bench: Bench) -> Bench:
    """Forty texts of up to 120 bytes, which are tokens, in two shards: one of them empty."""
    rng = random.Random(0)
    texts = ["", *(" ".join(rng.choices(["rain", "sea", "budget", "1", "x"], k=n % 24 + 1)) for n in range(39))]
    for shard in range(2):
        bench.shard(f"{shard}.jsonl", [{"id": f"d{n:02d}", "text": texts[n]} for n in range(shard, len(texts), 2)])
    return bench


def score(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    return [{"name": "tiny", "model": str(folder), "device": "cpu", **settings}]


def worst(nats: Sequence[float]) -> float:
    """The highest mean of ten consecutive tokens."""
    return max(float(np.mean(nats[at : at + 10])) for at in range(max(1, len(nats) - 9)))


def test_a_selection_by_numbers_is_the_one_by_stored_tokens(pages: Bench, tiny_model: Models) -> None:
    """The middle half by EL2N (Marion et al. 2023); another selection scores nothing anew, another number does."""
    folder = tiny_model.kept(scale=4.0)
    asked = score(folder, per_document=NAMES)
    middle = {"kind": "band", "column": "tiny_el2n_mean", "criterion": "medium", "rate": 0.5}
    pages.run(score=asked, select={"rules": [middle]})
    chosen = {row["doc_id"]: row for row in pages.rows()}
    pages.run("tokens", score=score(folder, per_token=["nll", "entropy", "el2n"]))
    stored = {row["doc_id"]: row for row in pages.rows("tokens") if row["text"]}
    el2n = {name: np.mean(row["tiny_token_el2n"]) for name, row in stored.items()}
    order = sorted(el2n, key=lambda name: el2n[name])
    at = {name: (place + 0.5) / len(order) for place, name in enumerate(order)}
    assert chosen.keys() == {name for name, place in at.items() if 0.25 <= place < 0.75}
    for name, row in chosen.items():
        nats, entropy = (np.array(stored[name][f"tiny_token_{value}"]) for value in ("nll", "entropy"))
        numbers = [el2n[name], entropy.mean(), np.percentile(nats, 90), worst(nats)]
        assert [row[f"tiny_{number}"] for number in NAMES] == pytest.approx(numbers)
        assert "tiny_token_nll" not in row

    before = pages.markers()
    truth = {name: worst(row["tiny_token_nll"]) / np.mean(row["tiny_token_nll"]) for name, row in stored.items()}
    limit = float(np.mean(sorted(truth.values())[25:27]))
    columns = [{"name": "peak", "expr": "tiny_worst_window / (tiny_nll_sum / tiny_scored_token_count)"}]
    rules = [{"kind": "threshold", "column": "peak", "min": limit}]
    pages.run(score=asked, columns=columns, select={"rules": rules})
    assert "scores/tiny" not in stages_of(pages.markers().keys() - before.keys())
    peaks = {row["doc_id"]: row["peak"] for row in pages.rows()}
    assert peaks == pytest.approx({name: peak for name, peak in truth.items() if peak >= limit})
    assert len(peaks) == 13
    pages.run(score=score(folder, per_document=[*NAMES, "nll_std"]))
    assert "scores/tiny" in stages_of(pages.markers().keys() - before.keys())


def test_a_number_that_was_not_asked_for_is_no_column(pages: Bench, tiny_model: Models) -> None:
    from siftlm.errors import UserError

    rules = [{"kind": "threshold", "column": "tiny_el2n_mean", "max": 1.0}]
    with pytest.raises(UserError, match=r"^select.rules.0: must name a column .*, got 'tiny_el2n_mean'; did you mean"):
        pages.run(score=score(tiny_model.kept(), per_document=["el2n_p50"]), select={"rules": rules})
