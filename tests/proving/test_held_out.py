"""Held-out documents that stand in what models read are found, whole, cut or in pieces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.proving.held_out import Measuring, SeenNgrams, joined
from siftlm.proving.items import read_items
from siftlm.proving.settings import ItemSettings

WORDS = [f"word{n}" for n in range(500)]


def text(seed: int, words: int = 100) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, words))


def measuring(texts: list[str]) -> Measuring:
    return Measuring.of_documents(("a",), [0] * len(texts), [str(n) for n in range(len(texts))], texts)


def test_shares_are_those_of_the_ngrams() -> None:
    """Against sets of tuples of words."""
    held = [text(n) for n in range(4)]
    half = " ".join(held[1].split()[:50])
    training = [text(90), f"before {held[0]} after", half, " ".join(held[2].split()[20:30])]
    seen = SeenNgrams(measuring(held))
    for one in training:
        seen.note([one])

    def grams(of: str) -> list[tuple[str, ...]]:
        words = of.split()
        return [tuple(words[n : n + 13]) for n in range(len(words) - 12)]

    known = {gram for one in training for gram in grams(one)}
    wanted = [np.mean([gram in known for gram in grams(one)]) for one in held]
    assert seen.shares() == pytest.approx(wanted)
    assert wanted[0] == 1.0
    assert 0.4 < wanted[1] < 0.5
    assert wanted[2:] == [0.0, 0.0]


def test_a_domain_that_is_left_with_one_document_is_named() -> None:
    with pytest.raises(UserError, match=r"prove\.domains\.a: must have 2 held-out documents .* got 1"):
        measuring([text(1), text(2)]).only(np.array([True, False]))


def test_items_are_the_right_answers_after_their_contexts(tmp_path: Path) -> None:
    """Bits and accuracy by hand, of texts whose nats are made up."""
    path = tmp_path / "items.jsonl"
    items = [
        {"context": "two and two", "choices": ["five", "four"], "answer": 1},
        {"context": "sky", "choices": ["blue", "square", "of"], "answer": 0},
    ]
    path.write_text("\n".join(json.dumps(item) for item in items))
    made = joined([measuring(["a text", "another"]), read_items(ItemSettings(name="quiz", path=str(path)), 0)])
    assert made.texts[2:] == [
        "two and two", "two and two four", "two and two five", "sky", "sky blue", "sky square", "sky of",
    ]  # fmt: skip
    nats = np.array([7.0, 9.0, 10.0, 12.0, 14.0, 3.0, 9.0, 8.0, 3.5])
    assert made.bits(nats) * np.log(2) == pytest.approx([7.0, 9.0, 2.0, 6.0])
    assert made.sizes.tolist() == [6, 7, 5, 5]
    assert made.accuracies(nats) == {"quiz": 0.5}
    assert made.only(np.array([True, True, True, True])).names == made.names


@pytest.mark.parametrize(
    "item",
    [{"context": "a", "choices": ["b"], "answer": 1}, {"context": "a", "choices": "b", "answer": 0}, ["a"],
     {"choices": ["b"], "answer": 0}],
)  # fmt: skip
def test_an_item_without_its_parts_is_named(tmp_path: Path, item: object) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"context": "a", "choices": ["b"], "answer": 0}) + "\n" + json.dumps(item))
    with pytest.raises(UserError, match=r"prove\.items\.quiz: must have a text 'context'.* item 1 of"):
        read_items(ItemSettings(name="quiz", path=str(path)), 0)
