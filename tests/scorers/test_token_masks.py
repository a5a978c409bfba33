"""Masks are those of the values, whatever their encoding, and cost the bytes that are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from siftlm.errors import UserError
from siftlm.scorers.ngram_lm import NgramModelSettings
from siftlm.scorers.token_masks import TokenMask, decode_mask, encode_mask

BOOLS = st.lists(st.booleans(), max_size=300).map(lambda values: np.array(values, np.bool_))


@given(BOOLS, st.sampled_from(["bitmap", "runs"]))
def test_a_mask_comes_back(mask: np.ndarray, encoding: Any) -> None:
    assert decode_mask(encode_mask(mask, encoding), len(mask), encoding).tolist() == mask.tolist()


def test_a_bitmap_has_a_bit_a_token_and_runs_a_byte_or_two_each() -> None:
    mask = np.zeros(1000, np.bool_)
    mask[600:700] = True
    assert len(encode_mask(mask, "bitmap")) == 125
    assert len(encode_mask(mask, "runs")) == 5  # 600 and 300 in two bytes each, 100 in one
    assert encode_mask(np.array([True, False, False, True] * 2), "bitmap") == bytes([0b10011001])
    assert encode_mask(np.array([True, True, False]), "runs") == bytes([0, 2, 1])


def test_the_worked_example_of_clear_minds() -> None:
    """Perplexities 1.105, 1.649, 3.320, 2.460, 20.086: those above 2.5 are marked."""
    mask = TokenMask(name="hard", above=2.5)
    assert mask.marked(np.array([0.1, 0.5, 1.2, 0.9, 3.0])).tolist() == [False, False, True, False, True]
    assert not mask.marked(np.array([np.log(2.5) - 1e-12])).any()


def test_either_bound_marks() -> None:
    mask = TokenMask(name="odd", value="nll", above=3.0, below=0.5)
    assert mask.marked(np.array([0.4, 0.5, 3.0, 3.1], np.float32)).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("content", "tokens", "encoding", "message"),
    [
        (b"\x00", 9, "bitmap", "must have 2 bytes for 9 tokens, got 1"),
        (b"\x03", 4, "runs", "must have runs of 4 tokens, got 3"),
        (b"\x83", 4, "runs", "cut short"),
        (b"\x04", 4, "run", "encoding must be bitmap or runs, got 'run'"),
    ],
)
def test_other_bytes_are_refused(content: bytes, tokens: int, encoding: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_mask(content, tokens, encoding)


ARPA = """\\data\\
ngram 1=5

\\1-grams:
-2.0\t<unk>
-0.1\ta
-1.0\tb
-99\t<s>
-0.5\t</s>

\\end\\
"""


def test_an_ngram_model_marks_its_words(tmp_path: Path) -> None:
    """The words and the end of the line, by nats; a text without words has an empty mask, a null one none."""
    (tmp_path / "model.arpa").write_text(ARPA)
    settings = {"name": "n", "path": str(tmp_path / "model.arpa"), "per_document": ["nll_mean"]}
    masks = [{"name": "rare", "value": "nll", "above": 2.0}, {"name": "runs", "above": 5.0, "encoding": "runs"}]
    scorer = NgramModelSettings.model_validate({**settings, "token_masks": masks}).scorer()
    scorer.load(scorer.digest())
    scored = scorer.score(pa.RecordBatch.from_pydict({"text": pa.array(["a b zebra", "", None], pa.large_string())}))
    rows = scored.to_pylist()
    expected = [False, True, True, False]  # -ln P: .23, 2.3, 4.6, 1.15
    assert decode_mask(rows[0]["rare_mask"], rows[0]["scored_token_count"]).tolist() == expected
    assert decode_mask(rows[0]["runs_mask"], 4, "runs").tolist() == expected
    assert rows[0]["rare_masked"] == rows[0]["runs_masked"] == 2
    assert (rows[1]["rare_mask"], rows[1]["rare_masked"]) == (b"", 0)
    assert (rows[2]["rare_mask"], rows[2]["rare_masked"]) == (None, None)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([{"name": "m"}], "above or below must be set"),
        ([{"name": "m", "value": "el2n", "above": 1.0}], "must be nll or perplexity, all that this model gives"),
        ([{"name": "m", "above": 1.0}, {"name": "m", "below": 1.0}], "names must differ"),
    ],
)
def test_mistakes_are_named(masks: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NgramModelSettings.model_validate({"name": "n", "path": "model.arpa", "token_masks": masks})
