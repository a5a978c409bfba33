"""Scores on a CUDA device: kernels, compiled body and feed together, against float32 on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.models import Models
from tests.scorers.conftest import SENTENCES

from siftlm.scorers.lm import LMScorer, LMSettings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

TOLERANCE = {"fp32": 1e-5, "fp16": 0.002, "bf16": 0.01}  # nats of a mean over 64 tokens or more


SHAPE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"config": "GPT2Config", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": {"config": "GPTNeoXConfig", **SHAPE, "intermediate_size": 128},
    "llama": {"config": "LlamaConfig", **SHAPE, "intermediate_size": 96, "num_key_value_heads": 2},
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tiny_model: Models) -> Path:
    """A model with heads of a size that the fused kernel takes, and a tokenizer."""
    shared = {"texts": SENTENCES, "tokens": 320, "vocab_size": 328, "scale": 3.0}
    return tiny_model.kept(**FAMILIES[request.param], **shared)


def texts() -> list[str]:
    """Of one to many hundred words, empty ones and emoji among them."""
    words = ["the", "sea", "opened", "a", "window", "and", "rain", "said", "nothing", "of", "committee", "budgets"]
    random = np.random.default_rng(0)
    made = [" ".join(random.choice(words, count)) for count in random.integers(1, 400, 120)]
    return ["", "a", "👩‍👩‍👧‍👦" * 40, *made, *made[:5]]


def scored(folder: Path, order: np.ndarray, **settings: Any) -> pa.RecordBatch:
    """The score columns of the texts in this order, put back into theirs."""
    scorer = LMScorer(LMSettings(name="tiny", model=str(folder), batch_tokens=2048, **settings))
    every = texts()
    batch = scorer.score(pa.record_batch({"text": pa.array([every[index] for index in order], pa.large_string())}))
    return batch.take(pa.array(np.argsort(order)))


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_scores_are_those_of_the_cpu_in_any_order(folder: Path, dtype: str) -> None:
    """Means agree within the contract's tolerance; shuffled input gives the same bits."""
    in_order = np.arange(len(texts()))
    truth = scored(folder, in_order, device="cpu")
    found = scored(folder, in_order, device="cuda", dtype=dtype)
    shuffled = scored(folder, np.random.default_rng(1).permutation(len(in_order)), device="cuda", dtype=dtype)
    assert found.equals(shuffled)
    counts = np.asarray(truth["token_count"])
    difference = np.abs(np.asarray(found["nll_sum"]) - np.asarray(truth["nll_sum"]))
    assert found["token_count"].equals(truth["token_count"])
    assert (difference[counts >= 64] / counts[counts >= 64]).max() <= TOLERANCE[dtype]


def test_statistics_of_tokens_are_those_of_the_cpu(folder: Path) -> None:
    """Entropy and EL2N, token by token."""
    in_order = np.arange(len(texts()))
    columns = {"per_token": ["nll", "entropy", "el2n"]}
    truth = scored(folder, in_order, device="cpu", **columns)
    found = scored(folder, in_order, device="cuda", dtype="fp16", **columns)
    for name in ("token_entropy", "token_el2n"):
        ours, theirs = (np.asarray(batch[name].flatten()) for batch in (found, truth))
        assert np.abs(ours - theirs).max() < 0.05


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_nats_and_their_numbers_do_not_depend_on_what_else_is_asked_for(folder: Path, dtype: str) -> None:
    """The fused head computes them with entropy and EL2N as without."""
    in_order, numbers = np.arange(len(texts())), ["nll_p90", "worst_window"]
    alone = scored(folder, in_order, device="cuda", dtype=dtype, per_document=numbers)
    more = scored(folder, in_order, device="cuda", dtype=dtype, per_document=numbers, per_token=["nll", "el2n"])
    for name in ("nll_sum", *numbers):
        assert alone[name].equals(more[name])
