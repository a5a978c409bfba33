"""8-bit models by CTranslate2: near float32, blind to neighbours, and refused where they rank documents otherwise."""

from __future__ import annotations

import logging
import platform
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.scorers.lm_agreement import sample_texts
from siftlm.scorers.lm_int8 import Int8Model

FAMILIES = ("gpt2", "gpt_neox", "llama", "opt")
WORDS = ["the", "budget", "rain", "sea", "window", "nothing", "def", "return", "Tuesday", "1", "\n", "é", "😀"]


def documents() -> pa.RecordBatch:
    """Short, long, empty."""
    words = random.Random(0)
    texts = [" ".join(words.choices(WORDS, k=int(words.lognormvariate(3, 1)))) for _ in range(30)]
    return pa.record_batch({"text": pa.array([*texts, "", "a", "x" * 400], pa.large_string())})


def scorer_of(folder: Path, dtype: str, **settings: Any) -> LMScorer:
    """A scorer on the CPU."""
    return LMScorer(LMSettings(name="tiny", model=str(folder), **{"device": "cpu", "dtype": dtype, **settings}))


def sums_bytes_exactly() -> bool:
    """Whether the processor adds products of bytes in 32 bits; in 16 they saturate, and tiny models lose ranks."""
    try:
        return platform.machine() != "x86_64" or "vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


@pytest.mark.skipif(not sums_bytes_exactly(), reason="the processor has no VNNI: sums of bytes saturate")
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_in_int8_are_near_float32_and_do_not_see_their_neighbours(
    language_models: dict[str, Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same tokens and bytes, nats within a few hundredths, the same bits when shuffled or alone."""
    pytest.importorskip("ctranslate2")
    caplog.set_level(logging.INFO, "siftlm")
    batch = documents()
    exact = scorer_of(language_models[family], "fp32").score(batch)
    scorer = scorer_of(language_models[family], "int8", threads=2)
    rounded = scorer.score(batch)
    for column in ("token_count", "byte_count", "error"):
        assert rounded[column] == exact[column]
    tokens = np.maximum(1, np.asarray(exact["token_count"]))
    difference = np.abs(np.asarray(rounded["nll_sum"]) - np.asarray(exact["nll_sum"])) / tokens
    assert 0 < difference.max() < 0.25
    assert difference.mean() < 0.05
    order = pa.array(random.Random(1).sample(range(batch.num_rows), batch.num_rows))
    assert scorer.score(batch.take(order)).equals(rounded.take(order))
    assert scorer.score(batch.slice(3, 1)).equals(rounded.slice(3, 1))
    assert "score.tiny.dtype: int8 ranks 64 sample texts as fp32 does: Spearman" in caplog.text
    facts = scorer.metadata()
    assert facts["dtype"] == "int8"
    assert facts["engine"].startswith("ctranslate2 ")
    assert float(facts["rank_agreement"]) >= 0.995


def test_a_model_that_ranks_otherwise_in_int8_is_refused(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has both correlations; nothing is scored."""
    pytest.importorskip("ctranslate2")
    right = Int8Model.logits

    def noisy(self: Int8Model, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return right(self, ids, mask) + 5 * torch.randn(1, generator=torch.manual_seed(int(ids.sum()))) * torch.randn(
            self.rows, generator=torch.manual_seed(0)
        )

    monkeypatch.setattr(Int8Model, "logits", noisy)
    with pytest.raises(UserError) as raised:
        scorer_of(language_models["gpt2"], "int8").check()
    message = str(raised.value)
    assert message.startswith(
        "score.tiny.dtype: must rank sample texts as fp32 does, with a Spearman correlation of 0.995"
    )
    assert "by perplexity" in message
    assert "by bits per byte; use fp32" in message


def test_what_ctranslate2_does_not_convert_is_refused(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its converter for GPT-NeoX knows the names of transformers 4 alone, which stands for any that fails."""
    pytest.importorskip("ctranslate2")
    monkeypatch.setattr("siftlm.scorers.lm_int8._name_as_transformers_4", lambda model: None)
    with pytest.raises(
        UserError, match=r"score\.tiny\.dtype: .* got int8 for gpt_neox, which CTranslate2 .*rotary_pct"
    ):
        scorer_of(language_models["gpt_neox"], "int8").check()


def test_int8_without_ctranslate2_says_what_to_install(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is loaded."""
    monkeypatch.setattr("siftlm.scorers.lm_int8.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"score\.tiny\.dtype: .*pip install 'siftlm\[int8\]'"):
        scorer_of(language_models["gpt2"], "int8").check()


def test_int8_is_for_a_cpu(language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` on a machine with CUDA is no silent move to its CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(UserError, match=r"score\.tiny\.dtype: must be fp32, fp16 or bf16 on CUDA, got int8"):
        scorer_of(language_models["gpt2"], "int8", device="auto").check()


def test_the_dtype_is_in_the_digest(language_models: dict[str, Path]) -> None:
    """Scores in int8 are never taken for others."""
    assert len({scorer_of(language_models["gpt2"], dtype).digest() for dtype in ("auto", "fp32", "int8")}) == 3


def test_the_sample_texts_are_real_and_distinct() -> None:
    """Enough of each to have a perplexity of its own."""
    texts = sample_texts().to_pylist()
    assert len(set(texts)) == 64
    assert all(200 < len(text) <= 800 for text in texts)
