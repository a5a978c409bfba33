"""Tokenizer back ends: the ids of the model's own tokenizer, whatever gives them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.scorers import lm_tokens
from siftlm.scorers.lm_files import find_model
from siftlm.scorers.lm_tokens import encode_long, load_tokenizer


@pytest.fixture
def load(language_models: dict[str, Path]) -> Callable[..., lm_tokens.TextTokenizer]:
    """Loads the tokenizer anew, with `bos_mode` and `backend`."""

    def loaded(bos_mode: Any = "auto", backend: Any = "tokenizers") -> lm_tokens.TextTokenizer:
        files = find_model("score.tiny.model", str(language_models["gpt2"]), None, None, False)
        return load_tokenizer.__wrapped__("score.tiny.model", files, bos_mode, False, backend, False)

    return loaded


class Imitation:
    """tokie's interface around `tokenizers`, with ids changed at will."""

    def __init__(self, change: Callable[[list[list[int]]], list[list[int]]], own: Any = None) -> None:
        self.change, self.own = change, own

    def from_json(self, path: str) -> Imitation:
        from tokenizers import Tokenizer

        return Imitation(self.change, Tokenizer.from_file(path))

    def encode_batch_flat(self, texts: list[str], add_special_tokens: bool) -> tuple[np.ndarray, np.ndarray]:
        encoded = self.own.encode_batch(texts, add_special_tokens=add_special_tokens)
        ids = self.change([encoding.ids for encoding in encoded])
        return np.concatenate(ids).astype(np.uint32), np.array([len(one) for one in ids], np.uint64)


def install(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[list[int]]], list[list[int]]]) -> None:
    """Puts an imitation in the place of tokie."""
    module = SimpleNamespace(Tokenizer=Imitation(change), __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "tokie", module)


def test_a_faster_back_end_with_the_same_ids_is_used(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the sample texts once, when the model loads."""
    install(monkeypatch, lambda ids: ids)
    fast = load(backend="tokie")
    assert fast.backend == "tokie"
    np.testing.assert_array_equal(fast.encode(["rain"]).ids, load().encode(["rain"]).ids)


@pytest.mark.parametrize("change", [lambda ids: [list(reversed(one)) for one in ids], lambda ids: ids[:-1]])
def test_a_back_end_with_other_ids_is_not_used(
    load: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    """One line in the log, and the model's own tokenizer."""
    install(monkeypatch, change)
    with caplog.at_level("INFO", "siftlm"):
        assert load(backend="tokie").backend == "tokenizers"
    assert len(caplog.records) == 1


def test_a_back_end_that_refuses_the_vocabulary_is_not_used(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises while it is tried out."""

    def refuse(ids: list[list[int]]) -> list[list[int]]:
        raise ValueError("vocabulary")

    install(monkeypatch, refuse)
    assert load(backend="tokie").backend == "tokenizers"


def test_a_long_text_in_pieces_has_the_ids_of_the_whole(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut where the tokenizer does not look across; grown where it always does."""
    monkeypatch.setattr(lm_tokens, "PIECE_CHARACTERS", 5000)
    fast = load().fast
    for text in (
        "The committee met on Tuesday.\n\n  Rain, the sea\t" * 800,
        "x" * 20_000,
        " " * 20_000,
        "é\r\n" * 9000,
    ):
        whole = fast.encode(text, add_special_tokens=False).ids
        np.testing.assert_array_equal(encode_long(fast, text), whole)


def test_the_prefix_is_the_separator_of_the_models_training(load: Any) -> None:
    """And a mode that the tokenizer has no token for is refused."""
    assert load().prefix == 0
    assert load("none").prefix is None
    assert load("eos").prefix == 0


def test_a_mode_without_its_token_is_refused(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer without BOS, EOS or separator."""
    bare = SimpleNamespace(get_added_vocab=dict, bos_token_id=None, eos_token_id=None)
    monkeypatch.setattr(lm_tokens, "_from_folder", lambda *_: bare)
    with pytest.raises(UserError, match=r"score\.tiny\.model: must have a BOS or EOS token"):
        lm_tokens._prefix("score.tiny.model", bare, "auto")


@pytest.mark.parametrize("backend", ["tokie", "gigatoken"])
def test_an_installed_back_end_gives_the_same_ids_or_steps_aside(load: Any, backend: Any) -> None:
    """With the package itself: either way the ids are those of `tokenizers`."""
    pytest.importorskip(backend)
    texts = [*lm_tokens.SAMPLE_TEXTS, "The committee met on Tuesday.\n" * 50, "<|endoftext|>"]
    for ours, own in zip(load(backend=backend).encode(texts).texts(), load().encode(texts).texts(), strict=True):
        np.testing.assert_array_equal(ours, own)


@pytest.mark.parametrize("tokens", [1, 7, 400])
def test_where_a_token_ends_is_found_in_the_beginning_of_a_text(load: Any, tokens: int) -> None:
    """As in the encoding of the whole, which a text of 100 MB has no memory for."""
    tokenizer = load()
    text = "The sea \U0001f30a said nöthing for a while; def add(a, b):\n" * 300
    ids = tokenizer.encode([text]).ids[:tokens]
    whole = tokenizer.fast.encode(text, add_special_tokens=False)
    assert tokenizer.byte_end(text, ids) == len(text[: whole.offsets[tokens - 1][1]].encode())
    assert tokenizer.byte_end(text[:20], tokenizer.encode([text[:20]]).ids) == len(text[:20].encode())
