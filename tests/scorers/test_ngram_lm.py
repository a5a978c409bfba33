"""Scores under an n-gram model: the probabilities of the file, by the definition of backing off."""

from __future__ import annotations

import gzip
from math import log
from pathlib import Path

import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.scorers.ngram_lm import NgramModelSettings, NgramScorer

# Of the sentences "a b" and "b": logarithms to the base 10, then the weight of backing off.
ARPA = """
\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-2.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.6\ta\t-0.2
-0.4\tb\t-0.1

\\2-grams:
-0.3\t<s> a\t-0.25
-0.45\t<s> b
-0.15\ta b
-0.05\tb </s>

\\3-grams:
-0.01\t<s> a b

\\end\\
"""


def scorer(path: Path, content: bytes = ARPA.encode(), **more: object) -> NgramScorer:
    path.write_bytes(content)
    return NgramScorer(NgramModelSettings(name="ngram", path=str(path), **more))


def scores(of: NgramScorer, *texts: str | None) -> pa.RecordBatch:
    return of.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))


@pytest.mark.parametrize(
    ("text", "logs"),
    [
        ("a b", [-0.3, -0.01, -0.05]),  # the longest n-gram that there is; `a b </s>` is none, and `a b` has no weight
        ("b a", [-0.45, -0.1 - 0.6, -0.2 - 0.7]),  # `<s> b` has no weight; b, then a backs off
        ("a a", [-0.3, -0.25 - 0.2 - 0.6, -0.2 - 0.7]),
        ("c", [-0.5 - 2.0, -0.7]),  # a word that the model does not know; its context weighs nothing
        ("a b\n\n b ", [-0.3, -0.01, -0.05, -0.45, -0.05]),  # each line begins anew; an empty one is nothing
        ("", []),
        (" \n", []),
    ],
)
def test_the_nats_are_those_of_the_definition(tmp_path: Path, text: str, logs: list[float]) -> None:
    """Katz's backing off by hand; the words and the ends of lines are the tokens."""
    found = scores(scorer(tmp_path / "a.arpa"), text)
    assert found["nll_sum"].to_pylist() == pytest.approx([-sum(logs) * log(10)])
    assert found["token_count"].to_pylist() == found["scored_token_count"].to_pylist() == [len(logs)]
    assert found["byte_count"].to_pylist() == [len(text.encode())]
    assert found["error"].to_pylist() == [None]


def test_a_text_that_is_null_is_an_error(tmp_path: Path) -> None:
    """Like under every other model."""
    found = scores(scorer(tmp_path / "a.arpa"), None, "b")
    assert found["error"].to_pylist() == ["null_text", None]
    assert found["nll_sum"].is_null().to_pylist() == found["token_count"].is_null().to_pylist() == [True, False]


def test_a_model_of_lower_case_gets_lower_case(tmp_path: Path) -> None:
    """And the setting is in the digest, for it changes the numbers."""
    plain, lower = scorer(tmp_path / "a.arpa"), scorer(tmp_path / "a.arpa", normalise="lower")
    assert scores(lower, "A B")["nll_sum"].equals(scores(plain, "a b")["nll_sum"])
    assert not scores(plain, "A B")["nll_sum"].equals(scores(plain, "a b")["nll_sum"])
    assert plain.digest() != lower.digest()


def test_a_compressed_file_holds_the_same_model(tmp_path: Path) -> None:
    """As KenLM's users keep them."""
    packed = scorer(tmp_path / "a.arpa.gz", gzip.compress(ARPA.encode()))
    assert scores(packed, "a b").equals(scores(scorer(tmp_path / "a.arpa"), "a b"))


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"no model", ARPA.replace("<unk>", "unk").encode(), b"\\1-grams:\nx <unk>\n", b"\\x-grams:\n"],
)
def test_a_file_that_is_no_model_is_told_with_its_place(tmp_path: Path, content: bytes) -> None:
    """Before any work."""
    with pytest.raises(
        UserError,
        match=r"^score.ngram.path: must be an n-gram model in ARPA format or a binary file of KenLM, got .*a.arpa",
    ):
        scorer(tmp_path / "a.arpa", content).check()
