"""Defines scorers by two models of one architecture, of which the second is where training went or should go."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from siftlm.paths import ModelPlace
from siftlm.scorers.document_model import SAME_VALUES
from siftlm.scorers.gradients.options import GradientOptions
from siftlm.scorers.gradients.scorer import GradientScorer
from siftlm.scorers.lm_files import ModelFiles, digest_of, find_model

if TYPE_CHECKING:
    from siftlm.scorers.gradients.pair_model import PairModel


class PairOptions(GradientOptions):
    """Configures two models of one architecture."""

    same_values: ClassVar = SAME_VALUES | {"reference", "reference_revision"}
    reference: ModelPlace = Field(
        description="The model that training leads to, or should: a hub id or a folder, of the architecture of `model`."
    )
    reference_revision: str | None = Field(None, description="Commit, tag or branch of the reference.")

    @property
    def at(self) -> float:
        """Returns where gradients are taken: 0 at `model`, 1 at the reference."""
        return 0.0


class PairScorer(GradientScorer):
    """Computes columns from gradients and from the difference of two models' weights."""

    settings: PairOptions

    def open(self) -> PairModel:
        from siftlm.scorers.gradients.pair_model import PairModel

        return PairModel(self.settings, self.files, self.reference_files)

    @cached_property
    def reference_files(self) -> ModelFiles:
        """Returns the files of the reference, and downloads a hub model at the first call."""
        chosen = self.settings
        place, revision = f"{chosen.place}.reference", chosen.reference_revision
        return find_model(place, chosen.reference, None, revision, chosen.allow_pickle)

    def reads(self) -> list[str]:
        return [*super().reads(), *self.paths_of(self.reference_files)]

    def content(self) -> str:
        return digest_of([*self.files.paths, *self.reference_files.paths])
