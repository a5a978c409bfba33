"""Defines the options of two models of one architecture."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from siftlm.paths import ModelPlace
from siftlm.scorers.document_model import SAME_VALUES
from siftlm.scorers.gradients.options import GradientOptions


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
