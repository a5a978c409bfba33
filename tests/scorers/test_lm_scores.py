"""The score contract, against a plain loop over one document at a time."""

from __future__ import annotations

import math
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from siftlm.errors import UserError
from siftlm.scorers.lm import LMScorer, LMSettings
from siftlm.statistics.units import bits_per_byte, perplexity
from siftlm_kernels.cpu_units import bfloat16_units

PACKED = ("gpt2", "gpt_neox", "llama")
CONTEXT, STRIDE = 64, 48
WORDS = ["the", "of", "budget", "rain", "sea", "window", "said", "nothing", "def", "return", "Tuesday", "1", "\n", "\t"]


def documents() -> list[str]:
    """Short, long, empty, odd."""
    words = random.Random(0)
    ordinary = [" ".join(words.choices(WORDS, k=int(words.lognormvariate(3, 0.9)))) for _ in range(40)]
    noise = bytes(words.randrange(256) for _ in range(300)).decode("utf-8", "replace")
    odd = [
        "",
        "a",
        "\0",
        "é",
        "😀👩‍👩‍👧‍👦",
        noise,
        "a\0b\x07\ufffd",
        " " * 500,
        "x" * 1500,
        "<|endoftext|> and on <|endoftext|>",
    ]
    return ordinary + odd


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    """A batch as the score stage gives it."""
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def scorer_of(folder: Path, **settings: Any) -> LMScorer:
    """A scorer with everything but `settings` at its default."""
    return LMScorer(LMSettings(name="tiny", model=str(folder), device="cpu", **settings))


def plain_nats(folder: Path, text: str, stride: int = STRIDE, dtype: torch.dtype = torch.float32) -> np.ndarray:
    """The nats of every token by transformers alone: one document, one window at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    key = (str(folder), dtype)
    if key not in _LOADED:
        _LOADED[key] = (
            AutoTokenizer.from_pretrained(folder),
            AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(),
        )
    tokenizer, model = _LOADED[key]
    ids = torch.tensor([tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False).input_ids])
    nats, scored = [np.zeros(0)], 1
    for begin in range(0, len(ids), stride):
        end = min(begin + CONTEXT, len(ids))
        if end <= scored:
            break
        with torch.inference_mode():
            logits = model(ids[None, begin:end]).logits[0, :-1].double()
        window = torch.nn.functional.cross_entropy(logits, ids[begin + 1 : end], reduction="none")
        nats.append(window[scored - 1 - begin :].numpy())
        scored = end
    return np.concatenate(nats)


_LOADED: dict[tuple[str, torch.dtype], Any] = {}


@pytest.mark.parametrize("family", [*PACKED, "opt"])
def test_scores_are_those_of_one_document_at_a_time(language_models: dict[str, Path], family: str) -> None:
    """Within 1e-5 nats a token, packed or padded, for every column of the contract."""
    texts = documents()
    rows = scorer_of(language_models[family]).score(batch_of(texts)).to_pylist()
    for text, row in zip(texts, rows, strict=True):
        nats = plain_nats(language_models[family], text)
        assert row["token_count"] == len(nats)
        assert row["byte_count"] == len(text.encode())
        assert row["nll_sum"] == pytest.approx(nats.sum(), abs=1e-5 * max(1, len(nats)))
        assert row["nll_head"] == pytest.approx(nats[:32].sum(), abs=1e-5 * 32)
        assert (row["truncated"], row["error"]) == (False, None)


@pytest.mark.parametrize("family", [*PACKED, "opt"])
@pytest.mark.parametrize("threads", [1, 2])
def test_neighbours_order_and_threads_change_no_bit(
    language_models: dict[str, Path], family: str, threads: int
) -> None:
    """On a CPU in float32: shuffled, a part of the documents, or each by itself."""
    texts = documents()
    whole = scorer_of(language_models[family], threads=2).score(batch_of(texts))
    again = scorer_of(language_models[family], threads=threads, window_documents=7)
    for seed in range(3):
        chosen = random.Random(seed).sample(range(len(texts)), [len(texts), 11, 1][seed])
        part = again.score(batch_of([texts[index] for index in chosen]))
        assert part.equals(whole.take(pa.array(chosen)))


def test_disjoint_windows_predict_every_token_too(language_models: dict[str, Path]) -> None:
    """The fast option reads less context, and leaves no token out."""
    text = "the committee said nothing " * 40
    (row,) = scorer_of(language_models["gpt2"], stride="disjoint").score(batch_of([text])).to_pylist()
    nats = plain_nats(language_models["gpt2"], text, stride=CONTEXT - 1)
    assert row["nll_sum"] == pytest.approx(nats.sum(), abs=1e-5 * len(nats))
    assert row["token_count"] == len(nats)


def test_an_empty_document_has_no_perplexity(language_models: dict[str, Path]) -> None:
    """token_count 0, nll_sum 0, perplexity null: never NaN, never 0."""
    score = scorer_of(language_models["llama"]).score(batch_of(["", "a"]))
    assert score["token_count"].to_pylist() == [0, 1]
    assert score["nll_sum"][0].as_py() == 0.0
    assert perplexity(score["nll_sum"], score["token_count"])[0].as_py() is None
    assert bits_per_byte(score["nll_sum"], score["byte_count"])[0].as_py() is None


def test_rates_are_sums_divided_once() -> None:
    """Perplexity and bits per byte by their formulas, null where there is no sum."""
    nll_sum = pa.array([20.0, None])
    assert perplexity(nll_sum, pa.array([10, 3])).to_pylist() == [pytest.approx(math.exp(2)), None]
    assert bits_per_byte(nll_sum, pa.array([40, 9])).to_pylist() == [pytest.approx(20 / (math.log(2) * 40)), None]


def test_a_null_text_is_an_error_row_and_the_rest_is_scored(language_models: dict[str, Path]) -> None:
    """It is not taken for an empty document."""
    scorer = scorer_of(language_models["gpt2"])
    rows = scorer.score(batch_of(["rain", None])).to_pylist()
    assert rows[0] == scorer.score(batch_of(["rain"])).to_pylist()[0]
    assert (rows[1]["error"], rows[1]["nll_sum"], rows[1]["token_count"]) == ("null_text", None, None)


def test_a_batch_without_rows_gives_columns_without_rows(language_models: dict[str, Path]) -> None:
    """A shard whose rows are all dropped is scored too."""
    scorer = scorer_of(language_models["gpt2"])
    assert scorer.score(batch_of([])).schema == pa.schema(scorer.fields())


def test_a_cut_document_says_so_and_counts_the_bytes_that_were_scored(language_models: dict[str, Path]) -> None:
    """max_tokens: the score is that of the text up to the last scored token."""
    text = "the committee said nothing for a while"
    cut = scorer_of(language_models["gpt2"], max_tokens=5).score(batch_of([text, "a"])).to_pylist()
    whole = scorer_of(language_models["gpt2"]).score(batch_of([text, "a"])).to_pylist()
    assert (cut[0]["truncated"], cut[0]["scored_token_count"], cut[1]["truncated"]) == (True, 5, False)
    assert cut[0]["token_count"] == whole[0]["token_count"] == whole[0]["scored_token_count"] > 5
    assert cut[1] == whole[1]
    scored = text.encode()[: cut[0]["byte_count"]].decode()
    assert cut[0]["nll_sum"] == pytest.approx(plain_nats(language_models["gpt2"], scored).sum(), abs=1e-4)


@pytest.mark.parametrize("bos_mode", ["auto", "none"])
@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
def test_a_cut_changes_no_count_of_tokens(language_models: dict[str, Path], bos_mode: Any, limit: int) -> None:
    """Budgets count the whole text; rates are over what was scored."""
    texts = documents()
    settings: dict[str, Any] = {"bos_mode": bos_mode}
    whole = scorer_of(language_models["gpt2"], **settings).score(batch_of(texts))
    cut = scorer_of(language_models["gpt2"], max_tokens=limit, **settings).score(batch_of(texts))
    assert cut["token_count"].equals(whole["token_count"])
    assert whole["token_count"].equals(whole["scored_token_count"])
    most = limit if bos_mode == "auto" else limit - 1
    assert cut["scored_token_count"].to_pylist() == [min(n, most) for n in whole["token_count"].to_pylist()]
    rates = perplexity(cut["nll_sum"], cut["scored_token_count"]).to_pylist()
    for nats, count, rate in zip(cut["nll_sum"].to_pylist(), cut["scored_token_count"].to_pylist(), rates, strict=True):
        assert rate == (pytest.approx(math.exp(nats / count)) if count else None)


def test_per_token_columns_are_asked_for(language_models: dict[str, Path]) -> None:
    """One list a document: nats that add up to the sum, entropies, EL2N norms; in any order that is asked."""
    text = "the committee said nothing " * 30
    scorer = scorer_of(language_models["gpt_neox"], per_token=["el2n", "nll", "entropy"])
    score = scorer.score(batch_of([text, ""]))
    assert score.schema.names[-3:] == ["token_el2n", "token_nll", "token_entropy"]
    nats = plain_nats(language_models["gpt_neox"], text)
    np.testing.assert_allclose(score["token_nll"][0].as_py(), nats, atol=2e-5)
    assert len(score["token_el2n"][0]) == len(score["token_entropy"][0]) == len(nats)
    assert all(0 <= value <= math.sqrt(2) for value in score["token_el2n"][0].as_py())
    assert score["token_nll"][1].as_py() == []


def test_special_tokens_in_the_text_are_text_on_request(language_models: dict[str, Path]) -> None:
    """By default they are what the tokenizer makes of them, as in the plain loop."""
    texts = ["<|endoftext|>"]
    usual = scorer_of(language_models["gpt2"]).score(batch_of(texts))["token_count"][0].as_py()
    literal = scorer_of(language_models["gpt2"], special_tokens_in_text="as_text").score(batch_of(texts))
    assert usual == 1
    assert literal["token_count"][0].as_py() > 1
    assert scorer_of(language_models["gpt2"]).score(batch_of(texts))["token_count"][0].as_py() == 1


def test_without_a_prefix_the_first_token_is_context_only(language_models: dict[str, Path]) -> None:
    """bos_mode none: n tokens give n - 1 predictions."""
    with_prefix = scorer_of(language_models["llama"], per_token=["nll"]).score(batch_of(["rain on the sea", "a"]))
    without = scorer_of(language_models["llama"], bos_mode="none").score(batch_of(["rain on the sea", "a"]))
    assert without["token_count"].to_pylist() == [n - 1 for n in with_prefix["token_count"].to_pylist()]


def test_a_very_long_document_is_scored_in_bounded_batches(language_models: dict[str, Path]) -> None:
    """20,000 tokens and more, window by window."""
    text = " ".join(random.Random(1).choices(WORDS, k=12_000))
    (row,) = scorer_of(language_models["gpt2"]).score(batch_of([text])).to_pylist()
    nats = plain_nats(language_models["gpt2"], text)
    assert row["token_count"] == len(nats) > 20_000
    assert row["nll_sum"] == pytest.approx(nats.sum(), abs=1e-5 * len(nats))


@pytest.mark.parametrize("family", ["gpt_neox", "opt"])
def test_out_of_memory_halves_the_batch_and_goes_on(
    language_models: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An allocator that refuses rows of more than 300 tokens costs time, not documents."""
    texts = documents()
    expected = scorer_of(language_models[family]).score(batch_of(texts))
    scorer = scorer_of(language_models[family])
    scorer.check()
    body = scorer.loaded().model.model.base_model
    forward = body.forward

    def limited(ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if ids.numel() > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(ids, *args, **kwargs)

    monkeypatch.setattr(body, "forward", limited)
    np.testing.assert_allclose(scorer.score(batch_of(texts))["nll_sum"], expected["nll_sum"], rtol=1e-6)
    assert scorer.loaded().forward.packing.row_tokens == 256


def test_a_window_that_never_fits_is_the_users_to_shorten(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names the setting."""
    scorer = scorer_of(language_models["gpt2"])
    scorer.check()

    def never(*args: Any, **kwargs: Any) -> Any:
        return torch.empty(1 << 50)  # more than any machine has, so that torch itself says what it says then

    monkeypatch.setattr(scorer.loaded().model.model.base_model, "forward", never)
    with pytest.raises(UserError, match=r"score\.tiny\.context_tokens: .* windows of 63 tokens"):
        scorer.score(batch_of(["the " * 200]))


@pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")
def test_what_is_not_finite_in_half_precision_is_computed_again_in_float32(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the documents concerned, and they get the float32 score."""
    texts = ["rain", "q rain", "window"]
    exact = scorer_of(language_models["gpt2"]).score(batch_of(texts))
    scorer = scorer_of(language_models["gpt2"], dtype="bf16")
    half = scorer.score(batch_of(texts))
    _overflow_on(scorer, monkeypatch, token=_ids(scorer, "q")[-1])
    mended = scorer.score(batch_of(texts))
    assert mended["nll_sum"][1] == exact["nll_sum"][1] != half["nll_sum"][1]
    assert mended["nll_sum"][0] == half["nll_sum"][0]
    assert mended["error"].to_pylist() == [None] * 3


def test_what_is_not_finite_in_float32_either_is_an_error_row(
    language_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Null score, reason, and its neighbours in the same row keep theirs."""
    texts = ["rain", "q rain", "window"]
    scorer = scorer_of(language_models["gpt2"])
    expected = scorer.score(batch_of(texts)).to_pylist()
    _overflow_on(scorer, monkeypatch, token=_ids(scorer, "q")[-1])
    rows = scorer.score(batch_of(texts)).to_pylist()
    assert rows[1]["error"] == "non_finite_nll"
    assert rows[1]["nll_sum"] is None
    assert rows[1]["token_count"] == expected[1]["token_count"]
    assert [rows[0], rows[2]] == [expected[0], expected[2]]


def _ids(scorer: LMScorer, text: str) -> list[int]:
    (ids,) = scorer.loaded().tokenizer.encode([text]).texts()
    return [int(token) for token in ids]


def _overflow_on(scorer: LMScorer, monkeypatch: pytest.MonkeyPatch, token: int) -> None:
    """The hidden state after `token` becomes infinite."""
    body = scorer.loaded().model.body
    forward = body.forward

    def overflowing(ids: torch.Tensor, **kwargs: Any) -> Any:
        result = forward(ids, **kwargs)
        result.last_hidden_state[0, ids[0] == token] = float("inf")
        return result

    monkeypatch.setattr(body, "forward", overflowing)


def test_a_scorer_travels_to_a_worker_without_its_model(language_models: dict[str, Path]) -> None:
    """A loaded scorer pickles small and scores the same."""
    scorer = scorer_of(language_models["llama"])
    expected = scorer.score(batch_of(["rain"]))
    sent = pickle.dumps(scorer)
    assert len(sent) < 3000
    assert pickle.loads(sent).score(batch_of(["rain"])).equals(expected)


def test_the_metadata_say_how_the_scores_came_about(language_models: dict[str, Path]) -> None:
    """Everything that the contract wants beside the columns, as strings."""
    facts = scorer_of(language_models["opt"]).metadata()
    assert all(isinstance(value, str) for value in facts.values())
    assert facts["window_rule"] == "windows of 64 tokens every 48, only new tokens scored"
    assert (facts["dtype"], facts["device"], facts["batching"]) == ("fp32", "cpu", "padded")
    assert {"model_digest", "revision", "bos_mode", "tokenizer_class", "transformers", "torch"} <= facts.keys()
