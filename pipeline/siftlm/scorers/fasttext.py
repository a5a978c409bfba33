"""Computes the probability of a fastText label as a column."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.protocol import NamedSettings, ragged_text
from siftlm.settings import End
from siftlm.store import digest
from siftlm_kernels.fasttext_linear import FastTextLinear

VERSION = 2
LABEL_PREFIX = "__label__"
Impl = Literal["auto", "fasttext"]


class ClassifierSettings(NamedSettings):
    """Computes the probability of a label of a fastText classifier as the column `name`."""

    kind: Literal["classifier"] = "classifier"
    table: ClassVar = "annotate.classifiers"
    paper: ClassVar = "Joulin et al. 2017 (arXiv 1607.01759)"
    example: ClassVar = {"name": "quality", "path": "quality.bin", "label": "good"}
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the column.")
    path: ReadPath = Field(description="The model file, .bin or .ftz, on the disk of every worker.")
    label: str = Field(min_length=1, description="The label, with or without `__label__`.")
    impl: Impl = Field("auto", description="`fasttext` predicts with the fasttext package, ten times slower.")

    def scorer(self) -> ClassifierScorer:
        return ClassifierScorer(self)

    def charts(self) -> list[str]:
        return [self.name]


class ModelScorer(OneFile[FastTextLinear]):
    """Loads and keeps the fastText model of a scorer."""

    wanted = "a fastText model"

    def parse(self) -> FastTextLinear:
        try:
            return _load(self.path(), filesystem.signature(self.path()))
        except ValueError as error:  # which says what the file must be
            raise UserError(f"{self.place()}: {error}") from None


@lru_cache(maxsize=16)
def _load(path: str, _signature: str) -> FastTextLinear:
    """The model in a file, one for all scorers of a process."""
    return FastTextLinear.load(path)


class ClassifierScorer(ModelScorer):
    """Computes the column `name`: a label's probability as fastText reports it.

    It is null where the model knows nothing of a text.
    fastText reports p + 1e-5. Newlines count as spaces, so a document is one line, as in training.
    """

    settings: ClassifierSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.settings.name, pa.float32())]

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def identity(self, content: str) -> str:
        return digest("classifier", VERSION, self.settings.name, self.settings.label, self.settings.impl, content)

    def check(self) -> None:
        self._label_column(self.fresh())

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        model = self.loaded()
        column = self._label_column(model)
        probabilities = model.probabilities(*ragged_text(batch["text"]), impl=self.settings.impl)[:, column]
        scores = pa.array(probabilities, pa.float32(), mask=np.isnan(probabilities))
        return pa.RecordBatch.from_arrays([scores], schema=pa.schema(self.fields()))

    def _label_column(self, model: FastTextLinear) -> int:
        """The column of the label, written with its prefix or without; raises UserError with the nearest ones."""
        label = self.settings.label
        for candidate in (label, LABEL_PREFIX + label):
            if candidate in model.labels:
                return model.labels.index(candidate)
        bare = [known.removeprefix(LABEL_PREFIX) for known in model.labels]
        near = difflib.get_close_matches(label.removeprefix(LABEL_PREFIX), bare, n=3, cutoff=0.4) or bare[:10]
        place = f"{self.settings.place}.label"
        raise UserError(f"{place}: must be a label of the model, got {label!r}; nearest: {', '.join(near)}")
