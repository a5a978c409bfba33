"""Continuations are those of transformers' own greedy search, and what a model says by itself it knows by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from siftlm.errors import UserError

pytest.importorskip("transformers")
from siftlm.scorers.greedy_model import Prompts, share_of_positions
from siftlm.scorers.memorization import MemorizationScorer, MemorizationSettings

TEXTS = [
    "A sieve keeps the coarse and lets the fine fall through its many holes, again and again.",
    "The quick brown fox jumps over the lazy dog while the other one looks on from the garden.",
    "short",
    "",
    "Numbers such as 1234567890 and signs like !?%&/ come in every text that was ever written.",
]


@pytest.fixture
def scorer(tiny_model: Any, tmp_path: Path) -> MemorizationScorer:
    settings = {
        "name": "known",
        "model": str(tiny_model(tmp_path / "model", n_embd=32, n_positions=128)),
        "device": "cpu",
    }
    return MemorizationSettings.model_validate({**settings, "prompt_tokens": 6, "tokens": 8}).scorer()


def scored(scorer: MemorizationScorer, texts: list[str | None]) -> list[dict[str, Any]]:
    scorer.load(scorer.digest())
    return list(scorer.score(pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})).to_pylist())


def greedy(scorer: MemorizationScorer, text: str) -> tuple[list[int], list[int]]:
    """(continuation, truth) by `generate`."""
    model = scorer.loaded()
    (ids,) = model.tokenizer.encode([text]).texts()
    prefix = [model.tokenizer.prefix] if model.tokenizer.prefix is not None else []
    prompt = torch.tensor([[*prefix, *ids[:6].tolist()]])
    mask, ends = torch.ones_like(prompt), {"eos_token_id": None, "pad_token_id": 0}
    made = model.model.generate(prompt, attention_mask=mask, do_sample=False, max_new_tokens=8, **ends)
    return made[0, prompt.shape[1] :].tolist(), ids[6:14].tolist()


def test_the_worked_example() -> None:
    assert share_of_positions([[5, 7, 9, 2]], np.array([[5, 7, 1, 2]])).tolist() == [0.75]


def test_shares_are_those_of_transformers_greedy_search(scorer: MemorizationScorer) -> None:
    rows = scored(scorer, [*TEXTS, None])
    for text, row in zip(TEXTS, rows, strict=False):
        if row["known_too_short"]:
            assert row["known"] is None
            continue
        continued, truth = greedy(scorer, text)
        assert row["known"] == pytest.approx(np.mean(np.array(continued) == np.array(truth))), text
    assert [row["known_too_short"] for row in rows] == [False, False, True, True, False, True]


def test_what_a_model_says_by_itself_it_knows(scorer: MemorizationScorer) -> None:
    """A text whose tokens behind the prompt are the continuation has 1; with others at some places, the rest."""
    scorer.load(scorer.digest())
    model = scorer.loaded()
    (ids,) = model.tokenizer.encode([TEXTS[0]]).texts()
    known = np.concatenate([ids[:6], greedy(scorer, TEXTS[0])[0]])[None].astype(np.int64)
    other = known.copy()
    other[0, [8, 13]] += 1

    schema = pa.schema(scorer.fields())
    shares = [
        model.begin(Prompts(row, np.ones(1, np.bool_)), schema).finish()["known"].to_pylist()[0]
        for row in (known, other)
    ]
    assert shares == [1.0, 0.75]


def test_shares_do_not_depend_on_the_batch(scorer: MemorizationScorer) -> None:
    together = scored(scorer, TEXTS)
    assert [scored(scorer, [text])[0] for text in TEXTS] == together
    assert scored(scorer, TEXTS[::-1]) == together[::-1]


def test_a_text_is_tokenised_as_far_as_it_needs_to_be(scorer: MemorizationScorer) -> None:
    """A beginning that has few tokens for its characters is looked at further."""
    long = " " * 3000 + TEXTS[0]
    (row,) = scored(scorer, [long])
    assert row["known_too_short"] is False
    continued, truth = greedy(scorer, long)
    assert row["known"] == pytest.approx(np.mean(np.array(continued) == np.array(truth)))


def test_more_tokens_than_positions_are_refused(tiny_model: Any, tmp_path: Path) -> None:
    model = str(tiny_model(tmp_path / "model", n_embd=32, n_positions=64))
    settings = {"name": "known", "model": model, "device": "cpu", "prompt_tokens": 40, "tokens": 40}
    scorer = MemorizationSettings.model_validate(settings).scorer()
    with pytest.raises(UserError, match=r"^annotate\.models\.known\.tokens: must leave room in the model's 64"):
        scorer.load(scorer.digest())
