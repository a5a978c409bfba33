"""Tokenizer back ends: the ids of the model's own tokenizer, whatever gives them."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel

from siftlm.errors import UserError
from siftlm.scorers import lm_tokens
from siftlm.scorers.lm_files import find_model
from siftlm.scorers.lm_tokens import encode_long, made_tokenizer


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """Nothing is said yet: what is said once a process is said in every test."""
    lm_tokens._say_once.cache_clear()


@pytest.fixture
def load(language_models: dict[str, Path]) -> Callable[..., lm_tokens.TextTokenizer]:
    """Loads the tokenizer anew, with `bos_mode` and `backend`."""

    def loaded(bos_mode: Any = "auto", backend: Any = "tokenizers") -> lm_tokens.TextTokenizer:
        files = find_model("score.tiny.model", str(language_models["gpt2"]), None, None, False)
        return made_tokenizer("score.tiny.model", files, bos_mode, False, backend, False)

    return loaded


Change = Callable[[list[str], list[list[int]]], list[list[int]]]


class Imitation:
    """gigatoken's interface around `tokenizers`, with ids changed at will."""

    def __init__(self, change: Change, own: Any = None) -> None:
        self.change, self.own = change, own

    def from_json(self, described: str) -> Imitation:
        return Imitation(self.change, Tokenizer.from_str(described))

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        encoded = self.own.encode_batch(texts, add_special_tokens=False)
        return self.change(texts, [encoding.ids for encoding in encoded])


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Puts an imitation in the place of gigatoken and of the arrays that it answers with."""

    def put(change: Change) -> None:
        arrays = SimpleNamespace(
            flatten=lambda ids: [i for one in ids for i in one], num=lambda ids: list(map(len, ids))
        )
        arrays.to_numpy = lambda values: np.array(values, np.int64)
        monkeypatch.setitem(sys.modules, "awkward", arrays)
        module = SimpleNamespace(Tokenizer=Imitation(change), __spec__=SimpleNamespace())
        monkeypatch.setitem(sys.modules, "gigatoken", module)

    return put


class PanicException(BaseException):
    """What a panic in Rust is in Python."""


def test_a_faster_back_end_with_the_same_ids_is_used(load: Any, install: Any) -> None:
    """It is asked for the sample texts once, when the model loads."""
    install(lambda _, ids: ids)
    fast = load(backend="auto")
    assert fast.backend == "gigatoken"
    np.testing.assert_array_equal(fast.encode(["rain"]).ids, load().encode(["rain"]).ids)


@pytest.mark.parametrize("change", [lambda _, ids: [list(reversed(one)) for one in ids], lambda _, ids: ids[:-1]])
def test_a_back_end_with_other_ids_is_not_used(
    load: Any, install: Any, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    """One warning however often the tokenizer is loaded, and the model's own tokenizer."""
    install(change)
    for backend in ("gigatoken", "auto", "auto"):
        assert load(backend=backend).backend == "tokenizers"
    (told,) = caplog.messages
    assert told.startswith("score.tiny.model: ")
    assert told.endswith("gigatoken, which is faster: it gives other ids for sample texts")


@pytest.mark.parametrize("error", [ValueError("vocabulary"), PanicException("vocabulary")])
def test_a_back_end_that_refuses_the_vocabulary_is_not_used(
    load: Any, install: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """Whatever it raises while it is tried out, which the warning says."""

    def refuse(_: list[str], ids: list[list[int]]) -> list[list[int]]:
        raise error

    install(refuse)
    assert load(backend="gigatoken").backend == "tokenizers"
    assert [message.count("it does not take this tokenizer (vocabulary)") for message in caplog.messages] == [1]


def test_a_back_end_that_is_not_there_is_told_unless_another_is_chosen(
    load: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the package index has no build of it for the machine."""
    monkeypatch.setattr(lm_tokens, "find_spec", lambda name: None)
    assert load(backend="tokenizers").backend == "tokenizers"
    assert caplog.messages == []
    assert load(backend="auto").backend == "tokenizers"
    assert [message.count("it is not installed") for message in caplog.messages] == [1]


@pytest.mark.parametrize(("python", "literal"), [(True, False), (False, True)])
def test_what_a_back_end_cannot_do_is_told(
    install: Any, load: Any, caplog: pytest.LogCaptureFixture, python: bool, literal: bool
) -> None:
    """A tokenizer of Python code, and special tokens that are read as text."""
    install(lambda _, ids: ids)
    own = load()
    fast = None if python else own.fast
    name, _ = lm_tokens._chosen_encoder("score.tiny.model", SimpleNamespace(encode=None), fast, "auto", literal)
    assert name == ("python" if python else "tokenizers")
    assert len(caplog.messages) == 1


def test_a_back_end_that_fails_on_a_text_is_not_the_end(
    load: Any, install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The model's own tokenizer encodes it, and the log says so once."""

    def panic(texts: list[str], ids: list[list[int]]) -> list[list[int]]:
        if "storm" in texts:
            raise PanicException("index out of bounds")
        return ids

    install(panic)
    fast = load(backend="gigatoken")
    for _ in range(2):
        np.testing.assert_array_equal(fast.encode(["rain", "storm"]).ids, load().encode(["rain", "storm"]).ids)
    assert [message.count("index out of bounds") for message in caplog.messages] == [1]
    assert fast.backend == "gigatoken"


def test_texts_in_which_a_back_end_differs_are_encoded_by_the_models_own(install: Any, load: Any) -> None:
    """Bytes that the vocabulary has no token for, and texts that its normalizer changes."""
    described = json.loads(load().fast.to_str())
    for character in ByteLevel(add_prefix_space=False).pre_tokenize_str("\x04é")[0][0]:
        described["model"]["vocab"].pop(character, None)
    described["model"]["merges"] = []
    described["normalizer"] = {"type": "NFC"}
    fast = Tokenizer.from_str(json.dumps(described))
    own = partial(lm_tokens._encode_fast, fast)
    install(lambda _, ids: ids)
    encode = lm_tokens._gigatoken(fast, own)
    texts = ["rain", "ra\x04in", "", "e\u0301", "\u0958", "sea"]
    for ours, theirs in zip(encode(texts).texts(), own(texts).texts(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(own(["ra\x04in"]).ids) == len(own(["rain"]).ids)


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
    monkeypatch.setattr(lm_tokens, "read_tokenizer", lambda *_: bare)
    with pytest.raises(UserError, match=r"score\.tiny\.model: must have a BOS or EOS token"):
        lm_tokens._prefix("score.tiny.model", bare, "auto")


def test_what_is_surely_nfc_is_so_whatever_stands_beside_it() -> None:
    """No character of these ranges changes, reorders or composes, by Python's tables and by the tokenizer's."""
    sure = [
        c for c in map(chr, range(0x110000)) if not (lm_tokens._NOT_SURELY_NFC.match(c) or "\ud800" <= c < "\ue000")
    ]
    assert len(sure) > 40_000
    assert not any(map(unicodedata.combining, sure))
    composed = {unicodedata.decomposition(c) for c in map(chr, range(0x110000))}
    parts = {chr(int(pair.split()[1], 16)) for pair in composed if "<" not in pair and " " in pair}
    assert not parts & set(sure)
    for text in ("".join(sure), "".join(reversed(sure)), "".join(c + d for c, d in pairwise(sure))):
        assert unicodedata.is_normalized("NFC", text)
        assert NFC().normalize_str(text) == text


def test_gigatoken_gives_the_same_ids(load: Any) -> None:
    """With the package itself, on any text."""
    pytest.importorskip("gigatoken")
    faster, own = load(backend="gigatoken"), load()
    assert faster.backend == "gigatoken"
    letters = st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \t\n\x0b'sta1\u0301é😀"))

    @settings(max_examples=300)
    @given(texts=st.lists(st.text(letters), max_size=8))
    @example(texts=[*lm_tokens.SAMPLE_TEXTS, "The committee met on Tuesday.\n" * 50, "<|endoftext|>"])
    def compare(texts: list[str]) -> None:
        for ours, theirs in zip(faster.encode(texts).texts(), own.encode(texts).texts(), strict=True):
            np.testing.assert_array_equal(ours, theirs)

    compare()


@pytest.mark.parametrize("tokens", [1, 7, 400])
def test_where_a_token_ends_is_found_in_the_beginning_of_a_text(load: Any, tokens: int) -> None:
    """As in the encoding of the whole, which a text of 100 MB has no memory for."""
    tokenizer = load()
    text = "The sea \U0001f30a said nöthing for a while; def add(a, b):\n" * 300
    ids = tokenizer.encode([text]).ids[:tokens]
    whole = tokenizer.fast.encode(text, add_special_tokens=False)
    assert tokenizer.byte_end(text, ids) == len(text[: whole.offsets[tokens - 1][1]].encode())
    assert tokenizer.byte_end(text[:20], tokenizer.encode([text[:20]]).ids) == len(text[:20].encode())
