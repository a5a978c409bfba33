"""Defines the options of a model that classifies or rates texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from siftlm.paths import ModelPlace
from siftlm.scorers.document_model import DocumentModelSettings
from siftlm.scorers.sequence_heads import column_names


class SequenceClassifierOptions(DocumentModelSettings):
    """Configures which model reads how much of a text, on which device, and which of its outputs become columns."""

    told: ClassVar = "truncated"
    model: ModelPlace = Field(description="A hub id or a local folder of a sequence classification model.")
    label: str | None = Field(
        None, min_length=1, description='Of a head with several outputs, the label of the column; "*" is the best one.'
    )
    labels: list[str] = Field(
        [], description="Of a head with several outputs, the labels that have a column each, instead of `label`."
    )
    activation: Literal["auto", "softmax", "sigmoid", "none"] = Field(
        "auto", description="Applied to the outputs; `auto` is as the model's `problem_type` says: none for a "
        "regression, sigmoid for several labels at a time, else softmax, and none for a single output.",
    )  # fmt: skip
    max_tokens: int | None = Field(
        None, ge=1, description="Tokens that the model reads of a text, special ones included; default and most what "
        "the model has positions for, by default no more than its tokenizer says, and 8,192.",
    )  # fmt: skip
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="`auto` is fp32 on a CPU; on CUDA fp16 if a probe stays finite, else bf16. On a CPU `bf16` "
        "needs instructions for it (AVX512-BF16 or AMX), and is refused where sample texts get other values.",
    )  # fmt: skip
    batch_tokens: int = Field(65_536, ge=16, description="Tokens of a forward pass on CUDA; on a CPU it is one text.")

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: list[str]) -> list[str]:
        column_names("", labels)
        return labels

    @model_validator(mode="after")
    def _one_choice(self) -> SequenceClassifierOptions:
        if self.label is not None and self.labels:
            raise ValueError(f"label and labels must not both be set, got {self.label!r} and {self.labels}")
        return self

    def charts(self) -> list[str]:
        return self.value_columns

    @property
    def value_columns(self) -> list[str]:
        """Returns the names of the columns of numbers."""
        return column_names(self.name, self.labels) if self.labels else [self.name]
