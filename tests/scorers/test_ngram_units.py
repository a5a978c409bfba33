"""What n-gram models read: CCNet's normaliser to the letter, bytes, and pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from siftlm.errors import UserError
from siftlm.scorers.ngram_units import CCNET_PUNCTUATION, TokenLines, byte_tokens, ccnet_normalised


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ('" Café №１２: “Hi”\t— ok…\n２nd línea "', '" cafe №00: "hi" -  ok...0nd linea "'),
        ("İ ß", "i ß"),
        ("０２３４５６７８９ | 0123456789", "000000000 | 0000000000"),  # cc_net/tests/test_normalizer.py
        ("a\x00b\x7fc\x9fd\u00a0e", "abcd\u00a0e"),
        ("  \n ", ""),
        ("Año ÅNGSTRÖM ẹ̀", "ano angstrom e"),
        ("ＡＢＣ한", "ａｂｃ\u1112\u1161\u11ab"),
    ],
)
def test_texts_are_normalised_as_ccnet_does(text: str, normal: str) -> None:
    """Accents go without composing again, so Hangul falls into its parts."""
    assert ccnet_normalised(text) == normal


def test_the_punctuation_of_ccnet() -> None:
    """cc_net/tests/test_normalizer.py, whose table is applied by itself there."""
    weird = "，。、„”“«»１」「《》´∶：？！（）；–—．～’…━〈〉【】％"
    replaced = ',.,""""""""""\'::?!();- - . ~\'...-<>[]%'
    assert "".join(CCNET_PUNCTUATION.get(sign, sign) for sign in weird) == replaced
    assert len(CCNET_PUNCTUATION) == 34
    # In the whole normaliser digits come first, so that the full-width one is 0.
    assert ccnet_normalised(f"x{weird}x") == f"x{replaced}x".replace('"' * 10, '"' * 5 + "0" + '"' * 4)


def test_tokens_of_bytes_keep_lines() -> None:
    """A line feed ends a line; every other byte is a token."""
    assert [line.split() for line in byte_tokens(b"a\n\xff ").split(b"\n")] == [[b"<0x61>"], [b"<0xFF>", b"<0x20>"]]
    assert TokenLines(unit="bytes").of(["", "A"]) == [b"", b"<0x41> "]


def test_pieces_of_a_file_that_is_no_model_are_an_error(tmp_path: object) -> None:
    """With the name of the file, or of the package where it is missing."""
    with pytest.raises(UserError, match=r"nowhere.model: (must be|a) .*SentencePiece model"):
        TokenLines(unit="pieces", pieces=f"{tmp_path}/nowhere.model").of(["a"])


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A SentencePiece model of some lines."""
    lines = iter(["a b c abc", "b c a", "c a b cab"] * 20)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_prefix=f"{tmp_path}/sp", vocab_size=12, hard_vocab_limit=False, minloglevel=9
    )
    return f"{tmp_path}/sp.model"


def test_pieces_are_those_of_sentencepiece(model: str) -> None:
    """A line of text is a line of pieces."""
    found = TokenLines(unit="pieces", pieces=model).of(["a b\nxabc", ""])
    package = sentencepiece.SentencePieceProcessor(model_file=model)
    expected = "\n".join(" ".join(package.encode(line, out_type=str)) for line in ("a b", "xabc"))
    assert found == [expected.encode(), b""]


@pytest.mark.parametrize("content", [b"", b"not a model\n", b"\x08\x01", None])
def test_a_file_of_other_bytes_is_one_line(
    model: str, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Empty, of text, of another message, cut short: with its size, and nothing of the library's own."""
    path = Path(model)
    path.write_bytes(path.read_bytes()[:-1] if content is None else content)
    with pytest.raises(UserError, match=r"sp.model: must be a SentencePiece model, got [\d,]+ bytes that are none$"):
        TokenLines(unit="pieces", pieces=model).of(["a"])
    assert capfd.readouterr() == ("", "")
