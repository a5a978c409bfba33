"""Trains or opens the tokenizer of small models, which one command may share among all of its models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from siftlm.errors import UserError, reason_of
from siftlm.store import digest

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = "<|endoftext|>"  # before every document, as in GPT-2's training


@dataclass(frozen=True)
class DocumentTokenizer:
    """Holds a tokenizer, and the token that it has for what lies between two documents."""

    tokenizer: Tokenizer
    separator: str = SEPARATOR

    @property
    def separator_id(self) -> int:
        number = self.tokenizer.token_to_id(self.separator)
        assert number is not None, f"{self.separator} is a token"
        return number

    @property
    def vocabulary(self) -> int:
        """Returns a number that all ids are below."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values())

    def identity(self) -> str:
        """Returns a digest of all that ids depend on, for keys."""
        return digest("tokenizer", self.tokenizer.to_str(), self.separator)

    def content(self) -> bytes:
        """Returns the tokenizer and its separator as bytes, for `of`."""
        return orjson.dumps([self.separator, self.tokenizer.to_str()])

    @classmethod
    def of(cls, content: bytes) -> DocumentTokenizer:
        """Returns what `content` was made of."""
        from tokenizers import Tokenizer

        separator, told = orjson.loads(content)
        return cls(Tokenizer.from_str(told), separator)

    def save(self, folder: Path, context: int) -> None:
        """Writes the tokenizer into a model's folder, in transformers' format."""
        import transformers

        fast_tokenizer: Any = transformers.PreTrainedTokenizerFast
        ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), self.separator)
        fast_tokenizer(tokenizer_object=self.tokenizer, model_max_length=context, **ends).save_pretrained(folder)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> DocumentTokenizer:
    """Returns a byte-level BPE tokenizer with the separator as its only special token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return DocumentTokenizer(tokenizer)


def open_tokenizer(place: str, source: str, separator: str | None = None) -> DocumentTokenizer:
    """Returns the tokenizer of a file `tokenizer.json`, of a model's folder or of a hub id.

    The separator is the token given, or else the tokenizer's end of a text, its beginning, or `<|endoftext|>`.

    Raises:
        UserError: at `place`, where there is no fast tokenizer, or it has no such token.
    """
    tokenizer, named = _from_file(place, source) if Path(source).is_file() else _from_model(place, source)
    for token in (separator,) if separator is not None else (*named, SEPARATOR):
        if token and tokenizer.token_to_id(token) is not None:
            return DocumentTokenizer(tokenizer, token)
    sought = repr(separator) if separator is not None else "that ends or begins a text"
    raise UserError(f"{place}: must be a tokenizer with a token {sought}, got {source!r} without one")


def _from_file(place: str, path: str) -> tuple[Tokenizer, tuple[str, ...]]:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(path), ()
    except Exception as error:
        raise UserError(f"{place}: must be a tokenizer.json, got {path!r}; {reason_of(error)}") from error


def _from_model(place: str, source: str) -> tuple[Tokenizer, tuple[str, ...]]:
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        why = reason_of(error)
        raise UserError(f"{place}: must be a tokenizer's file, folder or hub id, got {source!r}; {why}") from error
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None:
        raise UserError(f"{place}: must be a fast tokenizer, got {source!r}, which has none")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, (loaded.eos_token, loaded.bos_token)
