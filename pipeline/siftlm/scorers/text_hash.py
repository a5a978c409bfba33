"""Computes digests of texts, by which lists name documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar, Literal

import pyarrow as pa
import xxhash
from pydantic import Field

from siftlm.scorers.protocol import Scorer, ScorerSettings, ragged_text
from siftlm.store import digest

VERSION = 1
Algorithm = Literal["sha256", "sha1", "md5", "xxh3_128"]
_DIGESTS: dict[Algorithm, Callable[[memoryview], str]] = {
    "sha256": lambda content: hashlib.sha256(content).hexdigest(),
    "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).hexdigest(),
    "md5": lambda content: hashlib.md5(content, usedforsecurity=False).hexdigest(),
    "xxh3_128": lambda content: xxhash.xxh3_128_hexdigest(content),
}


class TextHashSettings(ScorerSettings):
    """Computes a digest of every text, for lists of texts that are wanted or not."""

    kind: Literal["text_hash"] = "text_hash"
    unchecked: ClassVar[str] = ""
    example: ClassVar = {"algorithm": "sha256"}
    algorithm: Algorithm = Field("sha256", description="What makes the digest; the column is called text_<algorithm>.")

    def scorer(self) -> TextHashScorer:
        return TextHashScorer(self)


class TextHashScorer(Scorer):
    """Computes `text_<algorithm>`, the digest of a text's UTF-8 bytes in lower-case hexadecimal digits.

    In Python it is `hashlib.sha256(text.encode()).hexdigest()`. The text is as it was read, before paragraphs are cut.
    """

    settings: TextHashSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(f"text_{self.settings.algorithm}", pa.string(), nullable=False)]

    def digest(self) -> str:
        return digest("text_hash", VERSION, self.settings.algorithm)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values, offsets = ragged_text(batch["text"])
        view = memoryview(values)  # type: ignore[arg-type]  # numpy arrays had the buffer protocol before its type
        hashed = [_DIGESTS[self.settings.algorithm](view[start:end]) for start, end in pairwise(offsets)]
        return pa.RecordBatch.from_arrays([pa.array(hashed, pa.string())], schema=pa.schema(self.fields()))
