"""Every family of transformers: causal ones score as a plain loop does, others are refused, memory stays a block's."""

from __future__ import annotations

import gc
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import transformers as hf
from tests.families import CAUSAL, PADDED, POSITIONS, SEQ2SEQ, SHAPE, SIZE
from tests.models import ENDS, random_model, save_model

from siftlm.errors import UserError
from siftlm.scorers import lm_documents, lm_head
from siftlm.scorers.lm import LMScorer, LMSettings

TEXTS = ["The committee met on Tuesday to discuss the budget. " * 9, "rain", "", "a b c\n" * 20]
MASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", {**SHAPE, **POSITIONS}),
    "roberta": ("RobertaConfig", {**SHAPE, **POSITIONS}),
    "electra": ("ElectraConfig", {**SHAPE, **POSITIONS, "embedding_size": 16}),
    "xlm": ("XLMConfig", {"emb_dim": 32, "n_layers": 2, "n_heads": 4, **POSITIONS}),
    "prophetnet": (  # whose decoder reads no later token, but sees how many there are
        "ProphetNetConfig",
        {
            "hidden_size": 32,
            "num_decoder_layers": 2,
            "num_decoder_attention_heads": 4,
            "decoder_ffn_dim": 48,
            "num_encoder_layers": 2,
            "num_encoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            **POSITIONS,
        },
    ),
    "xlnet": ("XLNetConfig", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
    "camembert": ("CamembertConfig", {**SHAPE, **POSITIONS}),
}


def saved(tokenizer: Path, folder: Path, config: str, arguments: dict[str, Any]) -> tuple[Path, Any]:
    """A model with random weights as transformers saves it, and the model."""
    model = random_model(config, vocab_size=SIZE, **{**PADDED, **arguments})
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder / name)
    return folder, model


def scorer_of(folder: Path, **settings: Any) -> LMScorer:
    return LMScorer(LMSettings(name="tiny", model=str(folder), device="cpu", **settings))


def batch_of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def plain_sum(folder: Path, model: Any, text: str, context: int) -> float:
    """The nats of a text by transformers alone: one window at a time, three quarters of the context apart."""
    ids = [0, *hf.AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids]
    whole, total, scored = torch.tensor(ids), 0.0, 1
    for begin in range(0, len(ids), int(0.75 * context)):
        end = min(begin + context, len(ids))
        if end <= scored:
            break
        with torch.inference_mode():
            logits = model(whole[None, begin:end], use_cache=False).logits[0, :-1].double()
        nats = torch.nn.functional.cross_entropy(logits, whole[begin + 1 : end], reduction="none")
        total += float(nats[scored - 1 - begin :].sum())
        scored = end
    return total


@pytest.mark.parametrize("family", CAUSAL)
def test_a_causal_model_scores_as_a_plain_loop_does(
    language_models: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """Within 1e-5 nats a token, with the positions that it really has, its head taken a block at a time."""
    config, arguments, context = CAUSAL[family]
    folder, model = saved(language_models["opt"], tmp_path, config, arguments)
    scorer = scorer_of(folder)
    rows = scorer.score(batch_of(TEXTS)).to_pylist()
    assert scorer.loaded().context == context
    assert scorer.loaded().model.parts is not None
    for text, row in zip(TEXTS, rows, strict=True):
        expected = plain_sum(folder, model, text, context)
        assert row["nll_sum"] == pytest.approx(expected, abs=1e-5 * max(1, row["token_count"]))


@pytest.mark.parametrize("family", MASKED)
def test_a_model_that_reads_ahead_is_refused_in_one_line(
    language_models: dict[str, Path], tmp_path: Path, family: str
) -> None:
    """What it says of a beginning depends on the ending, so its nats are no nats of the text."""
    folder, _ = saved(language_models["opt"], tmp_path, *MASKED[family])
    with pytest.raises(UserError) as caught:
        scorer_of(folder).check()
    assert str(caught.value) == (
        f"score.tiny.model: must be a causal language model, got {family} '{folder}', which reads the end of a text "
        "before it predicts the beginning"
    )


@pytest.mark.parametrize("kind", ["BartForConditionalGeneration", "T5ForConditionalGeneration"])
def test_an_encoder_and_decoder_is_refused_in_one_line(
    language_models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Its decoder alone would load, and say something of every text that it was never trained to say."""
    config: Any = hf.BartConfig(vocab_size=SIZE, **{**ENDS, **PADDED, **SEQ2SEQ})
    if kind.startswith("T5"):
        config = hf.T5Config(vocab_size=SIZE, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, **ENDS, **PADDED)
    folder, _ = saved(language_models["opt"], tmp_path, "OPTConfig", CAUSAL["opt, whose positions begin at 2"][1])
    (folder / "model.safetensors").unlink()
    getattr(hf, kind)(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"^score\.tiny\.model: must be a causal language model") as caught:
        scorer_of(folder).check()
    assert "\n" not in str(caught.value)


def test_a_context_of_any_length_is_never_padded_beyond(language_models: dict[str, Path], tmp_path: Path) -> None:
    """A table of 61 rows: rounding a window of 61 tokens up to 64 would read behind its end."""
    config, arguments, _ = CAUSAL["bert as a decoder"]
    folder, model = saved(language_models["opt"], tmp_path, config, {**arguments, "max_position_embeddings": 61})
    (row,) = scorer_of(folder).score(batch_of(TEXTS[:1])).to_pylist()
    assert row["nll_sum"] == pytest.approx(plain_sum(folder, model, TEXTS[0], 61), abs=1e-5 * row["token_count"])


def test_a_window_beyond_the_positions_is_refused(language_models: dict[str, Path], tmp_path: Path) -> None:
    """RoBERTa's 64 are 58 here: the padding token is 5, and positions are counted from 6."""
    config, arguments, _ = CAUSAL["roberta as a decoder, whose table has two rows too many"]
    folder, _ = saved(language_models["opt"], tmp_path, config, arguments)
    with pytest.raises(UserError, match=r"^score\.tiny\.context_tokens: must be at most the model's 58, got 64$"):
        scorer_of(folder, context_tokens=64).check()


LOOKS = 9  # blocks between two looks at what is in memory


def test_logits_exist_for_one_block_at_a_time(
    language_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the windows are, and whatever the tokens have beside their nats."""
    monkeypatch.setattr(lm_head, "BLOCK_LOGITS", 2 * SIZE)
    folder, model = saved(language_models["opt"], tmp_path, *CAUSAL["qwen2"][:2])
    scorer = scorer_of(folder, per_token=["nll", "entropy"], threads=1)
    scorer.check()
    shapes: list[int] = []
    held: list[int] = []

    def wide() -> list[torch.Tensor]:
        """The tensors of this process that are as wide as logits."""
        return [t for t in gc.get_objects() if type(t) is torch.Tensor and t.dim() > 1 and t.shape[-1] == SIZE]

    def look(_module: Any, _inputs: Any, logits: torch.Tensor) -> None:
        shapes.append(logits.numel())
        if len(shapes) % LOOKS == 0:  # going through all objects of a process takes a second
            held.append(sum(tensor.numel() for tensor in wide() if id(tensor) not in others))

    scorer.loaded().model.model.lm_head.register_forward_hook(look)
    kept = wide()  # by tests before this one
    others = {id(tensor) for tensor in kept}
    row, _ = scorer.score(batch_of([TEXTS[0]] * 2)).to_pylist()
    assert set(shapes) == {2 * SIZE}
    assert len(shapes) >= 2 * 63 // 2
    assert 2 * SIZE <= max(held) <= 8 * SIZE  # this block, and what is left of the one before; two windows have 126
    assert row["nll_sum"] == pytest.approx(plain_sum(folder, model, TEXTS[0], 64), abs=1e-5 * row["token_count"])


def test_a_head_that_cannot_be_had_alone_shortens_the_window_and_says_so(
    language_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole logits are bounded by the window then, unless the configuration names another."""
    monkeypatch.setattr("siftlm.scorers.lm_causal._parts_agree", lambda *_: False)
    monkeypatch.setattr(lm_documents, "WHOLE_LOGITS", 40 * SIZE)
    folder, model = saved(language_models["opt"], tmp_path, *CAUSAL["qwen2"][:2])
    scorer = scorer_of(folder)
    (row,) = scorer.score(batch_of(TEXTS[:1])).to_pylist()
    assert row["nll_sum"] == pytest.approx(plain_sum(folder, model, TEXTS[0], 40), abs=1e-5 * row["token_count"])
    assert scorer.metadata()["context_tokens"] == "40"
    assert any("score.tiny: windows of 40 tokens, not the model's 64" in record.message for record in caplog.records)
    assert scorer_of(folder, context_tokens=64).metadata()["context_tokens"] == "64"


SCARCE = """
import resource, sys
import pyarrow as pa
from siftlm.scorers.lm import LMSettings

scorer = LMSettings(name="tiny", model=sys.argv[1], device="cpu", threads=1).scorer()
texts = pa.array(["the rain " * int(sys.argv[2])], pa.large_string())
scorer.score(pa.record_batch({"text": pa.array(["a"], pa.large_string())}))  # loads libraries and starts threads
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (int(sys.argv[3]) << 20),) * 2)
row, = scorer.score(pa.record_batch({"text": texts})).to_pylist()
print(row["nll_sum"], row["token_count"])
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
@pytest.mark.parametrize(
    ("vocabulary", "words", "mebibytes"),
    [pytest.param(151_936, 100, 450, id="a large vocabulary"), pytest.param(2_000, 1_000, 300, id="a long window")],
)
def test_a_padded_model_needs_no_memory_for_whole_logits_or_masks(
    tmp_path: Path, vocabulary: int, words: int, mebibytes: int
) -> None:
    """Qwen's shape: whole logits of 900 tokens take 520 MiB, a mask of 9,000 tokens squared 320 MiB."""
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    save_model(tmp_path, "Qwen2Config", vocab_size=vocabulary, intermediate_size=32,
               max_position_embeddings=16_384, **shape)  # fmt: skip
    arguments = [sys.executable, "-c", SCARCE, str(tmp_path), str(words), str(mebibytes)]
    told = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    nats, tokens = map(float, told.stdout.split())
    model = hf.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert tokens == 9 * words
    assert nats == pytest.approx(plain_sum(tmp_path, model, "the rain " * words, 16_384), abs=1e-5 * tokens)


LONG = 30_600  # tokens of a text: a mask takes 893 MiB, scores of one head 3.5 GiB
WINDOWED: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral": ("MistralConfig", {}),
    "gpt-oss": ("GptOssConfig", {"num_local_experts": 4, "layer_types": ["sliding_attention"]}),
    "gemma2": ("Gemma2Config", {"attn_logit_softcapping": 2.0, "layer_types": ["sliding_attention"]}),
    "gemma2 without a window": ("Gemma2Config", {"attn_logit_softcapping": 2.0, "layer_types": ["full_attention"]}),
}


def nats_by_windows(model: Any, ids: torch.Tensor, window: int) -> float:
    """The nats of a text under one layer that sees so many tokens, by transformers' eager attention over a few."""
    model.set_attn_implementation("eager")
    total, step = 0.0, 2_000
    for begin in range(0, len(ids) - 1, step):
        first, stop = max(0, begin - window), min(begin + step, len(ids) - 1)
        with torch.inference_mode():
            positions = torch.arange(first, stop)[None]
            logits = model(ids[None, first:stop], position_ids=positions, use_cache=False).logits[0, begin - first :]
        total += float(torch.nn.functional.cross_entropy(logits.double(), ids[begin + 1 : stop + 1], reduction="sum"))
    return total


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is Linux's")
@pytest.mark.parametrize("family", WINDOWED)
def test_a_model_that_masks_needs_no_memory_for_a_mask(tmp_path: Path, family: str) -> None:
    """Windows, soft caps and sinks over tens of thousands of tokens, in what a block takes."""
    config, arguments = WINDOWED[family]
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
             "head_dim": 16, "intermediate_size": 32, "max_position_embeddings": 1 << 15}  # fmt: skip
    save_model(tmp_path, config, scale=6.0, sliding_window=50, **{**shape, **arguments})
    command = [sys.executable, "-c", SCARCE, str(tmp_path), str(LONG // 9), "400"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    nats, tokens = map(float, told.stdout.split())
    assert tokens == LONG
    if "without" not in family:
        model = hf.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        ids = torch.tensor([0, *hf.AutoTokenizer.from_pretrained(tmp_path)("the rain " * (LONG // 9)).input_ids])
        assert nats == pytest.approx(nats_by_windows(model, ids, 50), abs=1e-5 * tokens)


@pytest.mark.parametrize(
    "family",
    [
        "mixtral, which routes",
        "gemma2, whose logits have a soft cap",
        "gemma2, whose scores have a soft cap too",
        "qwen3 with a sliding window",
        "llama4, which attends in chunks",
    ],
)
def test_neighbours_change_no_bit(language_models: dict[str, Path], tmp_path: Path, family: str) -> None:
    """Alone or in a batch, first or last in a block."""
    config, arguments, _ = CAUSAL[family]
    folder, _ = saved(language_models["opt"], tmp_path, config, arguments)
    scorer = scorer_of(folder)
    whole = scorer.score(batch_of(TEXTS))
    if family.startswith("mixtral"):  # how many tokens an expert gets is the neighbours' doing
        alone = pa.concat_arrays([scorer.score(batch_of([text]))["nll_sum"] for text in TEXTS])
        assert alone.to_pylist() == pytest.approx(whole["nll_sum"].to_pylist(), rel=1e-6)
    else:
        assert pa.Table.from_batches([scorer.score(batch_of([text])) for text in TEXTS]).equals(
            pa.Table.from_batches([whole])
        )
