"""Defines the options of a model that takes a training step on a part of each document."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from siftlm.paths import ReadPath
from siftlm.scorers.document_model import SAME_VALUES, DocumentModelSettings


class InformationGainOptions(DocumentModelSettings):
    """Configures a step on a window of a document, and the texts whose perplexity is looked at."""

    told: ClassVar = "too_short"
    cost: ClassVar = "gradients"
    same_values: ClassVar = SAME_VALUES | {"objective"}
    objective: ReadPath = Field(description="The texts that a step should help with: .jsonl (.gz, .zst) or .parquet.")
    objective_field: str = Field("text", description="The field of the file that holds a text.")
    objective_windows: int = Field(100, ge=1, description="Windows of the objective, one of each of the first texts.")
    window_tokens: int = Field(32, ge=2, le=4096, description="Tokens of a window.")
    learning_rate: float = Field(5e-5, gt=0, description="Of the step (igf.py).")
    clip_norm: float = Field(3.0, gt=0, description="The most that the norm of a step's gradient is.")

    def charts(self) -> list[str]:
        return [self.name]
