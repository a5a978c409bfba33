"""Defines the options of a model that classifies or rates texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from siftlm.paths import ModelPlace
from siftlm.scorers.devices import DeviceName
from siftlm.scorers.protocol import NamedSettings
from siftlm.scorers.sequence_heads import column_names


class SequenceClassifierOptions(NamedSettings):
    """Configures which model reads how much of a text, on which device, and which of its outputs become columns."""

    table: ClassVar = "annotate.models"
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the column, or the beginning of several.")
    model: ModelPlace = Field(description="A hub id or a local folder of a sequence classification model.")
    revision: str | None = Field(None, description="Commit, tag or branch of a hub model.")
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
    device: DeviceName = Field(
        "auto", description="`cpu`; `cuda`, all CUDA devices of a machine, each in a process of its own; `cuda:N`, the "
        "one of that number; `auto`, which is `cuda` where there is a device.",
    )  # fmt: skip
    dtype: Literal["auto", "fp32", "fp16", "bf16"] = Field(
        "auto", description="`auto` is fp32 on a CPU; on CUDA fp16 if a probe stays finite, else bf16. On a CPU `bf16` "
        "needs instructions for it (AVX512-BF16 or AMX), and is refused where sample texts get other values.",
    )  # fmt: skip
    batch_tokens: int = Field(65_536, ge=16, description="Tokens of a forward pass on CUDA; on a CPU it is one text.")
    window_documents: int = Field(4096, ge=1, description="Documents that are sorted by length together.")
    threads: int | None = Field(
        None, ge=1, description="Texts in the model at a time on a CPU, one thread each; default one a core."
    )
    trust_remote_code: bool = Field(False, description="Run model code that comes with the model.")
    allow_pickle: bool = Field(False, description="Load pickled weights, which can run any code.")

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
    def runs_on(self) -> str:
        """Returns the name of the device that the model runs on, as the configuration has it."""
        return self.device

    @property
    def value_columns(self) -> list[str]:
        """Returns the names of the columns of numbers."""
        return column_names(self.name, self.labels) if self.labels else [self.name]

    @property
    def truncated_column(self) -> str:
        """Returns the name of the column that is null only where the model has not looked at a document."""
        return f"{self.name}_truncated"
