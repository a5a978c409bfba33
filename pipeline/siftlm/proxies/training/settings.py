"""Defines the settings of small causal language models and of their training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from siftlm.settings import Settings

SAME_WEIGHTS = {"threads"}
"""Settings that change no byte of a model."""
VERSION = 1  # of the code that decides what a trained model's bytes are, for keys


class ModelShape(Settings):
    """Configures the shape of a causal language model; its vocabulary is its tokenizer's."""

    shape: Literal["gpt2", "llama"] = Field("gpt2", description="Architecture.")
    layers: int = Field(2, ge=1, le=128, description="Transformer blocks.")
    width: int = Field(128, ge=8, le=16_384, description="Size of a hidden state; a multiple of heads.")
    heads: int = Field(4, ge=1, le=256, description="Attention heads.")
    context_tokens: int = Field(256, ge=16, le=1 << 20, description="Tokens of a window.")

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got {self.width} and {self.heads}")
        if self.shape == "llama" and self.width // self.heads % 2:
            raise ValueError(f"width / heads must be even in a llama, got {self.width} / {self.heads}")
        return self


class Optimisation(Settings):
    """Configures how a model is trained: the batches, the schedule, and the device."""

    batch_tokens: int = Field(1024, ge=16, description="Tokens of an optimisation step.")
    learning_rate: float = Field(4e-3, gt=0, description="Peak of the cosine schedule.")
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads that share the windows of a step; default: one for each core of this process. "
        "The weights do not depend on it.",
    )
    device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:N, where the model is trained."
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="Numbers of the products; weights and their updates are float32 in both."
    )
    compiled: bool = Field(False, description="Whether torch.compile compiles the model, which needs a C++ compiler.")
    document_mask: bool = Field(
        False, description="Whether a token attends to its own document only; else to all that precedes in its window."
    )
    max_epochs: float | None = Field(
        None, gt=0, description="Passes over the windows of a group at most; the other groups take its share then."
    )
    average_last: int = Field(
        0, ge=0, le=1000, description="The saved weights are the mean of that many of the last; 0: the last alone."
    )
    average_every: int = Field(10, ge=1, description="Steps between two of the weights that are averaged.")


@dataclass(frozen=True)
class Seeds:
    """Holds the seeds of a training: of the initial weights, and of the order of the windows.

    A third, the draw of the documents, belongs to whoever writes the token file.
    """

    weights: int = 0
    order: int = 0


@dataclass(frozen=True)
class Training:
    """Describes one training of a model on the windows of a token file.

    `shares` are the groups' shares of every step's windows, by name and in any unit; without, a group has as many as
    its windows are of all. After the steps named in `marks`, and after the last, a held-out file is measured; 0 means
    before the first.
    """

    shape: ModelShape
    optimisation: Optimisation
    steps: int
    seeds: Seeds = Seeds()
    shares: Mapping[str, float] | None = None
    marks: tuple[int, ...] = ()

    @property
    def batch_windows(self) -> int:
        """Returns the windows of a step, one at least."""
        return max(1, self.optimisation.batch_tokens // self.shape.context_tokens)

    @property
    def step_tokens(self) -> int:
        """Returns the tokens that a step predicts."""
        return self.batch_windows * self.shape.context_tokens

    def identity(self) -> object:
        """Returns what the trained bytes depend on beside the token files, the tokenizer and the mixer."""
        shares = dict(self.shares) if self.shares is not None else None
        seeds = [self.seeds.weights, self.seeds.order]
        optimisation = self.optimisation.content(exclude=SAME_WEIGHTS)
        return VERSION, self.shape.content(), optimisation, self.steps, seeds, shares, sorted(self.marks)
