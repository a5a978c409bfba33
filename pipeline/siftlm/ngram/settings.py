"""Defines the settings of `siftlm train-ngram`."""

from __future__ import annotations

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from siftlm.paths import ReadPath
from siftlm.scorers.ngram_units import Normaliser, TokenLines, Unit
from siftlm.settings import Settings

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
LEAST_MEMORY = 64 * 10**6


SPECIAL = ("<unk>", "<s>", "</s>")
"""Signs of a model, which stand for unknown words and for the beginnings and ends of sentences."""
REFUSED = (*SPECIAL, "<UNK>")  # which KenLM reads as <unk>
SAME_MODEL = {"memory", "processes"}
"""Settings that change no byte of a model."""


class NgramShape(Settings):
    """Configures an n-gram model and what its training may use, wherever its texts come from."""

    order: int = Field(5, ge=1, le=32, description="Words of the longest n-grams.")
    normalise: Normaliser = Field("none", description="What is done to texts first: nothing, lower case, or as CCNet.")
    unit: Unit = Field(
        "words", description="Tokens: words between white space, bytes, or pieces of a SentencePiece model."
    )
    pieces: ReadPath | None = Field(None, description="The SentencePiece model, for `unit = 'pieces'`.")
    memory: int = Field(2 * 10**9, ge=LEAST_MEMORY, description="Bytes that all processes may use for n-grams.")
    processes: int = Field(1, ge=1, le=256, description="How many processes work; the model does not depend on it.")
    discount_fallback: bool = Field(
        False, description="Discounts of 0.5, 1 and 1.5 for orders where none can be estimated, instead of an error."
    )

    @field_validator("memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return parse_bytes(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _pieces_for_pieces(self) -> Self:
        if (self.unit == "pieces") != (self.pieces is not None):
            raise ValueError("a SentencePiece model must be named for unit = 'pieces', and for no other")
        return self

    @property
    def lines(self) -> TokenLines:
        """Returns what turns texts into lines of tokens."""
        return TokenLines(self.normalise, self.unit, self.pieces)


class NgramTraining(NgramShape):
    """Configures the training of an n-gram model on files."""

    text_field: str = Field("text", description="jsonl, parquet: the field with the text.")


def parse_bytes(text: str) -> int:
    """Returns the number of bytes that a text such as 2GB, 500M or 1GiB says; raises ValueError for others."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?i?)b?", text.strip().lower())
    if found is None or found[2] not in UNITS:
        raise ValueError(f"must be a number of bytes such as 2GB or 500M, got {text!r}")
    return int(float(found[1]) * UNITS[found[2]])
