"""Finds and opens a tokenizer without a model, for what counts tokens and scores nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siftlm.errors import UserError, reason_of
from siftlm.scorers.files import changed
from siftlm.scorers.lm_files import TOKENIZER_FILES, ModelFiles, digest_of, hub_snapshot

if TYPE_CHECKING:
    from siftlm.scorers.lm_tokens import Encode

MOST_TOKENS = 1 << 24  # numbers are kept for every id up to the highest; vocabularies have a million at most
CONFIGS = ("tokenizer_config.json", "config.json")  # one of them says what class a tokenizer has


@dataclass(frozen=True)
class TokenizerFiles:
    """Holds where a tokenizer is on this machine: a tokenizer.json, or the folder of a tokenizer."""

    place: str  # of its name in the configuration, for errors
    path: Path

    def digest(self) -> str:
        """Returns 32 hex digits over the names and contents of the files that decide tokens; loads nothing."""
        if self.path.is_file():
            return digest_of([self.path])
        patterns = ("config.json", *TOKENIZER_FILES)
        return digest_of(sorted({path for pattern in patterns for path in self.path.glob(pattern)}))


@dataclass(frozen=True)
class OpenTokenizer:
    """Holds what encodes texts without special tokens, and a number that all ids are below."""

    encode: Encode
    vocabulary: int


def find_tokenizer(place: str, source: str, revision: str | None = None) -> TokenizerFiles:
    """Returns where a tokenizer is that is named by a tokenizer.json, a folder or a hub id.

    Raises:
        UserError: at `place`, where there is no such file, folder or id.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return TokenizerFiles(place, path)
    return TokenizerFiles(place, path if path.is_dir() else _from_hub(place, source, revision))


def open_text_tokenizer(files: TokenizerFiles, digest: str | None = None) -> OpenTokenizer:
    """Returns the tokenizer of some files, which a process loads once.

    Args:
        files: Where they are.
        digest: That of the files that were meant, which may have changed since; None for any.

    Raises:
        UserError: there is no tokenizer, or one of Python code, or one of other files than were meant.
    """
    opened = _opened(files, digest or files.digest())
    if opened is None:
        raise changed(str(files.path))
    return opened


@lru_cache(maxsize=8)
def _opened(files: TokenizerFiles, digest: str) -> OpenTokenizer | None:
    """The tokenizer of files with this digest; None where they have another one."""
    made = _read(files)
    return made if files.digest() == digest else None


def _read(files: TokenizerFiles) -> OpenTokenizer:
    from siftlm.scorers.lm_tokens import SAMPLE_TEXTS, fastest_encoder, read_tokenizer

    place, path = files.place, files.path
    alone = path if path.is_file() else path / "tokenizer.json"
    if path.is_file() or (alone.is_file() and not any((path / name).is_file() for name in CONFIGS)):
        fast = _from_file(place, alone)
    else:
        tokenizer = read_tokenizer(place, ModelFiles(path, None, pickled=False, revision=None), False)
        fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise UserError(f"{place}: must be a fast tokenizer, got {str(path)!r}, which is one of Python code")
    fast.no_truncation()
    fast.no_padding()
    vocabulary = 1 + max(fast.get_vocab(with_added_tokens=True).values(), default=-1)
    if not 0 < vocabulary <= MOST_TOKENS:
        raise UserError(
            f"{place}: must be a tokenizer of 1 to {MOST_TOKENS:,} tokens, got {str(path)!r} with {vocabulary:,}"
        )
    encode = fastest_encoder(place, fast)
    encode(SAMPLE_TEXTS)  # so that what takes no text is told before a run
    return OpenTokenizer(encode, vocabulary)


def _from_file(place: str, path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{place}: must be a tokenizer.json, got {str(path)!r}; {reason_of(error)}") from error


@lru_cache(maxsize=8)
def _from_hub(place: str, source: str, revision: str | None) -> Path:
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or source.endswith(".json") or not source:
        raise UserError(f"{place}: must be a tokenizer.json, a folder or a hub id, got {source!r}, where nothing is")
    wanted = "a tokenizer.json, a folder or a hub id"
    return hub_snapshot(place, source, wanted, revision, ["config.json", *TOKENIZER_FILES])
