"""Defines scorers by two models of one architecture, of which the second is where training went or should go."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from siftlm.scorers.gradients.pair_options import PairOptions
from siftlm.scorers.gradients.scorer import GradientScorer
from siftlm.scorers.lm_files import ModelFiles, digest_of, find_model

if TYPE_CHECKING:
    from siftlm.scorers.gradients.pair_model import PairModel


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
