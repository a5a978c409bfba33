"""Measures how much one training step on a part of a document lowers the perplexity of a set of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.scorers.document_model import DocumentModelScorer
from siftlm.scorers.gradients.gain_options import InformationGainOptions
from siftlm.scorers.items import items_of
from siftlm.scorers.score import Pending
from siftlm.settings import End
from siftlm.store import digest

if TYPE_CHECKING:
    from siftlm.scorers.gradients.gain_model import GainModel, Parts


class InformationGainSettings(InformationGainOptions):
    """Measures by how much one AdamW step on a window of a document lowers the perplexity of an objective set.

    The column `name` is the perplexity of the objective windows before the step less that after it: high is good. It is
    null for a document of fewer tokens than a window (`<name>_too_short`). Every document takes a backward pass and a
    forward pass over the objective: label a sample, and let `siftlm distil` learn the rest. The objective's windows and
    the document's begin where a keyed hash of the text says; the published code draws them, of articles of more than
    1,026 tokens.
    """

    kind: Literal["information_gain"] = "information_gain"
    unchecked: ClassVar[str] = "how many labelled pairs the learner needs"
    paper: ClassVar = "Antonello et al. 2020 (arXiv 2005.00175)"
    needs: ClassVar = "a causal model, and a file of objective texts"
    example: ClassVar = {"name": "gain", "model": "model", "objective": "objective.jsonl", "device": "cpu"}

    def scorer(self) -> InformationGainScorer:
        return InformationGainScorer(self)


class InformationGainScorer(DocumentModelScorer["GainModel"]):
    """Computes the columns of `InformationGainSettings`."""

    settings: InformationGainSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(self.settings.name, pa.float64()), pa.field(self.settings.looked_column, pa.bool_())]

    def good_ends(self) -> dict[str, End]:
        return {self.settings.name: "highest"}

    def reads(self) -> list[str]:
        return [*super().reads(), self.settings.objective]

    def content(self) -> str:
        try:
            return digest(super().content(), filesystem.fingerprint(self.settings.objective))
        except OSError as error:
            raise self._unreadable(error) from None

    def check(self) -> None:
        self.content()
        self.objective_texts()

    def open(self) -> GainModel:
        from siftlm.scorers.gradients.gain_model import GainModel

        return GainModel(self.settings, self.files, self.objective_texts())

    def objective_texts(self) -> list[str]:
        """Returns the texts of the objective; raises a UserError for a file that has none."""
        field = self.settings.objective_field
        try:
            texts = [str(item[field]) for item in items_of(self.settings.objective, [field]) if item[field]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._unreadable(error) from None
        if not texts:
            raise UserError(
                f"{self.settings.place}.objective: must hold texts, got none in {self.settings.objective!r}"
            )
        return texts

    def metadata(self) -> dict[str, str]:
        return self.loaded().metadata()

    def tokenise(self, texts: pa.Array) -> Parts:
        return self.loaded().tokenise(texts)

    def begin(self, inputs: Parts) -> Pending:
        return self.loaded().begin(inputs, pa.schema(self.fields()))

    def _unreadable(self, error: Exception) -> UserError:
        place, field = f"{self.settings.place}.objective", self.settings.objective_field
        reason = f"no field {field!r}" if isinstance(error, KeyError) else str(error).partition("\n")[0]
        return UserError(f"{place}: must be a file of texts, got {self.settings.objective!r}: {reason}")


def information_gains_in_deviations(gains: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns information gains less their mean, in standard deviations (divisor n); 0 where these do not vary.

    What a learner is taught, and what thresholds of the published code (1 and -1) are about.
    """
    values = np.asarray(gains, np.float64)
    deviation = values.std() if len(values) else 0.0
    return np.asarray((values - values.mean()) / deviation if deviation > 0 else np.zeros_like(values))
