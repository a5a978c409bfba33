"""Scores under n-gram models: equal to the definition and to the package `kenlm`, from every kind of file."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ngram.brute_force import random_text

from siftlm.ngram.settings import NgramTraining
from siftlm.ngram.train import train_ngram
from siftlm_kernels.ngram_model import NgramModel, ragged

KENLM_FILES = Path(__file__).parent / "kenlm"
KENLM_SCORES: dict[str, dict[str, list[float]]] = json.loads((KENLM_FILES / "scores.json").read_text())
"""log10 p of every token of lines by file, from `kenlm.Model(file).full_scores(line)`."""


def logs(model: NgramModel, texts: list[bytes], **more: str) -> list[list[float]]:
    found, bounds = model.log10(*ragged(texts), **more)  # type: ignore[arg-type]
    return [found[a:b].tolist() for a, b in pairwise(bounds)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random text as model.arpa and model.bin."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "text.txt").write_text("".join(line + "\n" for line in random_text(3, 300, 40)))
    out = [str(folder / "model.arpa"), str(folder / "model.bin")]
    train_ngram([str(folder / "text.txt")], out, NgramTraining(order=4, discount_fallback=True))
    return folder


TEXTS = [line.encode() for line in random_text(4, 60, 60)] + [
    b"", b"\n \n", b"w1 w2\nw3\r\n\tw4 w5", b"unknown", b"<s> w1 </s>", b"w1\x0bw2\x0cw1 w2 w3 w4 w5 w1 w1 w1",
]  # fmt: skip


def test_the_kernel_follows_the_definition(folder: Path) -> None:
    """Of backing off, for known and unknown words."""
    model = NgramModel.load(str(folder / "model.bin"))
    truth = logs(model, TEXTS, impl="reference")
    for found, of in zip(logs(model, TEXTS), truth, strict=True):
        assert found == pytest.approx(of, abs=1e-9)


@given(st.lists(st.text(st.sampled_from("w12 \n\t\x00é"), max_size=40), max_size=5))
@settings(max_examples=50)
def test_any_text(folder: Path, texts: list[str]) -> None:
    """However it is parted into words, lines and texts; a text does not depend on its neighbours."""
    model = NgramModel.load(str(folder / "model.bin"))
    contents = [text.encode() for text in texts]
    assert logs(model, contents) == [pytest.approx(of) for of in logs(model, contents, impl="reference")]
    assert logs(model, contents) == [logs(model, [content])[0] for content in contents]


def test_text_and_binary_hold_the_same_model(folder: Path) -> None:
    """Up to the last place of a number that is written in decimals: there is none, for these are the shortest."""
    model, text = (NgramModel.load(str(folder / name)) for name in ("model.bin", "model.arpa"))
    assert logs(model, TEXTS) == logs(text, TEXTS)
    (folder / "model.arpa.gz").write_bytes(gzip.compress((folder / "model.arpa").read_bytes()))
    assert logs(NgramModel.load(str(folder / "model.arpa.gz")), TEXTS) == logs(text, TEXTS)


@pytest.mark.parametrize("name", ["model.arpa", "model.bin"])
def test_kenlm_reads_our_files_and_scores_alike(folder: Path, name: str) -> None:
    """To 1e-5 in log10, each word."""
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm (LGPL) compares with KenLM itself")
    oracle, model = kenlm.Model(str(folder / name)), NgramModel.load(str(folder / name))
    assert oracle.order == model.order
    lines = [line for text in TEXTS for line in text.split(b"\n") if line.split()]
    for line, found in zip(lines, logs(model, lines), strict=True):
        assert found == pytest.approx([score for score, _, _ in oracle.full_scores(line.decode())], abs=1e-5)


def test_a_pruned_model_scores_as_kenlm_has_it(tmp_path: Path) -> None:
    """N-grams whose ends are missing are found, by entries that backing off fills."""
    more = "".join(f"-1.5\t{words}\n" for words in ("b b", "c a", "c c", "a a"))  # room for KenLM, which makes up one
    content = PRUNED.replace("ngram 2=2", "ngram 2=6").replace("-0.25\n", f"-0.25\n{more}")
    (tmp_path / "a.arpa").write_text(content)
    model = NgramModel.load(str(tmp_path / "a.arpa"))
    found = logs(model, [b"a b c", b"c b", b"b c a"])
    assert found == [pytest.approx(of) for of in logs(model, [b"a b c", b"c b", b"b c a"], impl="reference")]
    assert found[0] == pytest.approx([-0.5, -0.4, -0.1, -0.7])
    kenlm = pytest.importorskip("kenlm", reason="pip install kenlm (LGPL) compares with KenLM itself")
    oracle = kenlm.Model(str(tmp_path / "a.arpa"))
    for line, of in zip(["a b c", "c b", "b c a"], found, strict=True):
        assert of == pytest.approx([score for score, _, _ in oracle.full_scores(line)], abs=1e-5)


PRUNED = """\\data\\
ngram 1=6
ngram 2=2
ngram 3=1

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.1
-0.7\t</s>
-0.4\ta\t-0.2
-0.6\tb\t-0.3
-0.9\tc

\\2-grams:
-0.4\ta b
-0.8\tb a\t-0.25

\\3-grams:
-0.1\ta b c

\\end\\
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("ngram 2=2", "ngram 2=3", "line 17 must be one of 3 2-grams"),
        ("ngram 2=2", "ngram 2=1", "line 16 must be \\\\3-grams:"),
        ("ngram 3=1", "ngram 3=2", "line 20 must be one of 2 3-grams"),
        ("ngram 2=2", "ngram 2=x", "line 3 must tell the number of 2-grams"),
        ("-0.4\ta b", "-0.4\ta d", "line 15 must have words that have lines of their own"),
        ("-0.4\ta b", "-0.4\ta", "line 15 must have a number, 2 words"),
        ("-0.4\ta b", "x\ta b", "line 15 must have numbers"),
        ("-0.4\ta b", "nan\ta b", "line 15 must have numbers"),
        ("-0.4\ta b", "0.4\ta b", "line 15 must have a logarithm of at most 0"),
        ("-0.8\tb a", "-0.8\ta b", "line 16 must not have an n-gram that was there before"),
        ("-0.1\ta b c", "-0.1\tc b c", "line 19 must have a context"),
        ("-2\t<unk>", "-2\tx", "there is no entry <unk>"),
        ("\t<s>\t", "\ty\t", "there is no entry <s>"),
        ("\\end\\", "", "must be \\\\end"),
        ("\\data\\", "", "no line \\\\data"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(old: str, new: str, told: str) -> None:
    """Counts in the head, fields, words and contexts."""
    with pytest.raises(ValueError, match=told):
        NgramModel.parse(PRUNED.replace(old, new).encode())


def test_lines_of_windows_and_other_layouts_are_read() -> None:
    """CRLF, blanks instead of tabs, exponents, and a title before the data."""
    usual = logs(NgramModel.parse(PRUNED.encode()), TEXTS)
    other = "a title\r\n" + PRUNED.replace("\n", "\r\n").replace("\t", "  ").replace("-0.4 ", "-4.0e-1 ")
    assert logs(NgramModel.parse(other.encode()), TEXTS) == usual


def test_a_damaged_binary_file_is_refused(folder: Path) -> None:
    """Cut at any place, with another byte, or of another kind."""
    content = (folder / "model.bin").read_bytes()
    for size in (20, 60, 100, 500, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match=r"cut short|ends in its header|another version|no line|bytes"):
            NgramModel.parse(content[:size])
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    with pytest.raises(ValueError, match="other bytes than were written"):
        NgramModel.parse(bytes(changed))
    rest = content[:96] + b"\x01" + content[97:]
    with pytest.raises(ValueError, match="rest costs"):
        NgramModel.parse(rest)


@pytest.mark.parametrize("name", sorted(KENLM_SCORES))
def test_files_that_kenlm_made_score_as_it_does(name: str) -> None:
    """Hash tables and tries, packed in bits, quantised and with compressed pointers; files and scores are KenLM's."""
    model = NgramModel.load(str(KENLM_FILES / name))
    lines = [line.encode() for line in KENLM_SCORES[name]]
    for line, found in zip(lines, logs(model, lines), strict=True):
        assert found == pytest.approx(KENLM_SCORES[name][line.decode()], abs=1e-5)
    content = (KENLM_FILES / name).read_bytes()
    if name.endswith(".bin"):
        for size in (100, 200, len(content) // 2):
            with pytest.raises(ValueError, match=r"cut short|ends in its header"):
                NgramModel.parse(content[:size])


def test_numbers_are_written_with_the_fewest_decimals() -> None:
    """Each gives its float32 back."""
    from siftlm_kernels.ngram_arpa_kernel import read_number, write_number

    out = np.empty(64, np.uint8)
    draws = -np.exp(np.random.default_rng(0).uniform(-12, 5, 3000)).astype(np.float32)
    for value in (*draws, np.float32(-99), np.float32(0), np.float32(-0.30103)):
        end = write_number(value, out, 0)
        text = out[:end].tobytes().decode()
        assert np.float32(text) == value
        assert np.float32(read_number(out, 0, end)) == value
        assert len(text) <= len(f"{np.format_float_positional(value, trim='-')}")
