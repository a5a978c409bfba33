"""Defines scorers of documents' gradients: a method says which numbers of a gradient it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siftlm.scorers.document_model import DocumentModelScorer
from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.score import Pending

if TYPE_CHECKING:
    from siftlm.scorers.gradients.model import GradientModel, Measure
    from siftlm.scorers.gradients.windows import Tokens


class GradientScorer(DocumentModelScorer["GradientModel"]):
    """Computes columns of float64 from numbers of gradients, and whether a text was cut.

    A document without a predicted token, or whose numbers are not finite, has null. A subclass gives `suffixes` and
    `measure`.
    """

    settings: GradientOptions
    suffixes: tuple[str, ...] = ("",)

    def fields(self) -> list[pa.Field]:
        names = [f"{self.settings.name}{suffix}" for suffix in self.suffixes]
        return [*(pa.field(name, pa.float64()) for name in names), pa.field(self.settings.looked_column, pa.bool_())]

    def check(self) -> None:
        self.content()

    def open(self) -> GradientModel:
        from siftlm.scorers.gradients.model import GradientModel

        return GradientModel(self.settings, self.files)

    def measure(self, model: GradientModel) -> Measure:
        """Returns what computes the numbers of gradients, float64 [B, len(suffixes)]."""
        raise NotImplementedError(f"{self.settings.kind} must say what it measures of a gradient")

    @property
    def width(self) -> int:
        """Returns how many numbers a gradient has."""
        return len(self.suffixes)

    def columns(self, values: NDArray[np.float64], truncated: NDArray[np.bool_]) -> pa.RecordBatch:
        """Returns the columns of documents from their numbers, [N, width]."""
        arrays = [pa.array(column, mask=~np.isfinite(column)) for column in values.T]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(truncated)], schema=pa.schema(self.fields()))

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def tokenise(self, texts: pa.Array) -> Tokens:
        return self.loaded().tokenise(texts)

    def begin(self, inputs: Tokens) -> Pending:
        model = self.loaded()
        return model.begin(inputs, self.measure(model), self.width, self.columns)
