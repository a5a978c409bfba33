"""Token files: what goes in comes out, group by group, from a disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.proxies.training.toys import mixed, texts, token_file, tokenizer
from tokenizers import Tokenizer, models

from siftlm.errors import UserError
from siftlm.proxies.training import DocumentTokenizer, TextOfGroup, open_tokenizer, tokens, write_tokens
from siftlm.proxies.training.texts import TextFile
from siftlm.store import Store


def test_documents_lie_by_group_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever waits in memory at a time; decoding gives every text back, and sizes are those of UTF-8."""
    documents = [*mixed(20), TextOfGroup("a last one", "größer 😀"), TextOfGroup("money", "")]
    whole = token_file(tmp_path, "whole", documents)
    monkeypatch.setattr(tokens, "WAITING", 50)
    monkeypatch.setattr(tokens, "ENCODED_AT_ONCE", 300)
    pieces = token_file(tmp_path, "pieces", iter(documents))
    assert whole.digest == pieces.digest
    assert whole.groups == ("a last one", "animals", "money")
    expected = sorted((text for text in documents if text.text), key=lambda text: text.group)
    ids = np.split(np.asarray(whole.tokens), whole.starts[1:-1])
    assert [part[0] for part in ids] == [tokenizer().separator_id] * len(expected)
    assert [tokenizer().tokenizer.decode(part[1:].tolist()) for part in ids] == [text.text for text in expected]
    assert whole.byte_counts.tolist() == [len(text.text.encode()) for text in expected]
    assert whole.token_counts.tolist() == [len(part) - 1 for part in ids]
    assert isinstance(whole.tokens, np.memmap)
    assert whole.tokens.dtype == np.uint16


def test_windows_cover_a_group_and_no_other(tmp_path: Path) -> None:
    """Side by side with one token in common, up to less than a window at the end."""
    file = token_file(tmp_path, "all", mixed(20))
    windows = file.windows(16)
    for group, (start, end) in enumerate(zip(file.group_starts, file.group_starts[1:], strict=False)):
        numbers = np.arange(windows.counts[group])
        taken = windows.take(np.full(len(numbers), group), numbers)
        stream = np.asarray(file.tokens[start:end], np.int64)
        assert taken[:, :-1].flatten().tolist() == stream[: len(numbers) * 16].tolist()
        assert taken[:, -1].tolist() == stream[16 : len(numbers) * 16 + 1 : 16].tolist()
        assert 0 < len(stream) - len(numbers) * 16 <= 16


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    """From 65,537 tokens on."""
    vocabulary = {"<|endoftext|>": 0, "[UNK]": 1, **{f"w{n}": n for n in range(2, 70_000)}}
    large = DocumentTokenizer(Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]")))
    file = tokens.write_token_file(tmp_path, "all", [TextOfGroup("a", "w69999")], large)
    assert file.tokens.tolist() == [0, 69_999]
    assert file.tokens.dtype == np.uint32


def test_half_a_surrogate_pair_is_a_question_mark(tmp_path: Path) -> None:
    """As in the counts of bytes."""
    file = token_file(tmp_path, "all", [TextOfGroup("a", "x\ud800y")])
    assert tokenizer().tokenizer.decode(file.tokens[1:].tolist()) == "x?y"
    assert file.byte_counts.tolist() == [3]


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    """In the store, where the marker knows it; else it counts as missing."""
    store = Store(str(tmp_path / "store"))
    made = write_tokens(store, "0" * 32, mixed(5), tokenizer())
    assert write_tokens(store, "0" * 32, iter(()), tokenizer()).digest == made.digest
    path = Path(store.path("tokens", "0" * 32, "/all-tokens.bin"))
    path.write_bytes(path.read_bytes()[:-2] + b"\xff\xff")
    assert tokens.open_token_file(path.parent, "all") is None
    assert write_tokens(store, "0" * 32, mixed(5), tokenizer()).digest == made.digest


def test_digests_tell_files_apart(tmp_path: Path) -> None:
    """By their texts, their groups and their order."""
    documents = texts("animals", 4)
    cases = [documents, documents[::-1], [TextOfGroup("b", text.text) for text in documents], documents[:3]]
    assert len({token_file(tmp_path, str(n), case).digest for n, case in enumerate(cases)}) == len(cases)


def test_no_texts_are_an_empty_file(tmp_path: Path) -> None:
    """Which has no group, and no window."""
    file = token_file(tmp_path, "all", [])
    assert (file.groups, len(file.tokens), len(file.windows(16).counts)) == ((), 0, 0)


def test_a_tokenizer_from_outside_is_opened(tmp_path: Path) -> None:
    """As a file and as a model's folder; its separator is what ends its texts."""
    tokenizer().save(tmp_path / "model", 16)
    for source in (tmp_path / "model", tmp_path / "model/tokenizer.json"):
        opened = open_tokenizer("tokenizer", str(source))
        assert (opened.separator, opened.vocabulary) == ("<|endoftext|>", tokenizer().vocabulary)
        assert opened.tokenizer.encode("a cat").ids == tokenizer().tokenizer.encode("a cat").ids
    (tmp_path / "bad.json").write_text("{")
    for source, told in (("bad.json", "tokenizer.json"), ("none", "folder or hub id"), ("model", "token '</doc>'")):
        with pytest.raises(UserError, match=f"^prove.tokenizer: must be .*{told}"):
            open_tokenizer("prove.tokenizer", str(tmp_path / source), "</doc>" if source == "model" else None)


def test_texts_in_a_file_are_read_in_any_order(tmp_path: Path) -> None:
    """Empty ones and those of many bytes a character too."""
    kept = TextFile(tmp_path / "texts", iter(["one", "", "größer 😀"]))
    assert list(kept.texts()) == ["one", "", "größer 😀"]
    assert list(kept.texts([2, 0, 2])) == ["größer 😀", "one", "größer 😀"]
