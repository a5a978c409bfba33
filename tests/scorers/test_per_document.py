"""Numbers of documents from scores: those of the tokens that a score can store, without storing them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.scorers.test_lm_scores import PACKED, batch_of, documents, plain_nats, scorer_of
from tests.scorers.test_ngram_lm import scorer as ngram_of
from tests.scorers.test_ngram_lm import scores as ngram_scores

from siftlm.config import parse
from siftlm.errors import UserError

NAMES = ["el2n_mean", "entropy_mean", "entropy_std", "nll_mean", "nll_p10", "nll_p90", "el2n_p50", "worst_window"]
TOKENS = ["nll", "entropy", "el2n"]


def numbers(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(NAMES)


def by_numpy(row: dict[str, Any], window: int) -> dict[str, Any]:
    """The numbers of a document from the values of its tokens as they are stored."""
    nats, entropy, el2n = (np.array(row[f"token_{name}"]) for name in TOKENS)
    if not len(nats):
        return dict.fromkeys(NAMES)
    size = min(window, len(nats))
    means = [nats[at : at + size].mean() for at in range(len(nats) - size + 1)]
    values = [el2n.mean(), entropy.mean(), entropy.std(), nats.mean()]
    values += [np.percentile(nats, 10), np.percentile(nats, 90), np.percentile(el2n, 50), max(means)]
    return {name: pytest.approx(value, rel=1e-9, abs=1e-12) for name, value in zip(NAMES, values, strict=True)}


@pytest.mark.parametrize("family", [*PACKED, "opt"])
@pytest.mark.parametrize("settings", [{}, {"max_tokens": 100, "worst_window_tokens": 25}, {"bos_mode": "none"}])
def test_numbers_are_those_of_the_stored_values_of_tokens(
    language_models: dict[str, Path], family: str, settings: dict[str, Any]
) -> None:
    """Packed or padded, over all windows of a long document, up to where it is cut."""
    texts = [*documents(), "the committee said nothing " * 200]
    scorer = scorer_of(language_models[family], per_token=TOKENS, per_document=NAMES, **settings)
    found = scorer.score(batch_of(texts))
    assert found.schema == pa.schema(scorer.fields())
    for row in found.to_pylist():
        assert {name: row[name] for name in NAMES} == by_numpy(row, settings.get("worst_window_tokens", 10))
    assert max(found["scored_token_count"].to_pylist()) > 64 or "max_tokens" in settings


@pytest.mark.parametrize("family", [*PACKED, "opt"])
def test_neither_stored_tokens_nor_neighbours_change_a_bit(language_models: dict[str, Path], family: str) -> None:
    """On a CPU; nor do other numbers. So that a selection by them does not depend on what else is asked for."""
    texts = documents()
    whole = scorer_of(language_models[family], per_document=NAMES).score(batch_of(texts))
    stored = scorer_of(language_models[family], per_document=NAMES, per_token=TOKENS).score(batch_of(texts))
    assert numbers(stored).equals(numbers(whole))
    assert not any(name.startswith("token_") and name != "token_count" for name in whole.schema.names)
    few = scorer_of(language_models[family], per_document=["worst_window", "nll_p10"], window_documents=7)
    for seed in range(3):
        chosen = random.Random(seed).sample(range(len(texts)), [len(texts), 11, 1][seed])
        part = few.score(batch_of([texts[index] for index in chosen]))
        for name in ("worst_window", "nll_p10", "nll_sum"):
            assert part[name].equals(whole[name].take(pa.array(chosen)))


@pytest.mark.parametrize("family", [*PACKED, "opt"])
def test_the_features_of_pawn_are_those_of_the_predicted_distribution(
    language_models: dict[str, Path], family: str
) -> None:
    """By the logits of transformers, each token after those before it; a document has their means, gates being equal.

    N8's example: features 1 and 2 under equal gates give 1.5.
    """
    text, ranks = "the committee said nothing", ["max_log_p", "quantile", "top_p"]
    names = ["entropy_mean", "nll_mean", *(f"{name}_mean" for name in ranks)]
    scorer = scorer_of(language_models[family], per_token=["nll", *ranks], per_document=names)
    (row,) = scorer.score(batch_of([text])).to_pylist()
    p = predicted(language_models[family], text)
    own = np.exp(-np.array(row["token_nll"]))[:, None]
    near = np.abs(p / own - 1) < 1e-4  # the token itself, and what ties with it
    assert row["token_max_log_p"] == pytest.approx(np.log(p.max(1)), abs=1e-4)
    assert row["token_quantile"] == pytest.approx(((p < own) | near).mean(1), abs=1e-6)
    assert row["token_top_p"] == pytest.approx((p * ((p > own) | near)).sum(1), abs=1e-4)
    assert row["entropy_mean"] == pytest.approx(-(p * np.log(p)).sum(1).mean(), abs=1e-4)
    for name in ranks:
        assert row[f"{name}_mean"] == pytest.approx(np.mean(row[f"token_{name}"]), rel=1e-6)
    plain = scorer_of(language_models[family], per_document=["nll_mean"]).score(batch_of([text])).to_pylist()
    assert plain[0]["nll_sum"] == row["nll_sum"]


def predicted(folder: Path, text: str) -> np.ndarray:
    """The predicted distribution of each token of a short text, float64[tokens, vocabulary]."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos_token_id, *ids]])).logits[0, :-1]
    return np.asarray(logits.double().softmax(-1))


def test_the_numbers_of_nats_are_those_of_transformers(language_models: dict[str, Path]) -> None:
    """A document of several windows, by a plain loop."""
    text = "the committee said nothing for a while " * 30
    scorer = scorer_of(language_models["gpt2"], per_document=["nll_p90", "worst_window"], worst_window_tokens=20)
    (row,) = scorer.score(batch_of([text])).to_pylist()
    nats = plain_nats(language_models["gpt2"], text)
    assert row["nll_p90"] == pytest.approx(np.percentile(nats, 90), abs=2e-5)
    means = [nats[at : at + 20].mean() for at in range(len(nats) - 19)]
    assert row["worst_window"] == pytest.approx(max(means), abs=2e-5)


def test_documents_without_tokens_have_no_numbers(language_models: dict[str, Path]) -> None:
    """An empty text, and a null one, which is an error as it is without numbers."""
    found = scorer_of(language_models["gpt2"], per_document=NAMES).score(batch_of(["", None, "a b"]))
    assert found["error"].to_pylist() == [None, "null_text", None]
    for name in NAMES:
        assert found[name].is_null().to_pylist() == [True, True, False]


def test_what_nobody_asks_for_is_not_computed(language_models: dict[str, Path]) -> None:
    """Entropy and EL2N need a second pass over the vocabulary; numbers of nats do not."""
    folder = language_models["gpt2"]
    columns = {
        names: scorer_of(folder, per_document=list(names)).loaded().forward.columns
        for names in [(), ("nll_p90", "worst_window"), ("nll_p90", "el2n_mean")]
    }
    assert list(columns.values()) == [1, 1, 3]


def test_numbers_are_in_the_key_and_good_where_nats_are_few(language_models: dict[str, Path]) -> None:
    plain, one, two = (
        scorer_of(language_models["gpt2"], per_document=names)
        for names in ([], ["worst_window"], ["worst_window", "el2n_mean"])
    )
    wider = scorer_of(language_models["gpt2"], per_document=["worst_window"], worst_window_tokens=11)
    assert len({scorer.digest() for scorer in (plain, one, two, wider)}) == 4
    assert two.good_ends() == {**plain.good_ends(), "tiny_worst_window": "lowest"}
    assert [field.name for field in two.settings.columns()][7:9] == ["tiny_worst_window", "tiny_el2n_mean"]
    assert set(two.settings.charts()) - set(plain.settings.charts()) == {"tiny_worst_window", "tiny_el2n_mean"}


def test_an_ngram_model_has_the_numbers_of_its_nats(tmp_path: Path) -> None:
    """Of words and ends of lines, which are its tokens; null where there are none."""
    names = ["nll_mean", "nll_std", "nll_p90", "worst_window"]
    scorer = ngram_of(tmp_path / "a.arpa", per_document=names, worst_window_tokens=2)
    texts = ["a b\n\n b a", "c", "", None]
    found = ngram_scores(scorer, *texts)
    assert found.schema == pa.schema(scorer.fields())
    for text, row in zip(texts, found.to_pylist(), strict=True):
        nats = np.array(scorer.nats([text or ""])[0])
        size = min(2, len(nats))
        means = [nats[at : at + size].mean() for at in range(len(nats) - size + 1)] if size else []
        values = [nats.mean(), nats.std(), np.percentile(nats, 90), max(means)] if size else []
        assert [row[name] for name in names] == (pytest.approx(values) if size else [None] * 4)
    assert scorer.digest() != ngram_of(tmp_path / "a.arpa").digest()
    assert scorer.good_ends()["ngram_nll_p90"] == "lowest"


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ({"model": "m", "per_document": ["entropy_maen"]}, "got 'entropy_maen'; did you mean 'entropy_mean'?"),
        ({"model": "m", "per_document": ["nll_std"] * 2}, "columns must differ, got ['nll_std', 'nll_std']"),
        (
            {"kind": "ngram", "path": "a.arpa", "per_document": ["el2n_mean"]},
            "must be numbers of nll, all that this model gives, got 'el2n_mean'",
        ),
        ({"model": "m", "worst_window_tokens": 0}, "worst_window_tokens"),
    ],
)
def test_a_mistake_is_told_with_its_place(score: dict[str, Any], message: str) -> None:
    """Before any work."""
    tree = {"name": "n", "input": [{"source": "s", "paths": ["p"]}], "output": {"folder": "o"}}
    with pytest.raises(UserError) as refused:
        parse({**tree, "score": [{"name": "x", **score}]}, [])
    (line,) = str(refused.value).splitlines()
    assert line.startswith("configuration: score.0.")
    assert message in line
