"""Threads that open one scorer at once share it, and models load one at a time."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.models import Models

from siftlm.scorers import LMSettings, open_score
from siftlm.scorers.lm import LMScorer
from siftlm.scorers.lm_files import find_model
from siftlm.scorers.lm_model import read_model


def test_threads_that_ask_at_once_get_one_scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LMScorer] = []
    real = LMSettings.scorer

    def slow(settings: LMSettings) -> Any:
        time.sleep(0.05)
        made.append(real(settings))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(LMSettings, "scorer", slow)
    settings = LMSettings.model_validate({"name": "of_many_threads", "model": "nowhere", "device": "cpu"})
    start = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda _: (start.wait(), open_score(settings))[1], range(8)))
    assert len(made) == 1
    assert {id(scorer) for scorer in got} == {id(made[0])}


def test_models_that_load_at_once_miss_no_tied_weight(tiny_model: Models, tmp_path: Path) -> None:
    """The head of a GPT-2 is its embedding, which transformers ties while it holds a mark for all loadings."""
    from transformers import AutoModelForCausalLM

    tiny_model(tmp_path / "model", n_embd=32, n_positions=64)
    files = find_model("score.tiny.model", str(tmp_path / "model"), None, None, allow_pickle=False)
    start = threading.Barrier(6)

    def missing(_: int) -> list[str]:
        start.wait()
        _, report = read_model("score.tiny.model", files, "a model", AutoModelForCausalLM, trust=False)
        return list(report["missing_keys"])

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(missing, range(6))) == [[]] * 6
