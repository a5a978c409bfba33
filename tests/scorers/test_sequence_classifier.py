"""Sequence classification models: the values of transformers' own loop, whatever the other texts are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.models import save_classifier

from siftlm.errors import UserError
from siftlm.scorers import lm_blocks
from siftlm.scorers.lm_agreement import BOUNDS, AgreementBounds
from siftlm.scorers.sequence_classifier import SequenceClassifierScorer, SequenceClassifierSettings
from siftlm_kernels import blocked_attention
from siftlm_kernels.cpu_units import bfloat16_units

TOKENS = 64
SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": TOKENS,
}  # fmt: skip
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", SHAPE),
    "distilbert": ("DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64,
                                        "max_position_embeddings": TOKENS}),
    "roberta": ("RobertaConfig", {**SHAPE, "max_position_embeddings": 257 + 1 + TOKENS}),  # behind the padding's row
    "deberta-v2": ("DebertaV2Config", {**SHAPE, **RELATIVE, "norm_rel_ebd": "layer_norm", "share_att_key": True}),
    "modernbert": ("ModernBertConfig", {**SHAPE, "global_attn_every_n_layers": 2, "local_attention": 16}),
    "electra": ("ElectraConfig", {**SHAPE, "embedding_size": 16}),
    "llama": ("LlamaConfig", {**SHAPE, "num_key_value_heads": 2}),
    "qwen2": ("Qwen2Config", {**SHAPE, "num_key_value_heads": 2}),
}  # fmt: skip
HEADS: dict[str, dict[str, Any]] = {
    "none": {"num_labels": 1, "problem_type": "regression"},
    "softmax": {"id2label": {0: "bad", 1: "so-so", 2: "Very good"}},
    "sigmoid": {"num_labels": 2, "problem_type": "multi_label_classification"},
}
CHOICES = {
    "none": {},
    "softmax": {"labels": ["bad", "so-so", "Very good"]},
    "sigmoid": {"labels": ["LABEL_0", "LABEL_1"]},
}
TEXTS = [
    "The committee met on Tuesday to discuss the budget.",
    "a",
    "Rain is expected in the north; the south will stay dry, with sunny spells, and so on until the end of the week.",
    "Zweiter Text: größer. 第三の文章です。",
    "x" * 500,
    "def add(a, b):\n    return a + b",
]
WORDS = ["some", "words", "of", "different", "lengths"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers")


def model(folder: Path, family: str, head: str) -> Path:
    """The folder of a model with random weights, made by the first who asks."""
    kind, shape = FAMILIES[family]
    path = folder / f"{family}-{head}"
    return path if path.exists() else save_classifier(path, kind, scale=4.0, **shape, **HEADS[head])


def scorer(path: Path, **settings: Any) -> SequenceClassifierScorer:
    return SequenceClassifierSettings(name="rater", model=str(path), **{"device": "cpu", **settings}).scorer()


def rated(of: SequenceClassifierScorer, texts: list[str | None]) -> pa.RecordBatch:
    return of.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))


def values(of: SequenceClassifierScorer, texts: list[str | None]) -> np.ndarray:
    """The numbers, float32 [N, K], NaN where they are null."""
    columns = rated(of, texts).select(of.settings.value_columns).columns
    return np.stack([column.to_numpy(zero_copy_only=False) for column in columns], axis=1)


@torch.no_grad()
def by_transformers(path: Path, texts: list[str], max_length: int = TOKENS) -> np.ndarray:
    """What a user writes: one padded batch, truncated at the model's length."""
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    inputs = tokenizer(texts, return_tensors="pt", padding="longest", truncation=True, max_length=max_length)
    return np.asarray(loaded(**inputs).logits)


# --- agreement --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_is_that_of_transformers(folder: Path, family: str) -> None:
    path = model(folder, family, "none")
    expected = by_transformers(path, TEXTS)
    assert expected.std() > 1e-3, "a model that tells texts apart"
    np.testing.assert_allclose(values(scorer(path), TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "modernbert", "llama"])
def test_attention_in_blocks_is_that_of_transformers(
    folder: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of several blocks and windows, which are on both sides of a token."""
    monkeypatch.setattr(blocked_attention, "SCORES", 1)
    path = model(folder, family, "none")
    of = scorer(path)
    assert of.loaded().model.config._attn_implementation == lm_blocks.NAME
    np.testing.assert_allclose(values(of, TEXTS), by_transformers(path, TEXTS), atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_probabilities_are_those_of_transformers(folder: Path, family: str) -> None:
    """Those of a head with one label of several add up to 1, those of several labels at a time need not."""
    one_of, several = (model(folder, family, head) for head in ("softmax", "sigmoid"))
    logits = torch.tensor(by_transformers(one_of, TEXTS))
    found = values(scorer(one_of, **CHOICES["softmax"]), TEXTS)
    np.testing.assert_allclose(found, logits.softmax(-1), atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-6)
    logits = torch.tensor(by_transformers(several, TEXTS))
    np.testing.assert_allclose(values(scorer(several, **CHOICES["sigmoid"]), TEXTS), logits.sigmoid(), atol=1e-5)
    raw = values(scorer(several, **CHOICES["sigmoid"], activation="none"), TEXTS)
    np.testing.assert_allclose(raw, logits, atol=1e-5)


@pytest.mark.skipif(not bfloat16_units(), reason="the processor multiplies no bfloat16")
@pytest.mark.parametrize("head", ["softmax", "none"])
def test_half_precision_is_near(folder: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities within the bound that is checked when a model loads, numbers by their ranks; both are told.

    Ranks of random weights, which tell texts apart by little, have a bound of their own here.
    """
    monkeypatch.setitem(BOUNDS, "bf16", AgreementBounds(0.9))
    path = model(folder, "bert", head)
    choice = CHOICES[head]
    exact, rated = values(scorer(path, **choice), TEXTS), scorer(path, **choice, dtype="bf16")
    found = values(rated, TEXTS)
    assert 0 < np.abs(found - exact).max() < 0.02
    facts = rated.metadata()
    assert facts["dtype"] == "bf16"
    assert float(facts["value_difference"]) < 0.02
    assert ("rank_agreement" in facts) == (head == "none")


def test_half_precision_without_instructions_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a score; fp16 on any CPU."""
    path = model(folder, "bert", "softmax")
    monkeypatch.setattr("siftlm.scorers.lm_bf16.bfloat16_units", list)
    with pytest.raises(UserError, match=r"^annotate\.models\..*dtype: must be .* got bf16 without .*; use fp32$"):
        values(scorer(path, **CHOICES["softmax"], dtype="bf16"), TEXTS)
    with pytest.raises(UserError, match=r"dtype: must be fp32 or bf16 on a CPU, got fp16$"):
        values(scorer(path, **CHOICES["softmax"], dtype="fp16"), TEXTS)


# --- neighbours -------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([*TEXTS, "", *WORDS]), min_size=1, max_size=12))
@settings(max_examples=25)
def test_the_bits_of_a_value_depend_on_no_other_text(folder: Path, texts: list[str]) -> None:
    """The same bytes in any company and order, on a CPU."""
    for family in ("bert", "deberta-v2"):
        of = scorer_once(model(folder, family, "none"))
        alone = [values(of, [text])[0].tobytes() for text in texts]
        assert [value.tobytes() for value in values(of, list(texts))] == alone


ONCE: dict[Path, SequenceClassifierScorer] = {}


def scorer_once(path: Path) -> SequenceClassifierScorer:
    return ONCE.setdefault(path, scorer(path, threads=2))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [16, 300, 65_536])
def test_padding_changes_no_value(
    folder: Path, family: str, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The padded batches of a GPU, here on a CPU."""
    path = model(folder, family, "none")
    alone = values(scorer_once(path), TEXTS * 3)
    together = scorer(path, batch_tokens=batch_tokens)
    monkeypatch.setattr(type(together.loaded()), "_together", True)
    lengths = [len(members) for members, _ in together.loaded()._batches(together.tokenise(pa.array(TEXTS * 3)))]
    assert max(lengths) > 1
    np.testing.assert_allclose(values(together, TEXTS * 3), alone, rtol=3e-6, atol=1e-6)


def test_a_batch_without_room_is_halved_and_a_text_without_room_is_the_users(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = model(folder, "bert", "none")
    alone, together = values(scorer_once(path), TEXTS), scorer(path)
    kind, room = type(together.loaded()), [2]
    run = kind._values

    def limited(self: Any, of: Any, rows: list[Any], length: int) -> Any:
        return run(self, of, rows, length) if len(rows) <= room[0] else torch.empty(1 << 50)  # torch says so itself

    monkeypatch.setattr(kind, "_together", True)
    monkeypatch.setattr(kind, "_values", limited)
    np.testing.assert_allclose(values(together, TEXTS), alone, atol=1e-6)
    room[0] = 0
    with pytest.raises(UserError, match=rf"rater\.max_tokens: must fit .* of cpu, got texts of {TOKENS} tokens"):
        values(together, TEXTS)


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_text_without_content_has_no_value(folder: Path) -> None:
    found = rated(scorer(model(folder, "bert", "none")), ["", " \n\t", None, "a"])
    assert found["rater"].is_null().to_pylist() == [True, True, True, False]
    assert found["rater_truncated"].to_pylist() == [False] * 4
    assert rated(scorer(model(folder, "bert", "none")), []).num_rows == 0


@pytest.mark.parametrize("max_tokens", [3, 17, TOKENS, None])
def test_a_long_text_is_cut_as_transformers_cuts_it(folder: Path, max_tokens: int | None) -> None:
    path = model(folder, "roberta", "none")
    limit = max_tokens or TOKENS
    of = scorer(path, max_tokens=max_tokens)
    assert of.loaded().max_tokens == limit
    np.testing.assert_allclose(values(of, TEXTS), by_transformers(path, TEXTS, limit), atol=1e-5)
    lengths = [len(text.encode()) + 2 for text in TEXTS]  # a token a byte, and one before and behind
    assert rated(of, TEXTS)["rater_truncated"].to_pylist() == [length > limit for length in lengths]


@given(st.text("ab é\n第", max_size=300), st.integers(3, 12))
@settings(max_examples=60)
def test_the_beginning_that_is_tokenised_gives_the_tokens_of_the_whole(folder: Path, text: str, most: int) -> None:
    of = scorer_once(model(folder, "bert", "none")).loaded()
    kept = of.max_tokens
    of.max_tokens = most
    try:
        inputs = of.tokenise(pa.array([text]))
    finally:
        of.max_tokens = kept
    whole = of.tokenizer(text, truncation=True, max_length=most)["input_ids"]
    assert list(inputs.rows[0].get("input_ids", [])) == (whole if text.strip() else [])
    assert inputs.truncated == [bool(text.strip()) and len(of.tokenizer(text)["input_ids"]) > most]


def test_words_that_a_tokenizer_makes_one_token_of_are_read_on(folder: Path) -> None:
    """A beginning of 16 characters a token need not be enough: a long word is one unknown token."""
    of = scorer(model(folder, "bert", "none"), max_tokens=8).loaded()
    vocabulary = {"[UNK]": 0, "a": 1, "b": 2, "<pad>": 3}
    words = transformers.tokenization_utils_tokenizers.PreTrainedTokenizerFast(tokenizer_object=word_level(vocabulary))
    of.tokenizer = words
    text = " ".join(["z" * 400, "a", "b"] * 20)
    inputs = of.tokenise(pa.array([text, "z" * 5000]))
    assert [list(row["input_ids"]) for row in inputs.rows] == [[0, 1, 2, 0, 1, 2, 0, 1], [0]]
    assert inputs.truncated == [True, False]


def word_level(vocabulary: dict[str, int]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


# --- labels -----------------------------------------------------------------------------------------------------------


def test_the_best_label_is_that_of_the_highest_probability(folder: Path) -> None:
    path = model(folder, "bert", "softmax")
    found = rated(scorer(path, label="*"), [*TEXTS, ""])
    each = values(scorer(path, **CHOICES["softmax"]), TEXTS)
    names = HEADS["softmax"]["id2label"]
    assert found["rater_label"].to_pylist() == [*(names[best] for best in each.argmax(axis=1)), None]
    assert found["rater"].to_pylist() == [*each.max(axis=1).tolist(), None]
    assert scorer(path, label="*").values() == {"rater_label": list(names.values())}


def test_columns_are_named_by_labels(folder: Path) -> None:
    path = model(folder, "bert", "softmax")
    assert scorer(path, **CHOICES["softmax"]).settings.value_columns == ["rater_bad", "rater_so_so", "rater_very_good"]
    one = values(scorer(path, label="so-so"), TEXTS)
    assert one.tobytes() == values(scorer(path, **CHOICES["softmax"]), TEXTS)[:, 1:2].tobytes()


@pytest.mark.parametrize(
    ("head", "settings", "message"),
    [
        ("softmax", {}, r"rater\.label: must be set for a model with 3 outputs, got nothing; it has 'bad', 'so-so'"),
        ("softmax", {"label": "Very god"}, r"rater\.label: must be a label .* did you mean 'Very good'\?"),
        ("softmax", {"labels": ["bad", "worse"]}, r"rater\.labels: must be a label of the model, got 'worse'"),
        ("none", {"label": "*"}, r"rater\.label: must be unset or a label where outputs are no probabilities"),
        ("none", {"activation": "softmax"}, r"rater\.activation: must be 'sigmoid' or 'none' for a head with one"),
    ],
)
def test_a_wrong_choice_is_told_before_a_model_loads(
    folder: Path, head: str, settings: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = scorer(model(folder, "bert", head), **settings)
    monkeypatch.setattr(SequenceClassifierScorer, "open", lambda _: pytest.fail("loaded"))
    with pytest.raises(UserError, match=message):
        of.check()


def test_labels_that_give_one_column_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must give columns of different names, got '_so_so' twice"):
        SequenceClassifierSettings(name="rater", model="m", labels=["so-so", "so so"])
    with pytest.raises(ValueError, match="label and labels must not both be set"):
        SequenceClassifierSettings(name="rater", model="m", labels=["a"], label="b")


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "config.json").write_text("{"), "must have a config.json with the labels of its head"),
        (lambda path: (path / "model.safetensors").write_bytes(b"x" * 40), "must be a sequence classification model"),
        (lambda path: without(path, "classifier.weight"), "must hold every weight .* without classifier.weight"),
        (lambda path: (path / "tokenizer.json").unlink(), "must hold a tokenizer"),
        (lambda path: relabelled(path, ["a", "b"]), "must be a sequence classification model"),
    ],
)
def test_a_model_that_does_not_load_is_one_line(tmp_path: Path, spoil: Any, message: str) -> None:
    path = save_classifier(tmp_path / "model", "BertConfig", **SHAPE, **HEADS["none"])
    spoil(path)
    of = scorer(path, labels=["a", "b"] if "relabelled" in spoil.__code__.co_names else [])
    with pytest.raises(UserError, match=rf"annotate\.models\.rater\.model: {message}") as told:
        checked(of)
    assert "\n" not in str(told.value)


def checked(of: SequenceClassifierScorer) -> None:
    """As `siftlm validate` does."""
    of.check()
    of.load(of.digest())


def without(path: Path, name: str) -> None:
    weights = load_file(path / "model.safetensors")
    del weights[name]
    save_file(weights, path / "model.safetensors", {"format": "pt"})


def relabelled(path: Path, labels: list[str]) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "id2label": dict(enumerate(labels))}))


def test_positions_that_a_model_lacks_are_refused(folder: Path) -> None:
    for most, message in (
        (TOKENS + 1, f"at most the model's {TOKENS}, got 65"),
        (2, "more than the 2 special"),
    ):
        with pytest.raises(UserError, match=rf"rater\.max_tokens: must be {message}"):
            scorer(model(folder, "roberta", "none"), max_tokens=most).loaded()


def test_the_digest_follows_what_decides_values(folder: Path, tmp_path: Path) -> None:
    """Not where a model is or how fast it works; its files and the settings that change a value."""
    path = save_classifier(tmp_path / "model", "BertConfig", **SHAPE, **HEADS["softmax"])
    first = scorer(path, label="bad").digest()
    assert scorer(path, label="bad", threads=3, window_documents=7).digest() == first
    assert len({scorer(path, label="bad", **more).digest() for more in ({}, {"max_tokens": 9}, {"dtype": "bf16"})}) == 3
    assert scorer(path, label="so-so").digest() != first
    relabelled(path, ["bad", "good", "best"])
    assert scorer(path, label="bad").digest() != first
