"""Predicts what a costly scorer would say of a document, by a linear model that was taught on a sample."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.linear_text import LinearText
from siftlm.scorers.protocol import NamedSettings
from siftlm.store import digest

VERSION = 1


class DistilledSettings(NamedSettings):
    """Predicts another score of a document by a linear model over hashed n-grams, from `siftlm distil`.

    The column `name` is in the unit that the model was taught: a rank among the sample from 0 to 1, or standard
    deviations from its mean. It has the direction of the score that was distilled: where low scores are good, low
    predictions are.
    """

    kind: Literal["distilled"] = "distilled"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "a learner of siftlm distil"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "distilled", "path": "learner.npz"}
    path: ReadPath = Field(description="The learner.npz of siftlm distil.")

    def charts(self) -> list[str]:
        return [self.name]

    def scorer(self) -> DistilledScorer:
        return DistilledScorer(self)


class DistilledScorer(OneFile[LinearText]):
    """Computes the column of `DistilledSettings`; it is null for an empty text."""

    settings: DistilledSettings
    wanted = "a learner of siftlm distil"

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.settings.name, pa.float64())]

    def parse(self) -> LinearText:
        return LinearText.load(self.settings.path)

    def identity(self, content: str) -> str:
        return digest("distilled", VERSION, self.settings.name, content)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        texts = [text or "" for text in batch["text"].to_pylist()]
        empty = np.array([not text for text in texts], np.bool_)
        values = self.loaded().predict(texts)
        return pa.RecordBatch.from_arrays([pa.array(values, mask=empty)], schema=pa.schema(self.fields()))
