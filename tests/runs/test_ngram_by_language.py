"""One score over many languages: each document under its language's model, its bucket, and what has no model."""

from __future__ import annotations

from math import exp
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece

from siftlm.errors import UserError
from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm.scorers.ngram_by_language import LanguageNgramSettings
from siftlm.scorers.ngram_lm import NgramModelSettings

pytest.importorskip("apache_beam")

TRAINING = {
    "de": ["der hund schläft auf der matte", "die katze sitzt auf dem dach", "der hund und die katze", "auf dem dach"],
    "en": ["the dog sleeps on the mat", "the cat sits on the roof", "the dog and the cat", "on the roof"],
}
DOCUMENTS = [
    ("en0", "en", "The dog sits on the roof."),
    ("en1", "en", "the cat sleeps"),
    ("en2", "en", "zzz qqq ☃ xxx yyy"),
    ("de0", "de", "der hund sitzt auf dem dach"),
    ("de1", "de", "unheard of words"),
    ("fr0", "fr", "le chien dort"),
    ("fr1", "fr", "le chat"),
    ("none", None, "the dog"),
    ("empty", "en", ""),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model over SentencePiece pieces of each of two languages, as settings of the score."""
    folder = tmp_path_factory.mktemp("models")
    for language, lines in TRAINING.items():
        (folder / f"{language}.txt").write_text("\n".join(lines * 3) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines * 5),
            model_prefix=f"{folder}/{language}",
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=9,
        )
        settings = NgramTraining(
            order=3, unit="pieces", pieces=f"{folder}/{language}.model", normalise="ccnet", discount_fallback=True
        )
        train_ngram([f"{folder}/{language}.txt"], [f"{folder}/{language}.bin"], settings)
    return {
        "kind": "ngram_by_language",
        "name": "wiki",
        "normalise": "ccnet",
        "unit": "pieces",
        "models": {language: f"{folder}/{language}.bin" for language in TRAINING},
        "pieces": {language: f"{folder}/{language}.model" for language in TRAINING},
    }


def alone(models: dict[str, Any], language: str, text: str) -> dict[str, Any]:
    """The score of a text under the model of one language by itself."""
    settings = NgramModelSettings(
        name="n", path=models["models"][language], pieces=models["pieces"][language], normalise="ccnet", unit="pieces"
    )
    return settings.scorer().score(pa.record_batch({"text": pa.array([text], pa.large_string())})).to_pylist()[0]


def perplexity(row: dict[str, Any]) -> float | None:
    return exp(row["nll_sum"] / row["scored_token_count"]) if row["scored_token_count"] else None


@pytest.fixture
def corpus(bench: Any) -> Any:
    rows = [{"id": name, "language": language, "text": text} for name, language, text in DOCUMENTS]
    bench.shard("0.jsonl", rows[:5])
    bench.shard("1.jsonl", rows[5:])
    return bench


def conf(corpus: Any, out: str, score: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A run over the corpus, whose language is a field of its records."""
    tree = corpus.tree(out, score=[score], **more)
    return {**tree, "input": [{**tree["input"][0], "columns": {"language": "string"}}]}


def run(corpus: Any, out: str, score: dict[str, Any], **more: Any) -> Any:
    tree = conf(corpus, out, score, **more)
    return corpus.run(out, score=[score], input=tree["input"], **more)


def test_each_document_is_scored_by_the_model_of_its_language(
    corpus: Any, models: dict[str, Any], tmp_path: Path
) -> None:
    """As by that model alone; without a model it has nulls, is kept, and is counted by language."""
    ppl = {
        name: perplexity(alone(models, language, text)) for name, language, text in DOCUMENTS if language in TRAINING
    }
    cut_offs = {"en": sorted(ppl[name] for name in ("en0", "en1", "en2"))[1:], "de": [0.0, ppl["de0"]]}
    (tmp_path / "cutoff.csv").write_text(
        ",de,en\n" + "".join(f"{p},{cut_offs['de'][i]!r},{cut_offs['en'][i]!r}\n" for i, p in enumerate((30, 60)))
    )
    result = run(corpus, "out", {**models, "cutoffs": str(tmp_path / "cutoff.csv")})
    rows = {row["doc_id"]: row for row in corpus.rows()}
    for name, language, text in DOCUMENTS:
        row, truth = rows[name], alone(models, language, text) if language in TRAINING else None
        for column in ("nll_sum", "token_count", "scored_token_count", "byte_count"):
            assert row[f"wiki_{column}"] == (truth[column] if truth else None), (name, column)
        assert row["wiki_perplexity"] == pytest.approx(ppl.get(name)), name
        assert row["wiki_error"] is None
    low, high = cut_offs["en"]
    for name, language in (("en0", "en"), ("en1", "en"), ("en2", "en")):
        of = ppl[name]
        assert rows[name]["wiki_bucket"] == ("head" if of < low else "middle" if of < high else "tail"), language
    assert {rows[name]["wiki_bucket"] for name in ("en0", "en1", "en2")} == {"head", "middle", "tail"}
    assert [rows[name]["wiki_bucket"] for name in ("fr0", "none", "empty", "de0")] == ["all", "all", "all", "tail"]
    table = {row["language"]: row for row in result.manifest["tables"]["Scores by language"]}
    assert (table["fr"]["documents"], table["fr"]["with a score"], table["fr"]["all"]) == (2, 0, 2)
    assert (table["en"]["documents"], table["en"]["with a score"], table["en"]["head"]) == (4, 4, 1)
    assert table["none"]["documents"] == 1
    assert (
        "3 documents have no model, and no numbers (fr 2, none 1)" in (corpus.root / "out" / "report.html").read_text()
    )
    assert "Scores by language" in (corpus.root / "out" / "report.html").read_text()


def test_rules_use_the_bucket_and_the_perplexity(corpus: Any, models: dict[str, Any], tmp_path: Path) -> None:
    """A bucket that no score gives is told; a changed cut-off makes the score anew, a changed rule does not."""
    (tmp_path / "cutoff.csv").write_text(",de,en\n30,1e9,1e-9\n60,2e9,2e-9\n")
    score = {**models, "cutoffs": str(tmp_path / "cutoff.csv")}
    rules = [{"kind": "threshold", "column": "wiki_bucket", "in": ["head", "all"]}]
    run(corpus, "out", score, select={"rules": rules})
    assert sorted(row["doc_id"] for row in corpus.rows()) == ["de0", "de1", "empty", "fr0", "fr1", "none"]
    lower = {
        "rules": [{"kind": "band", "column": "wiki_perplexity", "criterion": "low", "rate": 0.5, "within": "language"}]
    }
    run(corpus, "low", score, select=lower)
    assert {"fr0", "none"}.isdisjoint(row["doc_id"] for row in corpus.rows("low"))
    with pytest.raises(UserError, match=r"there is no wiki_bucket 'heads'; did you mean 'head'"):
        run(corpus, "bad", score, select={"rules": [{**rules[0], "in": ["heads"]}]})


def test_masks_and_what_a_model_was_trained_on_are_told_as_of_any_score(corpus: Any, models: dict[str, Any]) -> None:
    """A model that scores its own training documents, by the sketch beside it."""
    rows = [{"id": f"own{n}", "language": "en", "text": text} for n, text in enumerate(TRAINING["en"])]
    corpus.shard("2.jsonl", rows)
    manifest = run(corpus, "out", {**models, "token_masks": [{"name": "hard", "above": 3.0}]}).manifest
    (told,) = [line for line in manifest["warnings"] if line.startswith("score ")]
    assert told.startswith("score 'wiki': its model was trained on about 44.4% of the documents")  # 4 of 4 + 3 + 2
    (masks,) = manifest["tables"]["Masks of tokens"]
    assert masks["mask"] == "wiki_hard"
    assert masks["marked tokens"] == sum(row["wiki_hard_masked"] or 0 for row in corpus.rows())


def test_files_of_a_language_are_told_with_its_name(models: dict[str, Any], tmp_path: Path) -> None:
    """A model, pieces or cut-offs that are not there."""

    def checked(**more: Any) -> None:
        LanguageNgramSettings.model_validate({**models, **more}).scorer().check()

    absent, other = str(tmp_path / "absent"), str(tmp_path / "other.csv")
    (tmp_path / "other.csv").write_text(",fr\n30,1\n60,2\n")
    for more, told in (
        ({"models": {**models["models"], "de": absent}}, r"^score\.wiki\.models\.de: must be an n-gram model"),
        ({"pieces": {**models["pieces"], "de": absent}}, r"absent: must be a SentencePiece model"),
        ({"cutoffs": absent}, r"^score\.wiki\.cutoffs: must name a file of cut-offs"),
        ({"cutoffs": other}, r"^score\.wiki\.cutoffs: must have cut-offs of a language of models, de, en; got fr in"),
    ):
        with pytest.raises(UserError, match=told):
            checked(**more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"pieces": {"en": "en.model"}}, "pieces: must name a SentencePiece model for each of models, got en"),
        ({"unit": "words"}, "must name nothing unless unit is 'pieces', got de, en"),
        ({"head_percentile": 60}, "head_percentile must be below tail_percentile = 60"),
        ({"models": {}}, "models"),
    ],
)
def test_settings_that_do_not_fit_are_told(models: dict[str, Any], more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LanguageNgramSettings.model_validate({**models, **more})


@pytest.mark.parametrize(
    ("by", "told"),
    [
        ("langage", r"^score\.wiki\.by: must be a column that is there before scores, got 'langage'; did you mean"),
        ("byte_count", r"^score\.wiki\.by: must be a column of strings, got 'byte_count' of int64"),
    ],
)
def test_a_column_that_cannot_choose_is_told(corpus: Any, models: dict[str, Any], by: str, told: str) -> None:
    """Before any work."""
    with pytest.raises(UserError, match=told):
        run(corpus, "out", {**models, "by": by})


def test_texts_alone_have_no_language(models: dict[str, Any]) -> None:
    """As in a matrix: an error, and no guess."""
    scorer = LanguageNgramSettings.model_validate(models).scorer()
    with pytest.raises(UserError, match=r"^score\.wiki\.by: must be a column beside the text, got 'language'"):
        scorer.score(pa.record_batch({"text": pa.array(["a"], pa.large_string())}))


def test_the_digest_hangs_on_every_file(models: dict[str, Any], tmp_path: Path) -> None:
    """Of a model, of pieces, and on what the cut-offs say, not on where they are."""

    def digest(**more: Any) -> str:
        return LanguageNgramSettings.model_validate({**models, **more}).scorer().digest()

    for name, last in (("a.csv", 2), ("b.csv", 2), ("c.csv", 3)):
        (tmp_path / name).write_text(f",en\n30,1\n60,{last}\n")
    swapped = {**models["models"], "en": models["models"]["de"]}
    assert digest(cutoffs=str(tmp_path / "a.csv")) == digest(cutoffs=str(tmp_path / "b.csv"))
    assert len({digest(), digest(models=swapped), *(digest(cutoffs=str(tmp_path / f"{n}.csv")) for n in "abc")}) == 4
