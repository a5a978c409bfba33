"""Kneser-Ney models: every number is that of the definition, and files do not depend on how the work was parted."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from tests.ngram.brute_force import kneser_ney, random_text, read_arpa

from siftlm.errors import UserError
from siftlm.ngram import parts
from siftlm.ngram import text as texts
from siftlm.ngram.settings import NgramTraining, parse_bytes
from siftlm.ngram.train import train_ngram
from siftlm_kernels.ngram_model import NgramModel, ragged

WORKED = ["a b a", "b a", "a a b c"]


def train(folder: Path, lines: list[str], order: int, out: str = "model.arpa", **more: object) -> str:
    """The model of some lines, as text."""
    (folder / "text.txt").write_bytes("".join(line + "\n" for line in lines).encode())
    settings = NgramTraining(order=order, **{"discount_fallback": True, **more})
    train_ngram([str(folder / "text.txt")], [str(folder / out)], settings)
    return (folder / out).read_text() if out.endswith(".arpa") else ""


def test_the_worked_example_of_three_lines(tmp_path: Path) -> None:
    """Numbers of lmplz on the same lines, to six places."""
    logs, backoffs = read_arpa(train(tmp_path, WORKED, 3))
    for gram, log in {
        "<unk>": -0.782516, "a": -0.782516, "b": -0.693575, "c": -0.576754, "</s>": -0.693575,
        "<s> a": -0.381081, "a b c": -0.398393,
    }.items():  # fmt: skip
        assert logs[tuple(gram.split())] == pytest.approx(log, abs=1e-6)
    assert backoffs[("<unk>",)] == backoffs[("</s>",)] == backoffs[("a", "</s>")] == 0
    contexts = {gram: weight for gram, weight in backoffs.items() if gram[-1] not in ("</s>", "<unk>")}
    assert list(contexts.values()) == pytest.approx([-0.30103] * len(contexts), abs=1e-6)


def test_sentences_have_the_probabilities_of_lmplz(tmp_path: Path) -> None:
    """Of known and unknown words and, by the model's own numbers, of an empty sentence."""
    train(tmp_path, WORKED, 3, "model.bin")
    model = NgramModel.load(str(tmp_path / "model.bin"))
    logs, bounds = model.log10(*ragged([b"a b c", b"z a"]))
    assert np.add.reduceat(logs, bounds[:-1]).tolist() == pytest.approx([-1.247017, -2.511473], abs=1e-6)


def test_the_last_ngram_of_an_order_counts_raw(tmp_path: Path) -> None:
    """As in lmplz: with the last line twice, unigrams have no discounts and bigrams others than by the definition."""
    (tmp_path / "text.txt").write_text("".join(line + "\n" for line in [*WORKED, WORKED[-1]]))
    settings = NgramTraining(order=3, discount_fallback=True)
    found = train_ngram([str(tmp_path / "text.txt")], [str(tmp_path / "a.arpa")], settings).smooth
    assert found.fallbacks[0] == 1
    assert found.discounts[1].tolist() == pytest.approx([0, 0.4, 1.6, 3])


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_all_numbers_are_those_of_the_definition(tmp_path: Path, order: int) -> None:
    """Of every n-gram, of random text with empty lines."""
    lines = random_text(order, 400, 60)
    truth = kneser_ney(lines, order)
    logs, backoffs = read_arpa(train(tmp_path, lines, order))
    assert logs.keys() == truth.logs.keys()
    assert backoffs.keys() == truth.backoffs.keys()
    assert max(abs(logs[gram] - truth.logs[gram]) for gram in logs) < 1e-6
    assert max((abs(backoffs[gram] - truth.backoffs[gram]) for gram in backoffs), default=0) < 1e-6


def test_probabilities_add_up_to_one(tmp_path: Path) -> None:
    """The theorem: over all words but <s>, after any context."""
    train(tmp_path, random_text(1, 200, 20), 3, "model.bin")
    model = NgramModel.load(str(tmp_path / "model.bin"))
    words = [f"w{number}" for number in range(1, 21)]
    known = [word for word in words if model.word(word.encode())]
    lines = [f"w1 w2 {word}".encode() for word in (*known, "unknown")]
    logs, bounds = model.log10(*ragged([*lines, b"w1 w2"]))
    ends = [10 ** logs[bounds[row] + 2] for row in range(len(lines) + 1)]
    assert sum(ends) == pytest.approx(1, abs=1e-5)


def test_files_do_not_depend_on_parts_blocks_and_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither text nor binary, whatever the memory."""
    lines = random_text(7, 300, 50)
    usual = train(tmp_path, lines, 4, "model.arpa"), train(tmp_path, lines, 4, "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    monkeypatch.setattr(texts, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(parts, "part_numbers", lambda contexts, rows: np.arange(len(contexts), dtype=np.uint16) // 3)
    monkeypatch.setattr("siftlm.ngram.train.part_numbers", parts.part_numbers)
    assert train(tmp_path, lines, 4, "model.arpa") == usual[0]
    train(tmp_path, lines, 4, "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == whole
    train(tmp_path, lines, 4, "model.bin", processes=2)
    assert (tmp_path / "model.bin").read_bytes() == whole


def test_a_part_with_more_ngrams_than_room_works_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are merged on the way, and what remains is kept on the disk."""
    lines = random_text(8, 300, 50)
    usual = train(tmp_path, lines, 3)
    monkeypatch.setattr(texts, "BLOCK_BYTES", 1000)
    monkeypatch.setattr("siftlm.ngram.train.ROW_BYTES", 10**6)
    assert train(tmp_path, lines, 3) == usual


def test_compressed_text_and_model(tmp_path: Path) -> None:
    """The text of an .arpa.gz is that of an .arpa."""
    usual = train(tmp_path, WORKED, 2)
    train(tmp_path, WORKED, 2, "model.arpa.gz")
    assert gzip.decompress((tmp_path / "model.arpa.gz").read_bytes()).decode() == usual


def test_bytes_and_normalised_text(tmp_path: Path) -> None:
    """Tokens of bytes are their hexadecimal numbers; a normaliser works on each text before."""
    logs, _ = read_arpa(train(tmp_path, ["aé", "a"], 2, unit="bytes", normalise="ccnet"))
    assert ("<0x61>", "<0x65>") in logs
    assert ("<0xC3>",) not in logs


def test_documents_of_json_lines(tmp_path: Path) -> None:
    """Each line of a document is a sentence."""
    (tmp_path / "text.jsonl").write_text('{"body": "a b\\nc"}\n{"body": ""}\n')
    settings = NgramTraining(order=2, discount_fallback=True, text_field="body")
    found = train_ngram([str(tmp_path / "text.jsonl")], [str(tmp_path / "a.arpa")], settings)
    assert (found.sentences, found.tokens) == (2, 3)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "must have text to train on, got none"),
        (b"\n\n", "must have text to train on, got none"),
        (b"a b\nc <s> d\n", r"text.txt, line 2: must not have the word <s>"),
        (b"a\n\xff\n", r"text.txt, line 2: must be UTF-8, got byte 0xff"),
    ],
)
def test_a_text_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    """And nothing is left behind."""
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=told):
        train_ngram([str(tmp_path / "text.txt")], [str(tmp_path / "a.arpa")], NgramTraining(discount_fallback=True))
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_discounts_that_cannot_be_estimated_are_an_error(tmp_path: Path) -> None:
    """With the order, the count, and the option that helps."""
    with pytest.raises(UserError, match=r"2-grams with adjusted count 4 can be estimated.*--discount-fallback"):
        train(tmp_path, WORKED, 3, discount_fallback=False)


@pytest.mark.parametrize(("lines", "order"), [(["a a a a"], 5), (["a"] * 5, 3), (["a b"], 2), (["a"], 1)])
def test_small_texts(tmp_path: Path, lines: list[str], order: int) -> None:
    """One word, one line, and an order that one n-gram has."""
    truth = kneser_ney(lines, order)
    assert read_arpa(train(tmp_path, lines, order))[0] == pytest.approx(truth.logs, abs=1e-6)


def test_an_order_that_no_sentence_has_is_an_error(tmp_path: Path) -> None:
    """Whose longest n-gram is told."""
    with pytest.raises(UserError, match=r"order: must be at most 4, .* got 5"):
        train(tmp_path, ["a a", "a"], 5)


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("500M", 5 * 10**8), ("1GiB", 1 << 30), ("7", 7)])
def test_sizes_in_words(text: str, size: int) -> None:
    """With and without B."""
    assert parse_bytes(text) == size
