"""Turns texts into lines of tokens for an n-gram model: normalised or not, words, bytes or SentencePiece pieces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from siftlm import filesystem
from siftlm.errors import UserError, reason_of

Normaliser = Literal["none", "lower", "ccnet"]
Unit = Literal["words", "bytes", "pieces"]

CCNET_PUNCTUATION = dict(
    zip("，。、„”“«»１」「《》´∶：？！（）；–～’━〈〉【】％►", ',.,""""""""""\'::?!();-~\'-<>[]%-', strict=True)
)
CCNET_PUNCTUATION |= {"—": " - ", "．": ". ", "…": "..."}
"""CCNet's table (cc_net/text_normalizer.py). Its full-width one never shows, for digits become 0 before."""
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "")
_CCNET = str.maketrans(CCNET_PUNCTUATION | {chr(code): "" for code in _CONTROLS})
_DIGIT = re.compile(r"\d")
_HEXADECIMAL = "".join(f"<0x{byte:02X}> " if byte != 10 else "\n      " for byte in range(256)).encode()
_BYTE_TOKENS = np.frombuffer(_HEXADECIMAL, np.uint8).reshape(256, 7)


def ccnet_normalised(text: str) -> str:
    """Returns a text as CCNet scores it (Wenzek et al. 2020, `text_normalizer.normalize` with its defaults).

    In this order: white space at both ends goes, lower case, accents go (canonical decomposition without its
    nonspacing marks), every digit becomes 0, the punctuation of a table becomes ASCII, control characters go, line
    feeds and tabs among them: so a document is one line.
    """
    text = text.strip().lower()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFD", text)
        text = "".join(sign for sign in decomposed if unicodedata.category(sign) != "Mn")
    return _DIGIT.sub("0", text).translate(_CCNET)


def normalised(text: str, how: Normaliser) -> str:
    """Returns a text as the models read it that were trained on such texts."""
    if how == "ccnet":
        return ccnet_normalised(text)
    return text.lower() if how == "lower" else text


class TokenLines:
    """Writes texts as lines of tokens with spaces between them.

    Raises UserError where the SentencePiece model cannot be read, or its package is not installed.
    """

    def __init__(self, normalise: Normaliser = "none", unit: Unit = "words", pieces: str | None = None) -> None:
        self.normalise, self.unit, self.pieces = normalise, unit, pieces

    @property
    def changes(self) -> bool:
        """Tells whether lines of tokens differ from their texts."""
        return self.normalise != "none" or self.unit != "words"

    def of(self, texts: Sequence[str]) -> list[bytes]:
        """Returns the lines of tokens of each text, in UTF-8."""
        if self.normalise != "none":
            texts = [normalised(text, self.normalise) for text in texts]
        if self.unit == "pieces":
            return [self._pieces_of(text) for text in texts]
        contents = [text.encode() for text in texts]
        return [byte_tokens(content) for content in contents] if self.unit == "bytes" else contents

    def _pieces_of(self, text: str) -> bytes:
        lines = self._model.encode(text.split("\n"), out_type=str)
        return "\n".join(" ".join(pieces) for pieces in lines).encode()

    @property
    def _model(self) -> Any:
        return open_pieces(self.pieces or "")


def byte_tokens(content: bytes) -> bytes:
    """Returns a token `<0x41>` for each byte but line feeds, which end lines."""
    return _BYTE_TOKENS[np.frombuffer(content, np.uint8)].tobytes()


def open_pieces(path: str) -> Any:
    """Returns the SentencePiece model in a file, read once until the file changes; raises UserError that names it."""
    try:
        return _read_pieces(path, filesystem.signature(path))
    except OSError as error:
        raise UserError(f"{path}: must be a SentencePiece model, got {reason_of(error)}") from None


@lru_cache(4)
def _read_pieces(path: str, _signature: str) -> Any:
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise UserError(f"{path}: a SentencePiece model needs its package; pip install 'siftlm[pieces]'") from None
    content = filesystem.read_bytes(path)
    try:
        model = SentencePieceProcessor(model_proto=content)
        model.encode("a")  # which an empty file says nothing against before
    except RuntimeError:  # whose message is a line of the library's code
        raise UserError(f"{path}: must be a SentencePiece model, got {len(content):,} bytes that are none") from None
    return model
