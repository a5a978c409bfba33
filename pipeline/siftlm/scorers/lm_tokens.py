"""Encodes texts to token ids, by a faster tokenizer where it gives the same ids.

A prefix token goes before each text.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

from siftlm.errors import UserError, reason_of
from siftlm.scorers.lm_files import ModelFiles
from siftlm_kernels.ragged import within

log = logging.getLogger(__name__)

BosMode = Literal["auto", "bos", "eos", "none"]
Backend = Literal["auto", "tokenizers", "gigatoken"]


class TokenIds(NamedTuple):
    """Holds the token ids of N texts one after the other, int32 `[T]`, and their offsets, int64 `[N + 1]`."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, ids: NDArray[Any], lengths: NDArray[Any] | Sequence[int]) -> TokenIds:
        return cls(ids.astype(np.int32, copy=False), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def cut(self, tokens: int) -> TokenIds:
        """Returns at most the first `tokens` ids of every text."""
        lengths = np.diff(self.offsets)
        return TokenIds.of(self.ids[within(lengths) < tokens], np.minimum(lengths, tokens))

    def with_prefix(self, token: int) -> TokenIds:
        """Returns the ids with `token` inserted before each text."""
        ids = np.insert(self.ids, self.offsets[:-1], np.int32(token))
        return TokenIds(ids, self.offsets + np.arange(len(self.offsets)))

    def text(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def texts(self) -> list[NDArray[np.int32]]:
        return np.split(self.ids, self.offsets[1:-1]) if len(self.offsets) > 1 else []


Encode = Callable[[Sequence[str]], TokenIds]

DOCUMENT_SEPARATOR = "<|endoftext|>"  # between documents in the training of GPT-2, Pythia, OPT's successors, SmolLM2
PIECE_CHARACTERS = 1 << 20  # a longer text is encoded in pieces: its encoding takes ~100 bytes a character
_NOT_SURELY_NFC = re.compile(
    "[^\u0000-\u02ff\u0391-\u03a1\u03a3-\u03ff\u0400-\u0482\u2002-\u20cf\u3001-\u3029\u3030-\u3098\u309b-\u9fff\uac00-\ud7a3]"
)
"""Beyond Latin, Greek, Cyrillic, Kana, Han and Hangul that no version of Unicode composes or takes apart."""

SAMPLE_TEXTS = (
    "The quick brown fox jumps over the lazy dog, 42 times.\n\nThen it's gone; isn't it?\t  Yes!",
    "Größe naïve façade — “quotes” … Ελληνικά русский язык 中文字符 日本語テスト 한국어 العربية हिन्दी",
    "def f(x):\n    return {'a': x**2, \"b\": [1, 2.5e-3]}  # comment\r\n\n\n",
    "\u0000\u0001\ufffd\u200b\u00a0e\u0301 👩‍👩‍👧‍👦🏳️‍🌈 \U0001f9ea", "   leading and trailing   ", "a", " ", "\n", "",
    "https://example.org/a?b=c&d=%20e#f user@example.com $1,234.56 1234567890123456789 ALLCAPS camelCase snake_case",
    "a\t's b\n't 'll \x0b'd \x0c'm \u00a0're\u2028've", "\n\x0b \n\x0c\r\n\x0b  \x0c\t\t\x85 \x1c\x1f\u3000\x7f",
    "Ⅹa1Ⅹ ⓐb½c² ₂d ᛮ ٣x〇 \u0345y", "\ufdd0\U000a1411x\ue000 \U0001fbff \U000e0041\u0378",
    " " * 3000 + "x" + "\t" * 300, "a\u0301" * 3000, "x" * 3000,
    "".join(map(chr, range(256))),
)  # fmt: skip
"""What a faster back end must encode as the model's tokenizer does before it is used."""


@dataclass(frozen=True)
class TextTokenizer:
    """Holds a model's tokenizer: `encode` gives ids without a prefix, `prefix` is the token put before a text."""

    encode: Encode
    prefix: int | None
    size: int  # ids are below this
    class_name: str
    backend: str
    fast: Any  # tokenizers.Tokenizer, or None for a Python tokenizer

    def byte_end(self, text: str, ids: NDArray[np.int32]) -> int:
        """Returns how many UTF-8 bytes of the text its first tokens, `ids`, cover.

        Only as much of the text is encoded as gives these ids and more: offsets take 100 bytes a character.
        """
        read = max(1024, 8 * len(ids))
        while True:
            encoding = self.fast.encode(text[:read], add_special_tokens=False)
            if read >= len(text) or (len(encoding) > 2 * len(ids) and encoding.ids[: len(ids)] == ids.tolist()):
                return len(text[: encoding.offsets[len(ids) - 1][1]].encode())
            read *= 2


def load_tokenizer(
    place: str, files: ModelFiles, bos_mode: BosMode, literal_specials: bool, backend: Backend, trust: bool
) -> TextTokenizer:
    """Returns the tokenizer of a model folder; equal files and settings share one object.

    Raises:
        UserError: at `place`, where there is no usable tokenizer or it lacks the token that `bos_mode` asks for.
    """
    return _loaded(files.tokenizer_digest(), place, files, bos_mode, literal_specials, backend, trust)


@lru_cache(maxsize=8)
def _loaded(_digest: str, *arguments: Any) -> TextTokenizer:
    return made_tokenizer(*arguments)


def made_tokenizer(
    place: str, files: ModelFiles, bos_mode: BosMode, literal_specials: bool, backend: Backend, trust: bool
) -> TextTokenizer:
    """Returns what `load_tokenizer` does, an object of its own."""
    tokenizer = read_tokenizer(place, files, trust)
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:  # only now: a call of the tokenizer puts its own settings back
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = literal_specials
    name, encode = _chosen_encoder(place, tokenizer, fast, backend, literal_specials)
    return TextTokenizer(
        encode, _prefix(place, tokenizer, bos_mode), len(tokenizer), type(tokenizer).__name__, name, fast
    )


def read_tokenizer(place: str, files: ModelFiles, trust: bool) -> Any:
    """Returns the tokenizer of a model folder as transformers loads it.

    Raises:
        UserError: at `place`, where there is none, or one without a vocabulary.
    """
    from transformers import AutoTokenizer

    told: list[str] = []
    try:
        with _warnings_to(told):
            tokenizer: Any = AutoTokenizer.from_pretrained(
                str(files.folder), gguf_file=files.gguf_file, trust_remote_code=trust, local_files_only=True
            )
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError, IndexError) as error:
        reason = told[0] if told else reason_of(error)  # what it warned of first led to the error
        raise UserError(f"{place}: must hold a tokenizer, got {str(files.folder)!r}; {reason}") from error
    for warning in told:
        log.warning("%s: %s", place, warning)
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:  # what transformers makes of a folder without files
        raise UserError(f"{place}: must hold a tokenizer, got {str(files.folder)!r}; it has no vocabulary")
    return tokenizer


@contextmanager
def _warnings_to(told: list[str]) -> Iterator[None]:
    """Takes the warnings of transformers down, which it would print itself."""
    logger = logging.getLogger("transformers")
    usual, logger.handlers = logger.handlers, [_Taken(told)]
    try:
        yield
    finally:
        logger.handlers = usual


class _Taken(logging.Handler):
    """Appends each message to a list."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.told = told

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


def _prefix(place: str, tokenizer: Any, bos_mode: BosMode) -> int | None:
    """The id put before every text.

    `auto` takes the separator that stood between documents in training where the vocabulary has it (an instruct
    model's own BOS opens a chat turn instead), else the BOS, else the EOS.
    """
    separator = tokenizer.get_added_vocab().get(DOCUMENT_SEPARATOR)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    by_mode = {"bos": [bos], "eos": [eos], "auto": [separator, bos, eos]}
    if bos_mode == "none":
        return None
    tokens = [token for token in by_mode[bos_mode] if token is not None]
    if not tokens:
        raise UserError(
            f"{place}: must have a BOS or EOS token for bos_mode = {bos_mode!r}, got a tokenizer without; "
            'bos_mode = "none" leaves the first token unscored'
        )
    return int(tokens[0])


def fastest_encoder(place: str, fast: Any) -> Encode:
    """Returns what encodes as a `tokenizers.Tokenizer` does: gigatoken where it gives the same ids, or that itself."""
    return _chosen_encoder(place, None, fast, "auto", False)[1]


def _chosen_encoder(place: str, tokenizer: Any, fast: Any, backend: Backend, literal: bool) -> tuple[str, Encode]:
    """gigatoken where it gives the ids of the model's own tokenizer; else that, and one line that says why."""
    own = partial(_encode_python, tokenizer, literal) if fast is None else partial(_encode_fast, fast)
    own = partial(_encode_own, place, own)
    name = "python" if fast is None else "tokenizers"
    if backend == "tokenizers":
        return name, own
    try:
        return "gigatoken", _faster_encoder(place, fast, literal, own)
    except _RefusedError as refusal:
        _say_once(f"{place}: the model's own tokenizer encodes, not gigatoken, which is faster: {refusal}")
        return name, own


def _encode_own(place: str, own: Encode, texts: Sequence[str]) -> TokenIds:
    """The ids by a model's own tokenizer; raises UserError where it takes a text with an error."""
    try:
        return own(texts)
    except Exception as error:  # the libraries raise nothing narrower
        raise UserError(f"{place}: must hold a tokenizer that encodes every text, got {reason_of(error)}") from error


def _encode_fast(fast: Any, texts: Sequence[str]) -> TokenIds:
    short = [text for text in texts if len(text) <= PIECE_CHARACTERS]
    encodings = iter(fast.encode_batch_fast(short, add_special_tokens=False) if short else ())
    return _joined(
        np.array(next(encodings).ids, np.int32) if len(text) <= PIECE_CHARACTERS else encode_long(fast, text)
        for text in texts
    )


def _encode_python(tokenizer: Any, literal: bool, texts: Sequence[str]) -> TokenIds:
    encode = partial(tokenizer.encode, add_special_tokens=False, split_special_tokens=literal, verbose=False)
    return _joined(np.array(encode(text), np.int32) for text in texts)


def _joined(arrays: Iterable[NDArray[np.int32]]) -> TokenIds:
    each = list(arrays)
    return TokenIds.of(np.concatenate([np.zeros(0, np.int32), *each]), [len(ids) for ids in each])


def encode_long(fast: Any, text: str) -> np.ndarray:
    """Returns the ids of a long text, encoded in pieces to limit memory.

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
        if text[at - 1 : at].isspace() != text[at : at + 1].isspace():
            before, after = text[at - 2048 : at], text[at : at + 2048]
            if np.array_equal(_ids(fast, before + after), np.concatenate([_ids(fast, before), _ids(fast, after)])):
                return at
    return None


def _ids(fast: Any, text: str) -> np.ndarray:
    return np.array(fast.encode_batch_fast([text], add_special_tokens=False)[0].ids, np.int32)


class _RefusedError(Exception):
    """Says why gigatoken does not encode the texts of a model."""


@lru_cache(maxsize=1024)
def _say_once(message: str) -> None:
    """Logs a warning, the first time that this process has it."""
    log.warning("%s", message)


def _faster_encoder(place: str, fast: Any, literal: bool, own: Encode) -> Encode:
    """gigatoken's encoder for the same tokenizer, behind which `own` stands.

    Raises:
        _RefusedError: it is absent, does not take this tokenizer, or gives other ids for the sample texts.
    """
    if find_spec("gigatoken") is None:
        raise _RefusedError("it is not installed")
    if fast is None:
        raise _RefusedError("this tokenizer is one of Python code")
    if literal:
        raise _RefusedError('it has no special_tokens_in_text = "as_text"')
    try:
        encode = _gigatoken(fast, own)
        theirs, ours = encode(SAMPLE_TEXTS), own(SAMPLE_TEXTS)
    except Exception as error:  # whatever it raises, the model's own tokenizer is there
        raise _RefusedError(f"it does not take this tokenizer ({reason_of(error)})") from error
    if not (np.array_equal(theirs.offsets, ours.offsets) and np.array_equal(theirs.ids, ours.ids)):
        raise _RefusedError("it gives other ids for sample texts")
    return partial(_encode_or_own, place, encode, own)


def _encode_or_own(place: str, encode: Encode, own: Encode, texts: Sequence[str]) -> TokenIds:
    try:
        return encode(texts)
    except Exception as error:  # noqa: BLE001
        _say_once(f"{place}: gigatoken fails on a text ({reason_of(error)}); the model's own tokenizer encodes such")
        return own(texts)


def _gigatoken(fast: Any, own: Encode) -> Encode:
    """gigatoken's encoder; `own` encodes the texts in which the two differ.

    Where tokens are of bytes it wants one for every byte, so a missing one gets an id beyond the others. Its NFC is of
    another version of Unicode, so it is given none, and only texts that are in NFC by the tokenizer's own.
    """
    awkward = import_module("awkward")  # what it answers with
    described = json.loads(fast.to_str())
    vocabulary: dict[str, int] = described["model"]["vocab"]
    size = 1 + max(*vocabulary.values(), *(token["id"] for token in described["added_tokens"]), -1)
    by_bytes = "ByteLevel" in str(described["pre_tokenizer"])
    missing = sorted(set(ByteLevel.alphabet()) - vocabulary.keys()) if by_bytes else []
    vocabulary.update((character, size + number) for number, character in enumerate(missing))
    normal = fast.normalizer if described["normalizer"] == {"type": "NFC"} else None
    if normal is not None:
        described["normalizer"] = None
    tokenizer = import_module("gigatoken").Tokenizer.from_json(json.dumps(described))

    def encode(texts: Sequence[str]) -> TokenIds:
        odd = {n for n, text in enumerate(texts) if normal is not None and not is_normal(normal, text)}
        with panics_as_errors():
            ids = tokenizer.encode_batch(["" if n in odd else text for n, text in enumerate(texts)])
        encoded = TokenIds.of(awkward.to_numpy(awkward.flatten(ids)), awkward.to_numpy(awkward.num(ids)))
        beyond = np.searchsorted(encoded.offsets, np.flatnonzero(encoded.ids >= size), side="right") - 1
        odd.update(beyond.tolist())
        if not odd:
            return encoded
        each, chosen = encoded.texts(), sorted(odd)
        for index, right in zip(chosen, own([texts[index] for index in chosen]).texts(), strict=True):
            each[index] = right
        return _joined(each)

    return encode


def is_normal(nfc: Any, text: str) -> bool:
    """Tells whether a tokenizer's NFC normaliser leaves a text unchanged; false for a long text, which is not tried."""
    if text.isascii() or not _NOT_SURELY_NFC.search(text):
        return True
    return len(text) <= PIECE_CHARACTERS and nfc.normalize_str(text) == text


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raises a RuntimeError in place of a Rust panic, which is not an Exception in Python."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise RuntimeError(str(error)) from error
        raise
