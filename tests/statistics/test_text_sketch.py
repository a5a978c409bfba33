"""Sketches of texts, against what a set of all of them says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm.errors import UserError
from siftlm.statistics.text_sketch import SIZE, TextSketch, hash_texts, smallest

TEXTS = st.lists(st.binary(max_size=3), max_size=30)


@given(st.lists(TEXTS, max_size=4), TEXTS)
def test_few_texts_are_told_without_error(parts: list[list[bytes]], others: list[bytes]) -> None:
    sketch = TextSketch()
    for part in parts:
        sketch.add(hash_texts(part))
    trained = {text for part in parts for text in part if text}
    filled = [text for text in others if text]
    assert sketch.look(hash_texts(others)) == (sum(text in trained for text in filled), len(filled))
    assert sketch.texts == sum(len([text for text in part if text]) for part in parts)


def test_of_many_texts_a_fair_share_is_told() -> None:
    """A fifth of others is among 100,000; the sketch finds it from 4,096 hashes, whatever the order of the parts."""
    hashes = hash_texts(b"%d" % number for number in range(100_000))
    sketch, backwards = TextSketch(), TextSketch()
    for part in np.array_split(hashes, 7):
        sketch.add(smallest(part), len(part))
    for part in np.array_split(hashes[::-1], 3):
        backwards.add(part)
    assert sketch.hashes.tolist() == backwards.hashes.tolist() == np.sort(hashes)[:SIZE].tolist()
    assert sketch.texts == 100_000
    among, told = sketch.look(hash_texts(b"%d" % number for number in range(80_000, 180_000)))
    assert 3500 < told < 4700
    assert among / told == pytest.approx(0.2, abs=0.03)


def test_a_file_of_a_sketch(tmp_path: Path) -> None:
    sketch = TextSketch()
    sketch.add(hash_texts([b"a", b"b"]))
    sketch.write(str(tmp_path / "m.seen"))
    read = TextSketch.read(str(tmp_path / "m.seen"))
    assert read is not None
    assert read.hashes.tolist() == sketch.hashes.tolist()
    assert TextSketch.read(str(tmp_path / "other.seen")) is None
    for content in (b"{", b"[]", b'{"hashes": ["x"], "texts": 1}', b'{"hashes": [-1], "texts": 1}'):
        (tmp_path / "m.seen").write_bytes(content)
        with pytest.raises(UserError, match="must be what siftlm wrote"):
            TextSketch.read(str(tmp_path / "m.seen"))
