"""8-bit floats: what a product is, which layers have it, and what is refused; on CUDA scores beside bfloat16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.models import Models
from tests.scorers.conftest import SENTENCES

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.scorers.lm_agreement import BOUNDS, AgreementBounds
from siftlm.scorers.lm_documents import DocumentScorer
from siftlm.scorers.lm_fp8 import LARGEST, Fp8Linear, scaled_product, scaled_rows

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"config": "GPT2Config", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "llama": {"config": "LlamaConfig", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 256},
    "opt": {"config": "OPTConfig", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "ffn_dim": 128, "word_embed_proj_dim": 64, "max_position_embeddings": 256},
}  # fmt: skip
cuda = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9), reason="needs units for 8-bit floats"
)


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request: pytest.FixtureRequest, tiny_model: Models) -> Path:
    """A model whose products have sizes that 8-bit floats take, packed and padded."""
    shared = {"texts": SENTENCES, "tokens": 320, "vocab_size": 328, "scale": 3.0}
    return tiny_model.kept(**FAMILIES[request.param], **shared)


def scorer_of(folder: Path, dtype: str, device: str = "cpu") -> LMScorer:
    return LMScorer(LMSettings(name="tiny", model=str(folder), device=device, dtype=dtype))  # type: ignore[arg-type]


def batch() -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array([*SENTENCES, "", " ".join(SENTENCES)], pa.large_string())})


def test_a_row_has_a_scale_of_its_own() -> None:
    """Rows of sizes that differ by millions lose the same share; zeros stay zeros."""
    values = torch.randn(4, 32, generator=torch.manual_seed(0)) * torch.tensor([[1e-4], [1.0], [1e4], [0.0]])
    rounded, scales = scaled_rows(values)
    assert rounded.float().abs().max() <= LARGEST
    again = rounded.float() * scales
    assert bool(((again - values).abs() <= values.abs().amax(1, keepdim=True) * 2**-4).all())
    assert not again[3].any()
    assert torch.equal(scaled_rows(values[1:2])[0].float(), rounded[1:2].float())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, cuda])])
def test_a_product_is_that_of_the_scaled_values(device: str) -> None:
    """In float64; the result is rounded to bfloat16."""
    torch.manual_seed(1)
    (rows, row_scales), (weight, scales) = scaled_rows(torch.randn(48, 64)), scaled_rows(torch.randn(32, 64))
    truth = (rows.double() * row_scales) @ (weight.double() * scales).T
    found = scaled_product(*(part.to(device) for part in (rows, row_scales, weight, scales))).cpu()
    assert found.dtype == torch.bfloat16
    assert (found.double() - truth).abs().max() <= 2**-8 * truth.abs().max() + 1e-3


def test_a_layer_is_near_the_one_it_stands_for() -> None:
    """With its bias, for batches of any shape."""
    torch.manual_seed(2)
    layer, inputs = torch.nn.Linear(64, 48), torch.randn(2, 5, 64)
    found, expected = Fp8Linear(layer.weight, layer.bias)(inputs).float(), layer(inputs)
    assert found.shape == expected.shape
    assert 0 < (found - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_every_product_of_the_body_is_rounded_and_the_head_is_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """End to end by the products' reference on a CPU: loaded in bfloat16, rounded, measured, told."""
    monkeypatch.setattr(DocumentScorer, "check_dtype", lambda *_: None)
    monkeypatch.setitem(BOUNDS, "fp8", AgreementBounds(0.5))
    exact, scorer = scorer_of(folder, "fp32").score(batch()), scorer_of(folder, "fp8")
    rounded = scorer.score(batch())
    layers = list(scorer.loaded().model.model.modules())
    heads = [layer for layer in layers if type(layer) is torch.nn.Linear]
    assert heads == [scorer.loaded().model.model.get_output_embeddings()]
    assert sum(isinstance(layer, Fp8Linear) for layer in layers) >= 8
    tokens = np.maximum(1, np.asarray(exact["token_count"]))
    difference = np.abs(np.asarray(rounded["nll_sum"]) - np.asarray(exact["nll_sum"])) / tokens
    assert 0 < difference.max() < 0.5
    facts = scorer.metadata()
    assert facts["dtype"] == "fp8"
    assert 0.5 <= float(facts["rank_agreement"]) <= 1
    order = pa.array(range(batch().num_rows)[::-1])
    assert scorer.score(batch().take(order)).equals(rounded.take(order))


def test_a_model_that_ranks_otherwise_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against bfloat16, which the message says to use."""
    monkeypatch.setattr(DocumentScorer, "check_dtype", lambda *_: None)
    monkeypatch.setitem(BOUNDS, "fp8", AgreementBounds(1.1))
    with pytest.raises(UserError, match=r"^score\.tiny\.dtype: must rank sample texts as bf16 does.*; use bf16$"):
        scorer_of(folder, "fp8").check()


def test_a_cpu_and_older_devices_refuse(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded."""
    with pytest.raises(UserError, match=r"^score\.tiny\.dtype: must be fp32, int8 or bf16 on a CPU, got fp8$"):
        scorer_of(folder, "fp8").check()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device=None: (8, 0))
    with pytest.raises(UserError, match=r"^score\.tiny\.dtype: .* got fp8 on compute capability 8.0, below 8.9; use"):
        scorer_of(folder, "fp8", "cuda").check()


@pytest.mark.gpu
@cuda
def test_on_a_device_scores_are_near_bfloat16(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, in any order with the same bits."""
    monkeypatch.setitem(BOUNDS, "fp8", AgreementBounds(0.5))
    exact, scorer = scorer_of(folder, "bf16", "cuda").score(batch()), scorer_of(folder, "fp8", "cuda")
    rounded = scorer.score(batch())
    tokens = np.maximum(1, np.asarray(exact["token_count"]))
    assert (np.abs(np.asarray(rounded["nll_sum"]) - np.asarray(exact["nll_sum"])) / tokens).max() < 0.5
    order = pa.array(range(batch().num_rows)[::-1])
    assert scorer.score(batch().take(order)).equals(rounded.take(order))
