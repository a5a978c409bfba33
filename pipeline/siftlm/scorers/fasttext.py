"""Computes the probability of a fastText label as a column, or the best label and its probability."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.files import OneFile
from siftlm.scorers.protocol import NamedSettings, Ragged, ragged_text
from siftlm.settings import End
from siftlm.store import digest
from siftlm_kernels.fasttext_linear import FastTextLinear

VERSION = 2
LABEL_PREFIX = "__label__"
BEST = "*"  # in the place of a label: the one that is most probable
NO_WORD = r"^[ \n\r\t\v\f\x00]*$"
Impl = Literal["auto", "fasttext"]


class ClassifierSettings(NamedSettings):
    """Computes the probability of a label of a fastText classifier as the column `name`.

    With `label = "*"` that is the probability of the best label, and `<name>_label` names it, a topic for instance:
    a column of strings for rules, bands, mixtures and formulas. Both are null for a text without a word. Of equally
    probable labels it is the one that the model lists first.
    """

    kind: Literal["classifier"] = "classifier"
    table: ClassVar = "annotate.classifiers"
    paper: ClassVar = "Joulin et al. 2017 (arXiv 1607.01759)"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "a fastText classifier"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "quality", "path": "quality.bin", "label": "good"}
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the column.")
    path: ReadPath = Field(description="The model file, .bin or .ftz, on the disk of every worker.")
    label: str = Field(min_length=1, description='The label, with or without `__label__`; "*" is the best one.')
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
    """Computes the column `name`: a label's probability as fastText reports it, and for "*" the label itself.

    It is null where the model knows nothing of a text.
    fastText reports p + 1e-5. Newlines count as spaces, so a document is one line, as in training.
    """

    settings: ClassifierSettings

    def fields(self) -> list[pa.Field]:
        name = self.settings.name
        labels = [pa.field(f"{name}_label", pa.string())] if self._any_label else []
        return [pa.field(name, pa.float32()), *labels]

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def values(self) -> dict[str, list[str]]:
        return {f"{self.settings.name}_label": bare_labels(self.fresh())} if self._any_label else {}

    def identity(self, content: str) -> str:
        return digest("classifier", VERSION, self.settings.name, self.settings.label, self.settings.impl, content)

    def check(self) -> None:
        model = self.fresh()
        if not self._any_label:
            self._label_column(model)

    @property
    def _any_label(self) -> bool:
        return self.settings.label == BEST

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        model = self.loaded()
        if self._any_label:
            texts = batch["text"]
            labels, probabilities = best_labels(model, texts, ragged_text(texts), self.settings.impl)
            return pa.RecordBatch.from_arrays([probabilities, labels], schema=pa.schema(self.fields()))
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
        bare = bare_labels(model)
        near = difflib.get_close_matches(label.removeprefix(LABEL_PREFIX), bare, n=3, cutoff=0.4) or bare[:10]
        place = f"{self.settings.place}.label"
        raise UserError(f"{place}: must be a label of the model, got {label!r}; nearest: {', '.join(near)}")


def bare_labels(model: FastTextLinear) -> list[str]:
    """Returns the labels of a model in its order, without `__label__`."""
    return [label.removeprefix(LABEL_PREFIX) for label in model.labels]


def best_labels(model: FastTextLinear, texts: pa.Array, read: Ragged, impl: Impl) -> tuple[pa.Array, pa.Array]:
    """Returns the most probable label of every text, without `__label__`, and its probability (float32).

    Both are null where a text has no word, or none that the model knows. Equal probabilities go to the label that the
    model lists first.

    Args:
        texts: The whole texts.
        read: The part of each that the model reads, as `(values, offsets)`.
    """
    probabilities = model.probabilities(*read, impl=impl)
    wordless = pc.match_substring_regex(texts, NO_WORD).to_numpy(zero_copy_only=False).astype(np.bool_)
    unknown = np.isnan(probabilities[:, 0]) | wordless
    best = np.argmax(probabilities, axis=1)
    labels = pa.array(bare_labels(model), pa.string()).take(pa.array(best, mask=unknown))
    return labels, pa.array(probabilities[np.arange(len(best)), best], pa.float32(), mask=unknown)
