"""Computes the importance weights of DSIR as columns."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.ngrams import ImportanceWeights, gumbel_noise, mean_log_weight, word_count
from siftlm.scorers.protocol import NamedSettings
from siftlm.settings import End
from siftlm.store import digest

VERSION = 1


class DsirSettings(NamedSettings):
    """Weighs documents by importance weights that `siftlm fit-dsir` made from a target and a raw corpus."""

    kind: Literal["dsir"] = "dsir"
    table: ClassVar = "annotate.dsir"
    paper: ClassVar = "Xie et al. 2023 (arXiv 2302.03169)"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "weights of siftlm fit-dsir"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "dsir", "path": "dsir.npz"}
    path: ReadPath = Field(description="The .npz of siftlm fit-dsir.")
    fewest_words: int = Field(100, ge=0, description="Shorter documents get no weight (DSIR's public code: 100).")
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of the Gumbel noise.")

    def scorer(self) -> DsirScorer:
        return DsirScorer(self)


class DsirScorer(OneFile[ImportanceWeights]):
    """Computes the DSIR log weight of each document as columns, plain, per n-gram and with Gumbel noise.

    The columns are `<name>`, `<name>_per_ngram` and `<name>_sampled`.

    A `top` rule on `<name>_sampled` draws without replacement in proportion to the weights, which is DSIR's
    resampling; on `<name>` it takes the largest weights. All are null for texts of too few words. The noise is a
    keyed hash of the text.
    """

    settings: DsirSettings
    wanted = "weights of siftlm fit-dsir"

    def fields(self) -> list[pa.Field]:
        name = self.settings.name
        return [pa.field(column, pa.float64()) for column in (name, f"{name}_per_ngram", f"{name}_sampled")]

    def good_ends(self) -> dict[str, End]:
        return {field.name: "highest" for field in self.fields()}

    def parse(self) -> ImportanceWeights:
        return ImportanceWeights.load(self.settings.path)

    def identity(self, content: str) -> str:
        settings = self.settings
        return digest("dsir", VERSION, settings.name, settings.fewest_words, settings.seed, content)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        weights = self.loaded()
        texts = batch["text"]
        totals, sizes = weights.score([text or "" for text in texts.to_pylist()])
        columns = [totals, mean_log_weight(totals, sizes), totals + gumbel_noise(texts, self.settings.seed)]
        short = (word_count(sizes, weights.ngrams) < self.settings.fewest_words) | (sizes == 0)
        arrays = [pa.array(np.asarray(column), pa.float64(), mask=short) for column in columns]
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(self.fields()))
