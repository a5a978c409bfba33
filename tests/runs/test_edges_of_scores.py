"""Every score over an empty corpus, one document, and models whose vocabulary is one word."""

from __future__ import annotations

from math import isfinite
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm.scorers.token_masks import decode_mask

pytest.importorskip("apache_beam")

NUMBERS = ["nll_mean", "nll_std", "nll_p0", "nll_p100", "worst_window"]
OF_ALL = ["entropy_mean", "el2n_std", "max_log_p_mean", "quantile_mean", "top_p_p50"]
MASKS = [{"name": "hard", "above": 2.5}, {"name": "runs", "above": 2.5, "encoding": "runs"}]
TEXTS: dict[str, list[str]] = {
    "nothing": [],
    "an empty document": [""],
    "white space": [" \n\t\n "],
    "one word": ["a"],
    "the word of the model": ["a a a\n\na"],
    "no word of the model": ["☃ z"],
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> dict[str, Any]:
    """A run with every kind of score, a prior, compression ratios, and what a model knows by heart."""
    folder = tmp_path_factory.mktemp("edges")
    (folder / "text.txt").write_text("a a a a\na\n")
    train_ngram([f"{folder}/text.txt"], [f"{folder}/a.bin"], NgramTraining(order=3, discount_fallback=True))
    (folder / "cutoff.csv").write_text(",web\n30,2\n60,4\n")
    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(f"{folder}/words.json")
    model = str(tiny_model.kept(n_positions=64))
    lm = {"name": "lm", "model": model, "device": "cpu", "per_document": [*NUMBERS, *OF_ALL], "token_masks": MASKS}
    return {
        "prior": [{"tokenizer": f"{folder}/words.json"}],
        "score": [
            {"kind": "ngram", "name": "n", "path": f"{folder}/a.bin", "per_document": NUMBERS, "token_masks": MASKS},
            {"kind": "ngram_by_language", "name": "l", "by": "source", "models": {"web": f"{folder}/a.bin"},
             "cutoffs": f"{folder}/cutoff.csv", "per_document": NUMBERS, "token_masks": MASKS},
            lm,
        ],
    }  # fmt: skip


@pytest.mark.parametrize("texts", TEXTS.values(), ids=TEXTS.keys())
def test_scores_have_numbers_or_null(bench: Any, everything: dict[str, Any], tiny_model: Any, texts: list[str]) -> None:
    """Never NaN, no error, and every count adds up; the report is there."""
    bench.shard("0.jsonl", [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)])
    known = {"kind": "memorization", "name": "known", "model": everything["score"][2]["model"], "device": "cpu",
             "prompt_tokens": 1, "tokens": 1}  # fmt: skip
    codecs = [{"kind": "compression", "name": name, "codec": name} for name in ("zstd", "gzip")]
    annotate = {"language": None, "signals": None, "others": codecs, "models": [known]}
    bench.run(annotate=annotate, output={"allow_empty": True}, **everything)
    rows = bench.rows()
    assert [row["text"] for row in rows] == texts
    for row in rows:
        bad = {name: of for name, of in row.items() if isinstance(of, float) and not isfinite(of)}
        assert not bad
        assert not [name for name, of in row.items() if name.endswith("_error") and of]
        for name in ("n", "l", "lm"):
            tokens = row[f"{name}_scored_token_count"]
            assert (row[f"{name}_perplexity"] is None) == (tokens == 0) == (row[f"{name}_nll_mean"] is None)
            assert decode_mask(row[f"{name}_hard_mask"], tokens).sum() == row[f"{name}_hard_masked"]
            assert decode_mask(row[f"{name}_runs_mask"], tokens, "runs").sum() == row[f"{name}_runs_masked"]
        assert [row[f"l_{column}"] for column in ("nll_sum", "token_count")] == [row["n_nll_sum"], row["n_token_count"]]
        assert row["l_bucket"] in ("head", "middle", "tail") if row["n_token_count"] else row["l_bucket"] == "all"
        assert row["prior_log_std"] in (0.0, None)
    assert (bench.root / "out/report.html").stat().st_size


def test_a_model_of_one_word_has_the_probabilities_of_the_definition(everything: dict[str, Any]) -> None:
    """Of all that can follow a context they add up to 1: the word, an unknown one, the end."""
    from siftlm_kernels.ngram_model import NgramModel, ragged

    model = NgramModel.load(everything["score"][0]["path"])
    logs, bounds = model.log10(*ragged([b"a a", b"a z", b"a"]))
    assert sum(10 ** logs[start + 1] for start in bounds[:-1].tolist()) == pytest.approx(1, abs=1e-6)
