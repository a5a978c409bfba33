"""Models over SentencePiece pieces: trained, and scored, as the packages `sentencepiece` and `kenlm` would."""

from __future__ import annotations

import json
from math import log
from pathlib import Path

import pyarrow as pa
import pytest
import sentencepiece
from tests.ngram.brute_force import kneser_ney, read_arpa

from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm.scorers.ngram_lm import NgramModelSettings
from siftlm.scorers.ngram_units import normalised

SENTENCES = [
    "the cat sat on the mat", "the dog sat on the log", "a cat and a dog sat down", "The mat, the log & the café…",
    "numbers: 12 and 345", "on and on it went, and the cat slept",
]  # fmt: skip
TEXTS = ["the cat slept on 9 logs\nThe café sat", "", "unheard-of ☃ words", "  and a\ttab ", "the mat"]
NORMALISERS = ["none", "ccnet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sp.model`, and a file of documents of one or two lines."""
    folder = tmp_path_factory.mktemp("pieces")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5), model_prefix=f"{folder}/sp", vocab_size=40, minloglevel=9
    )
    documents = [*SENTENCES, "\n".join(SENTENCES[:2]), *SENTENCES[2:4]]
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    return folder


def lines_of_pieces(folder: Path, texts: list[str], how: str) -> list[list[str]]:
    """The lines of pieces of each text, by the package alone."""
    package = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/sp.model")
    lines = [normalised(text, how).split("\n") for text in texts]  # type: ignore[arg-type]
    return [[" ".join(package.encode(line, out_type=str)) for line in of_text] for of_text in lines]


def trained(folder: Path, how: str) -> Path:
    """The model of order 3 over pieces, as text."""
    settings = NgramTraining(order=3, unit="pieces", pieces=f"{folder}/sp.model", normalise=how, discount_fallback=True)  # type: ignore[arg-type]
    train_ngram([str(folder / "text.jsonl")], [str(folder / f"{how}.arpa")], settings)
    return folder / f"{how}.arpa"


@pytest.mark.parametrize("how", NORMALISERS)
def test_every_number_is_that_of_the_definition_over_the_packages_pieces(folder: Path, how: str) -> None:
    """Each line of a document is a sentence of pieces; a document is one line for CCNet."""
    logs, backoffs = read_arpa(trained(folder, how).read_text())
    documents = [json.loads(line)["text"] for line in (folder / "text.jsonl").read_text().splitlines()]
    truth = kneser_ney([line for lines in lines_of_pieces(folder, documents, how) for line in lines], 3)
    assert logs == pytest.approx(truth.logs, abs=1e-6)
    assert backoffs == pytest.approx(truth.backoffs, abs=1e-6)


@pytest.mark.parametrize("how", NORMALISERS)
def test_the_score_is_that_of_kenlm_over_the_packages_pieces(folder: Path, how: str) -> None:
    """In nats, of the lines of each document that have pieces; as many tokens as pieces and such lines."""
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm (LGPL) compares with KenLM itself")
    path = trained(folder, how)
    settings = NgramModelSettings(name="n", path=str(path), unit="pieces", pieces=f"{folder}/sp.model", normalise=how)  # type: ignore[arg-type]
    found = settings.scorer().score(pa.record_batch({"text": pa.array(TEXTS, pa.large_string())}))
    oracle = kenlm.Model(str(path))
    lines = [[line for line in of if line] for of in lines_of_pieces(folder, TEXTS, how)]
    assert found["nll_sum"].to_pylist() == pytest.approx([-log(10) * sum(map(oracle.score, of)) for of in lines])
    assert found["token_count"].to_pylist() == [sum(len(line.split()) + 1 for line in of) for of in lines]
