"""Defines the settings and scorer of a model that classifies or rates texts; heavy packages load with the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import pyarrow as pa

from siftlm.errors import UserError
from siftlm.scorers.document_model import DocumentModelScorer
from siftlm.scorers.score import Pending
from siftlm.scorers.sequence_heads import ClassifierHead
from siftlm.scorers.sequence_options import SequenceClassifierOptions

if TYPE_CHECKING:
    from siftlm.scorers.sequence_model import ModelInputs, SequenceModel

VERSION = 2  # raised when the same settings and model give other values
DTYPE_VERSIONS = {"bf16": 3}  # the same for one dtype alone
BEST = "*"  # in the place of a label: the one with the highest value


class SequenceClassifierSettings(SequenceClassifierOptions):
    """Rates or classifies texts by a transformers model with a sequence classification head.

    A head with one output gives the column `name`: a quality rater's number. Of a head with several, `label` chooses
    one, whose value is the column `name`; `label = "*"` gives the best one's value and, as `<name>_label`, its name;
    `labels` gives a column `<name>_<label>` each. They are null for an empty or white text. `<name>_truncated` tells
    whether the model read only the beginning of a text.
    """

    kind: Literal["sequence_classifier"] = "sequence_classifier"
    paper: ClassVar = "Penedo et al. 2024 (arXiv 2406.17557)"
    unchecked: ClassVar[str] = ""
    needs: ClassVar = "a sequence classification model"
    example: ClassVar = {"name": "rater", "model": "rater", "device": "cpu"}

    def scorer(self) -> SequenceClassifierScorer:
        return SequenceClassifierScorer(self)


class SequenceClassifierScorer(DocumentModelScorer["SequenceModel"]):
    """Computes the columns of `SequenceClassifierSettings`, by a model that is loaded at the first document."""

    settings: SequenceClassifierSettings

    def fields(self) -> list[pa.Field]:
        chosen = self.settings
        values = [pa.field(name, pa.float32()) for name in chosen.value_columns]
        best = [pa.field(f"{chosen.name}_label", pa.string())] if chosen.label == BEST else []
        return [*values, *best, pa.field(chosen.looked_column, pa.bool_())]

    def values(self) -> dict[str, list[str]]:
        return {f"{self.settings.name}_label": list(self.head.labels)} if self.settings.label == BEST else {}

    def check(self) -> None:
        """Raises a UserError for files that are missing and labels that the model does not have; loads no model."""
        self.chosen(self.head)
        self.content()

    @property
    def version(self) -> int:  # type: ignore[override]
        return DTYPE_VERSIONS.get(self.settings.dtype, VERSION)

    def open(self) -> SequenceModel:
        from siftlm.scorers.sequence_model import SequenceModel

        return SequenceModel(self.settings, self.files, self.head)

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def tokenise(self, texts: pa.Array) -> ModelInputs:
        return self.loaded().tokenise(texts)

    def begin(self, inputs: ModelInputs) -> Pending:
        return self.loaded().begin(inputs, self.chosen(self.head), pa.schema(self.fields()))

    def chosen(self, head: ClassifierHead) -> list[int] | None:
        """Returns the outputs that have columns, or None for the best one; raises a UserError for other labels."""
        place, settings = self.settings.place, self.settings
        if settings.labels:
            return [head.position(f"{place}.labels", label) for label in settings.labels]
        if settings.label is not None and settings.label != BEST:
            return [head.position(f"{place}.label", settings.label)]
        if settings.label == BEST:
            if head.activation == "none":
                raise UserError(f"{place}.label: must be unset or a label where outputs are no probabilities, got '*'")
            return None
        if len(head.labels) > 1:
            raise UserError(
                f"{place}.label: must be set for a model with {len(head.labels)} outputs, got nothing; it has "
                f"{head.shown()}, and '*' is the best one"
            )
        return [0]

    @property
    def head(self) -> ClassifierHead:
        """Returns the outputs of the model, from its config.json as it is now."""
        chosen = None if self.settings.activation == "auto" else self.settings.activation
        head = ClassifierHead.of(f"{self.settings.place}.model", self.files, chosen)
        if head.activation == "softmax" and len(head.labels) == 1:
            place = f"{self.settings.place}.activation"
            raise UserError(f"{place}: must be 'sigmoid' or 'none' for a head with one output, got a softmax")
        return head
