"""Defines how methods that train small models say what is to be trained, and what they get back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from siftlm.paths import ReadPath, WrittenPath
from siftlm.proxies.training.settings import ModelShape, Optimisation
from siftlm.readers.settings import InputSettings
from siftlm.settings import Name, Settings

Floats = npt.NDArray[np.float64]


class TrainSettings(Settings):
    """Configures what the small models of a method are trained on, and how."""

    input: list[InputSettings] = Field(
        default_factory=list, description="Texts; by default every `source` is a domain."
    )
    held_out: list[InputSettings] = Field(
        default_factory=list, description="Texts that measure models, every `source` a target; by default the targets "
        "are documents of the domains that no model is trained on.",
    )  # fmt: skip
    run: ReadPath | None = Field(
        None, description="Instead of `input`: folder of a finished run, whose kept documents are the texts."
    )
    by: list[Name] = Field(
        default_factory=lambda: ["source"],
        min_length=1,
        description="Columns whose values, or bins of whose numbers, are the domains: source, language, a cluster.",
    )
    bins: int = Field(4, ge=2, le=64, description="Bins of a column of numbers, with the same bytes of text each.")
    most: int = Field(
        64, ge=2, le=10_000, description="Domains at most: the largest; all others, and those of two documents or one, "
        "are one, named `others`.",
    )  # fmt: skip
    folder: WrittenPath = Field("mix_training", description="Folder of texts and models that are kept between calls.")
    tokens: int = Field(400_000, ge=1000, description="Tokens that every model is trained on.")
    documents: int = Field(50, ge=2, description="Held-out documents of a domain at most, which measure models.")
    holdout: float = Field(0.1, gt=0, lt=1, description="Share of a domain's documents that is held out at most.")
    repeats: int = Field(
        1, ge=1, le=100, description="Trainings in which shares are learnt, from other seeds: the result is their "
        "mean, and their range is told.",
    )  # fmt: skip
    check: int = Field(
        1, ge=0, le=100, description="Pairs of models, one on the mixture and one on the prior, that say at the end "
        "what the mixture gains; 0 for none."
    )  # fmt: skip
    runs: int = Field(
        40,
        ge=2,
        description="Models on as many mixtures for a method that reads runs; the first is the prior.",
    )
    prior: dict[str, float] = Field(
        default_factory=dict,
        description="Shares that domains have by themselves; by default those of their tokens.",
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="Seed of draws, of weights and of the order of training.")
    model: ModelShape = Field(
        default_factory=lambda: ModelShape.model_validate({}), description="The shape of the models."
    )
    training: Optimisation = Field(
        default_factory=lambda: Optimisation.model_validate({}), description="How the models are trained."
    )
    vocabulary: int = Field(2048, ge=300, le=1 << 20, description="Tokens of the vocabulary that all models share.")
    tokenizer: str | None = Field(
        None, description="A tokenizer from outside, a folder, a tokenizer.json or a hub id; by default one is trained "
        "on a random draw of the texts."
    )  # fmt: skip


@dataclass(frozen=True)
class TrainingPlan:
    """Describes one training.

    Attributes:
        name: For messages.
        shares: float64[domains], of the windows of every step, at first.
        steps: Of the training.
        seed: Of the weights and of the order, beside that of the settings.
        start: The key of the model that it goes on from, at a constant learning rate; else it begins at random.
        learner: The method whose settings say how shares change meanwhile, see `LearnerSettings`.
        marks: Steps after which held-out texts are measured beside the last.
        rate: Another peak of the learning rate than that of the settings.
    """

    name: str
    shares: Floats
    steps: int
    seed: int = 0
    start: str | None = None
    learner: LearnerPlan | None = None
    marks: tuple[int, ...] = ()
    rate: float | None = None


@dataclass(frozen=True)
class LearnerPlan:
    """Describes a method that changes shares during a training, so that any process can begin it.

    Attributes:
        method: Its settings, as JSON with `method`.
        reference: The key of a trained model whose losses it compares, where it needs one.
        arrays: What it begins with, as nested lists.
    """

    method: Mapping[str, Any]
    reference: str | None = None
    arrays: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainedModel:
    """Holds what a training came to.

    Attributes:
        key: Of the model.
        losses: float64[targets], bits per byte of held-out text at the end.
        nats: float64[targets], nats per token of the same.
        parameters: Of the model.
        epochs: float64[domains], how often a domain's text was read.
        state: Of the learner at the end, None without one.
        document_bits: float64[documents], bits of every held-out document at the end.
        drawn: float64[domains], the share that every domain had in the windows.
    """

    key: str
    losses: Floats
    nats: Floats
    parameters: int
    epochs: Floats
    state: dict[str, Any] | None
    document_bits: Floats
    drawn: Floats


@dataclass(frozen=True)
class Load:
    """Says what a method will train, for the time that is told before.

    Attributes:
        models: Trainings, side by side.
        steps: Of each.
        dearer: What a step costs, in plain steps.
        marks: How often each measures the held-out texts.
    """

    models: int
    steps: int
    dearer: float = 1.0
    marks: int = 1


class TrainingBench(Protocol):
    """Trains small models on mixtures of the domains' texts, each once for all calls with the same settings."""

    @property
    def settings(self) -> TrainSettings: ...

    @property
    def domains(self) -> tuple[str, ...]:
        """Returns the names of the domains, sorted."""
        ...

    @property
    def targets(self) -> tuple[str, ...]:
        """Returns the names of what measures models, sorted: the domains, or other texts."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Returns what a user should know of the domains, a sentence each."""
        ...

    @property
    def prior(self) -> Floats:
        """Returns the shares that the domains have by themselves, float64[domains]."""
        ...

    @property
    def steps(self) -> int:
        """Returns the steps of a training."""
        ...

    def train(self, plans: Sequence[TrainingPlan]) -> list[TrainedModel]:
        """Returns the models of plans, in their order, training side by side those that are missing."""
        ...

    def averages(self, models: Sequence[str], shares: Floats) -> Floats:
        """Returns the bits per byte of means of models, float64[mixtures, targets].

        `shares` is float64[mixtures, models], what each model counts.
        """
        ...

    def gain_interval(self, prior: Sequence[TrainedModel], mixture: Sequence[TrainedModel]) -> tuple[float, float]:
        """Returns where 90 of 100 draws of held-out documents have the gain of the mixture over the prior."""
        ...
