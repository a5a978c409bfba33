"""bfloat16 on a CPU: near float32, blind to neighbours, refused where texts rank otherwise or units are missing."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.scorers.lm_advice import faster_dtypes
from siftlm.scorers.lm_agreement import AgreementBounds, check_agreement, check_values
from siftlm.scorers.lm_bf16 import Bf16Head, Bf16Linear, bf16_model, check_cpu_dtype
from siftlm_kernels.cpu_units import bfloat16_units

FAMILIES = ("gpt2", "gpt_neox", "llama", "opt")
WORDS = ["the", "budget", "rain", "sea", "window", "nothing", "def", "return", "Tuesday", "1", "\n", "é", "😀"]
needs_units = pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")


def documents() -> pa.RecordBatch:
    """Short, long, empty."""
    words = random.Random(0)
    texts = [" ".join(words.choices(WORDS, k=int(words.lognormvariate(3, 1)))) for _ in range(30)]
    return pa.record_batch({"text": pa.array([*texts, "", "a", "x" * 400], pa.large_string())})


def scorer_of(folder: Path, dtype: str, **settings: Any) -> LMScorer:
    """A scorer on the CPU."""
    return LMScorer(LMSettings(name="tiny", model=str(folder), **{"device": "cpu", "dtype": dtype, **settings}))


@needs_units
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_near_float32_and_do_not_see_their_neighbours(
    language_models: dict[str, Path], family: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The same tokens, means within the contract's 0.01 nats, the same bits shuffled, alone, or from one thread."""
    caplog.set_level(logging.INFO, "siftlm")
    batch = documents()
    exact = scorer_of(language_models[family], "fp32").score(batch)
    scorer = scorer_of(language_models[family], "bf16", threads=2)
    rounded = scorer.score(batch)
    for column in ("token_count", "byte_count", "error"):
        assert rounded[column] == exact[column]
    tokens = np.maximum(1, np.asarray(exact["token_count"]))
    difference = np.abs(np.asarray(rounded["nll_sum"]) - np.asarray(exact["nll_sum"])) / tokens
    assert 0 < difference[tokens >= 64].max() <= 0.01
    order = pa.array(random.Random(1).sample(range(batch.num_rows), batch.num_rows))
    assert scorer.score(batch.take(order)).equals(rounded.take(order))
    assert scorer.score(batch.slice(3, 1)).equals(rounded.slice(3, 1))
    assert scorer_of(language_models[family], "bf16", threads=1).score(batch).equals(rounded)
    assert "score.tiny.dtype: bf16 ranks 64 sample texts as fp32 does: Spearman" in caplog.text
    facts = scorer.metadata()
    assert facts["dtype"] == "bf16"
    assert float(facts["rank_agreement"]) >= 0.9995
    assert float(facts["mean_difference"]) <= 0.01


@needs_units
def test_entropy_and_el2n_are_near_float32_too(language_models: dict[str, Path]) -> None:
    """Token by token, packed and padded."""
    for family in ("llama", "opt"):
        columns = [
            scorer_of(language_models[family], dtype, per_token=["nll", "entropy", "el2n"]).score(documents())
            for dtype in ("fp32", "bf16")
        ]
        for name in ("token_nll", "token_entropy", "token_el2n"):
            exact, rounded = (np.asarray(batch[name].flatten()) for batch in columns)
            assert np.abs(exact - rounded).mean() < 0.01
            assert np.abs(exact - rounded).max() < 0.2


@needs_units
@pytest.mark.parametrize("bounds", [AgreementBounds(1.1, 1.0), AgreementBounds(-1.0, 0.0)])
def test_a_model_beyond_the_bounds_is_refused(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, bounds: AgreementBounds
) -> None:
    """By ranks, or by means; the message names the setting and what float32 is called."""
    monkeypatch.setattr("siftlm.scorers.lm_agreement.BOUNDS", {"bf16": bounds})
    with pytest.raises(UserError, match=r"^score\.tiny\.dtype: must .*got bf16 with .*; use fp32$"):
        scorer_of(language_models["gpt2"], "bf16").check()


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        ("bf16", r"^score\.tiny\.dtype: must be .* got bf16 without AVX512-BF16 or AMX; use fp32 or int8$"),
        ("fp16", r"^score\.tiny\.dtype: must be fp32, int8 or bf16 on a CPU, got fp16$"),
    ],
)
def test_a_cpu_without_the_instructions_refuses_before_it_loads(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, dtype: str, message: str
) -> None:
    """There is no slow way round."""
    monkeypatch.setattr("siftlm.scorers.lm_bf16.bfloat16_units", list)
    monkeypatch.setattr("siftlm.scorers.lm_documents.load_model", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(UserError, match=message):
        scorer_of(language_models["gpt2"], dtype).check()


@pytest.mark.parametrize(
    ("flags", "onednn", "units"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True, ["AVX512-BF16"]),
        ({"avx512_bf16": True, "amx_bf16": True}, True, ["AVX512-BF16", "AMX"]),
        ({"avx512_f": True, "avx512_vnni": True}, True, []),  # AVX-512 alone has no such instruction
        ({"avx512_bf16": True}, False, []),
        ({"bf16": True, "architecture": "arm64"}, True, []),  # nobody has measured it there
    ],
)
def test_units_are_what_the_processor_says(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], onednn: bool, units: list[str]
) -> None:
    """By torch's own list of the processor's flags."""
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: flags)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: onednn)
    assert bfloat16_units.__wrapped__() == units


def test_an_architecture_that_does_not_run_rounded_is_refused(language_models: dict[str, Path]) -> None:
    """Its own code may take the weights of a layer instead of calling it."""
    model = scorer_of(language_models["opt"], "fp32").loaded().model
    block = model.model.base_model.decoder.layers[0]
    block.forward = lambda states, **_: states @ block.fc1.weight.T
    with pytest.raises(UserError, match=r"^x\.dtype: must be a dtype of this architecture, got bf16 for opt; "):
        bf16_model("x.dtype", model)


def test_layers_round_what_they_multiply_and_nothing_else() -> None:
    """A linear layer is float32 in between; the head keeps what bfloat16 cannot hold."""
    torch.manual_seed(0)
    inputs, layer = torch.randn(3, 5, 64), torch.nn.Linear(64, 40)
    weight, bias = (part.detach().bfloat16().double() for part in (layer.weight, layer.bias))
    with torch.inference_mode():
        truth = inputs.bfloat16().double() @ weight.T + bias
        rounded, head = (kind(layer.weight, layer.bias)(inputs) for kind in (Bf16Linear, Bf16Head))
    assert rounded.dtype == head.dtype == torch.float32
    assert rounded.shape == head.shape == truth.shape
    assert 1e-4 < (rounded - truth).abs().max() < 2**-8 * truth.abs().max()
    assert (head - truth).abs().max() < 1e-4


@needs_units
def test_a_plan_hears_of_what_is_faster(language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio is measured on the texts; what does not run here is not named."""
    pytest.importorskip("ctranslate2")
    texts, seconds = documents()["text"], iter([6.0, 2.0, 4.0])
    monkeypatch.setattr("siftlm.scorers.lm_advice._seconds", lambda *_: next(seconds))
    scorer = scorer_of(language_models["gpt2"], "auto").loaded()
    (line,) = faster_dtypes(scorer, texts)
    assert line.startswith('score.tiny.dtype: scores that many times as fast as fp32 here: "bf16" 3.0, "int8" 1.5 (')
    assert line.endswith("tokens of the sample); each is compared with fp32 when it loads")
    assert scorer.model.dtype == "fp32"
    monkeypatch.setattr("siftlm.scorers.lm_bf16.bfloat16_units", list)
    monkeypatch.setattr("siftlm.scorers.lm_int8.find_spec", lambda name: None)
    monkeypatch.setattr("siftlm.scorers.lm_advice._seconds", lambda *_: 1.0)
    assert faster_dtypes(scorer, texts) == []


@needs_units
def test_measuring_a_ratio_changes_no_score(language_models: dict[str, Path]) -> None:
    """The model that scores is not the one that was rounded."""
    scorer, batch = scorer_of(language_models["llama"], "fp32"), documents()
    before = scorer.score(batch)
    scorer.advise(batch["text"])
    assert scorer.score(batch).equals(before)


def test_agreement_is_spearman_and_the_difference_of_long_documents() -> None:
    """Of two documents one is too short for its mean to count."""

    def batch(nats: list[float]) -> pa.RecordBatch:
        return pa.record_batch({"nll_sum": nats, "scored_token_count": [10, 100, 200], "byte_count": [30, 300, 600]})

    told = check_agreement("x", "bf16", batch([10.0, 200.0, 800.0]), batch([12.0, 200.5, 800.4]))
    assert told == {"rank_agreement": "1.0000", "mean_difference": "0.0050"}
    with pytest.raises(UserError, match=r"^x: must give sample texts the means of fp32 within 0.01 nats, got bf16"):
        check_agreement("x", "bf16", batch([10.0, 200.0, 800.0]), batch([10.0, 202.0, 800.0]))
    with pytest.raises(UserError, match=r"^x: must rank sample texts as fp16 does, .* 0.999 or more, got fp8"):
        check_agreement("x", "fp8", batch([10.0, 200.0, 800.0]), batch([10.0, 900.0, 800.0]), "fp16")


def test_values_of_a_classifier_are_compared_by_their_kind() -> None:
    """Probabilities by their distance, numbers without bounds by their ranks."""
    exact = np.linspace(0, 1, 32, dtype=np.float32)[:, None]
    assert check_values("x", exact, exact + np.float32(0.01), probabilities=True)["value_difference"] == "1.0e-02"
    assert check_values("x", exact, exact * 2, probabilities=False)["rank_agreement"] == "1.0000"
    with pytest.raises(UserError, match=r"^x: must give sample texts the probabilities of fp32 within 0.02"):
        check_values("x", exact, exact[::-1], probabilities=True)
    with pytest.raises(UserError, match=r"^x: must rank sample texts as fp32 does.* got bf16 with -1.0000; use fp32"):
        check_values("x", exact, exact[::-1], probabilities=False)


@pytest.mark.parametrize("dtype", ["auto", "fp32"])
def test_float32_runs_anywhere(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any instruction."""
    monkeypatch.setattr("siftlm.scorers.lm_bf16.bfloat16_units", list)
    check_cpu_dtype("x", dtype)
