"""Text to token ids: the model's own tokenizer, faster ones where they give the same ids, and the prefix token."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from siftlm.errors import UserError
from siftlm.scorers.lm_files import ModelFiles

log = logging.getLogger(__name__)

BosMode = Literal["auto", "bos", "eos", "none"]
Backend = Literal["auto", "tokenizers", "tokie", "gigatoken"]
Encode = Callable[[Sequence[str]], list[np.ndarray]]

DOCUMENT_SEPARATOR = "<|endoftext|>"  # between documents in the training of GPT-2, Pythia, OPT's successors, SmolLM2
PIECE_CHARACTERS = 1 << 20  # a longer text is encoded in pieces: its encoding takes ~100 bytes a character
SAMPLE_TEXTS = (
    "The quick brown fox jumps over the lazy dog, 42 times.\n\nThen it's gone; isn't it?\t  Yes!",
    "Größe naïve façade — “quotes” … Ελληνικά русский язык 中文字符 日本語テスト 한국어 العربية हिन्दी",
    "def f(x):\n    return {'a': x**2, \"b\": [1, 2.5e-3]}  # comment\r\n\n\n",
    "\u0000\u0001\ufffd\u200b\u00a0e\u0301 👩‍👩‍👧‍👦🏳️‍🌈 \U0001f9ea", "   leading and trailing   ", "a", " ", "\n", "",
    "https://example.org/a?b=c&d=%20e#f user@example.com $1,234.56 1234567890123456789 ALLCAPS camelCase snake_case",
)  # fmt: skip
"""What a faster back end must encode as the model's tokenizer does before it is used."""


@dataclass(frozen=True)
class TextTokenizer:
    """A loaded tokenizer. `encode` gives int32 ids without any prefix; `prefix` is the token put before a text."""

    encode: Encode
    prefix: int | None
    size: int  # ids are below this
    class_name: str
    backend: str
    fast: Any  # tokenizers.Tokenizer, or None for a Python tokenizer

    def cut(self, text: str, ids: np.ndarray, tokens: int) -> tuple[np.ndarray, int]:
        """The first `tokens` ids and the UTF-8 bytes of the text that they cover."""
        end = self.fast.encode(text, add_special_tokens=False).offsets[tokens - 1][1]
        return ids[:tokens], len(text[:end].encode())


@lru_cache(maxsize=8)
def load_tokenizer(
    place: str, files: ModelFiles, bos_mode: BosMode, literal_specials: bool, backend: Backend, trust: bool
) -> TextTokenizer:
    """The tokenizer of a model folder; models that share a folder and these settings share the object.

    Raises:
        UserError: at `place`, where there is no usable tokenizer or it lacks the token that `bos_mode` asks for.
    """
    tokenizer = _from_folder(place, files, trust)
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:  # what transformers makes of a folder without files
        raise UserError(f"{place}: must hold a tokenizer, got {str(files.folder)!r}; it has no vocabulary")
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:  # only now: a call of the tokenizer puts its own settings back
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = literal_specials
    name, encode = _chosen_encoder(tokenizer, fast, backend, literal_specials)
    return TextTokenizer(
        encode, _prefix(place, tokenizer, bos_mode), len(tokenizer), type(tokenizer).__name__, name, fast
    )


def _from_folder(place: str, files: ModelFiles, trust: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(files.folder), gguf_file=files.gguf_file, trust_remote_code=trust, local_files_only=True
        )
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError, IndexError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{place}: must hold a tokenizer, got {str(files.folder)!r}; {reason}") from error


def _prefix(place: str, tokenizer: Any, bos_mode: BosMode) -> int | None:
    """The id put before every text.

    `auto` takes the separator that stood between documents in training where the vocabulary has it (an instruct
    model's own BOS opens a chat turn instead), else the BOS, else the EOS.
    """
    separator = tokenizer.get_added_vocab().get(DOCUMENT_SEPARATOR)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    by_mode = {"none": [None], "bos": [bos], "eos": [eos], "auto": [separator, bos, eos]}
    if bos_mode == "none":
        return None
    found = [token for token in by_mode[bos_mode] if token is not None]
    if not found:
        raise UserError(
            f"{place}: must have a BOS or EOS token for bos_mode = {bos_mode!r}, got a tokenizer without; "
            'bos_mode = "none" leaves the first token unscored'
        )
    return int(found[0])


def _chosen_encoder(tokenizer: Any, fast: Any, backend: Backend, literal: bool) -> tuple[str, Encode]:
    """The first back end that gives the ids of the model's own tokenizer, which comes last and always does."""
    if fast is None:
        return "python", _python_encoder(tokenizer, literal)
    own = _fast_encoder(fast)
    if not literal:  # the faster ones have no switch for special tokens in the text
        for name in _MAKERS if backend == "auto" else (backend,):
            encode = _other_encoder(name, fast)
            if encode and _agrees(name, encode, own):
                return name, encode
    return "tokenizers", own


def _fast_encoder(fast: Any) -> Encode:
    def encode(texts: Sequence[str]) -> list[np.ndarray]:
        short = [text for text in texts if len(text) <= PIECE_CHARACTERS]
        encodings = iter(fast.encode_batch_fast(short, add_special_tokens=False) if short else ())
        return [
            np.array(next(encodings).ids, np.int32) if len(text) <= PIECE_CHARACTERS else encode_long(fast, text)
            for text in texts
        ]

    return encode


def _python_encoder(tokenizer: Any, literal: bool) -> Encode:
    def encode(texts: Sequence[str]) -> list[np.ndarray]:
        encoded = (
            tokenizer.encode(text, add_special_tokens=False, split_special_tokens=literal, verbose=False)
            for text in texts
        )
        return [np.array(ids, np.int32) for ids in encoded]

    return encode


def encode_long(fast: Any, text: str) -> np.ndarray:
    """The ids of a long text, encoded piece by piece so that memory stays with the piece.

    A text is cut only where the tokenizer itself does not look across: the 4,096 characters around the cut give the
    same ids whole as in two halves. Where no such place is found the piece grows.
    """
    parts, start, tried = [], 0, PIECE_CHARACTERS
    while len(text) - start > tried:
        cut = _cut(fast, text, start + tried)
        if cut is None:
            tried *= 2
            continue
        parts.append(_ids(fast, text[start:cut]))
        start, tried = cut, PIECE_CHARACTERS
    parts.append(_ids(fast, text[start:]))
    return np.concatenate(parts)


def _cut(fast: Any, text: str, end: int) -> int | None:
    """A place to cut shortly before `end`, or None: a line break or space before a letter, if the ids agree."""
    for at in range(end, end - 2048, -1):
        if text[at - 1 : at].isspace() != text[at : at + 1].isspace() and _independent(fast, text, at):
            return at
    return None


def _independent(fast: Any, text: str, at: int) -> bool:
    before, after = text[at - 2048 : at], text[at : at + 2048]
    whole = _ids(fast, before + after)
    return np.array_equal(whole, np.concatenate([_ids(fast, before), _ids(fast, after)]))


def _ids(fast: Any, text: str) -> np.ndarray:
    return np.array(fast.encode_batch_fast([text], add_special_tokens=False)[0].ids, np.int32)


def _other_encoder(name: str, fast: Any) -> Encode | None:
    """A faster back end's encoder made from the same tokenizer.json, or None where it is absent or refuses it."""
    if name not in _MAKERS or find_spec(name) is None:
        return None
    try:
        return _MAKERS[name](fast.to_str())
    except _BACKEND_ERRORS as error:
        log.info("tokenizer back end %s does not take this tokenizer (%s)", name, error)
        return None


def _tokie(tokenizer_json: str) -> Encode:
    with tempfile.TemporaryDirectory() as folder:  # it reads files only
        path = Path(folder) / "tokenizer.json"
        path.write_text(tokenizer_json)
        tokenizer = import_module("tokie").Tokenizer.from_json(str(path))
    return lambda texts: [
        np.array(encoding.ids, np.int32) for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


def _gigatoken(tokenizer_json: str) -> Encode:
    tokenizer = import_module("gigatoken").Tokenizer.from_json(tokenizer_json)
    return lambda texts: [np.array(ids, np.int32) for ids in tokenizer.encode_batch_list(list(texts))]


_MAKERS: dict[str, Callable[[str], Encode]] = {"gigatoken": _gigatoken, "tokie": _tokie}  # fastest first
_BACKEND_ERRORS = (AttributeError, ImportError, OSError, RuntimeError, TypeError, ValueError)


def _agrees(name: str, encode: Encode, own: Encode) -> bool:
    try:
        pairs = zip(encode(SAMPLE_TEXTS), own(SAMPLE_TEXTS), strict=True)
        same = all(np.array_equal(theirs, ours) for theirs, ours in pairs)
    except _BACKEND_ERRORS as error:
        log.info("tokenizer back end %s failed on the sample texts (%s)", name, error)
        return False
    if not same:
        log.info("tokenizer back end %s gives other ids than the model's tokenizer; using `tokenizers`", name)
    return same
