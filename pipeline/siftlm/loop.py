"""Defines the configuration of the correlation commands, which adds tables to that of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from siftlm.config import RunConfig, read_toml, validated
from siftlm.correlate.settings import CorrelateSettings, SampleSettings, TrainingSettings
from siftlm.mixing.settings import ProjectSettings
from siftlm.paths import WrittenPath
from siftlm.proxies.trainer import ReferenceSettings
from siftlm.scorers.ngrams import NgramSettings
from siftlm.settings import Name, Settings
from siftlm.stages.eligible import Split


class FamilySettings(Settings):
    """Configures small models with different strengths, one for each mixture, width and number of epochs."""

    holdout: float = Field(0.3, gt=0, lt=1, description="Share of the deduplicated documents that train the models.")
    mixtures: dict[Name, list[str]] = Field(min_length=1, description="Name of a mixture -> its sources.")
    widths: list[int] = Field(min_length=1, description="Sizes of the hidden state.")
    epochs: list[float] = Field(min_length=1, description="Passes over the mixture.")
    shape: ReferenceSettings = Field(
        default_factory=lambda: ReferenceSettings.model_validate({}),
        description="All else that the models share, as in [reference].",
    )

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        for width in self.widths:
            if width % self.shape.heads:
                raise ValueError(f"widths must be multiples of shape.heads, got {width} and {self.shape.heads}")
        return self

    def members(self) -> dict[str, tuple[list[str], ReferenceSettings]]:
        """Returns the sources and the settings of every model, by a name that says what it is."""
        return {
            f"{mixture}_w{width}_e{epochs:g}".replace(".", "_"): (
                sources,
                self.shape.model_copy(update={"width": width, "epochs": epochs}),
            )
            for mixture, sources in self.mixtures.items()
            for width in self.widths
            for epochs in self.epochs
        }


class QuestionSettings(Settings):
    """Configures small tasks that ask which of a few continuations belongs to a passage.

    The passage is from a document that no model has seen.
    """

    tasks: dict[Name, list[str]] = Field(min_length=1, description="Name of a task -> the sources it is cut from.")
    holdout: float = Field(0.1, gt=0, lt=1, description="Share of the documents, outside the family's, that are cut.")
    questions: int = Field(150, ge=2, description="Questions of a task at most.")
    context_words: int = Field(24, ge=1, description="Words of a passage that are shown.")
    answer_words: int = Field(12, ge=1, description="Words of a continuation.")
    choices: int = Field(4, ge=2, description="Continuations of a question, one of them right.")


class MatrixJobSettings(SampleSettings):
    """Configures the matrix of bits per byte that `siftlm matrix` makes."""

    path: WrittenPath | None = Field(
        None, description="Where it goes: .parquet with the sums, or .csv; default matrix.parquet in output.folder."
    )
    tokens_of: str | None = Field(
        None,
        description="The model whose tokens count for the caps, one with the tokenizer of the model to be trained or "
        "near it: one that knows only some of the text counts too many in the rest. Default: the first.",
    )


class DsirFitSettings(NgramSettings):
    """Configures which corpora's n-grams `siftlm fit-dsir` compares."""

    target: list[str] = Field(min_length=1, description="Sources of the target corpus.")
    raw: list[str] = Field(min_length=1, description="Sources of the corpus to select from.")
    most_pages: int = Field(1_000_000, gt=0, description="Documents that are counted of each at most, by a keyed draw.")


class DistilSettings(Settings):
    """Configures which model `siftlm distil` scores a sample by, and what learns to say the same."""

    model: Name | None = Field(None, description="Name of one of [[annotate.models]]; the only one where unset.")
    sample: int = Field(10_000, ge=1, description="Documents that the model scores, by a keyed draw.")
    learner: Literal["linear", "fasttext"] = Field(
        "linear", description="A ridge regression over hashed n-grams, or fastText's classifier of the higher half."
    )
    learn: Literal["rank", "deviations"] = Field(
        "rank", description="What a linear learner predicts: the rank in the sample, 0 to 1, or standard deviations."
    )
    held_out: float = Field(0.2, gt=0, lt=1, description="Share of the sample that only tests the learner.")
    ngrams: int = Field(2, ge=1, le=5, description="All orders of n-grams of words from 1 to this.")
    buckets: int = Field(1 << 18, ge=2, le=1 << 26, description="Hash buckets of n-grams.")
    seed: int = Field(0, ge=0, lt=1 << 62, description="Of the draw of the sample and of what is held out.")


class LoopConfig(RunConfig):
    """Configures the corpus, the models and the steps of the correlation commands."""

    family: FamilySettings | None = Field(None, description="Models that the loop trains itself.")
    benchmark: QuestionSettings | None = Field(None, description="Tasks that measure the models' errors.")
    matrix: MatrixJobSettings = Field(default_factory=lambda: MatrixJobSettings.model_validate({}))
    correlate: CorrelateSettings
    project: ProjectSettings | None = Field(None, description="From estimates to weights of units.")
    classifier: TrainingSettings = Field(default_factory=TrainingSettings)
    dsir: DsirFitSettings | None = None
    distil: DistilSettings = Field(default_factory=lambda: DistilSettings.model_validate({}))

    @model_validator(mode="before")
    @classmethod
    def _own_tables(cls, tree: Any) -> Any:
        """Commands read what the commands before them wrote, unless told otherwise."""
        if not isinstance(tree, dict):
            return tree
        output, made, correlate = (tree.get(name, {}) for name in ("output", "matrix", "correlate"))
        own = [correlate.get(name, {}) for name in ("matrix", "benchmarks")] if isinstance(correlate, dict) else []
        if not all(isinstance(table, dict) for table in (output, made, correlate, *own)):
            return tree  # the fields say what is wrong
        folder = output.get("folder")
        if not isinstance(folder, str):
            return tree
        paths = {"matrix": made.get("path") or f"{folder}/matrix.parquet", "benchmarks": f"{folder}/errors.csv"}
        tables = {name: {"path": path, **correlate.get(name, {})} for name, path in paths.items()}
        return {**tree, "correlate": {**correlate, **tables}}

    @model_validator(mode="after")
    def _one_kind_of_training(self) -> Self:
        if self.family and self.reference:
            raise ValueError("family and reference must not both be set: either trains on held-out documents")
        sources = {settings.source for settings in self.input}
        for place, names in self._named_sources():
            unknown = [name for name in names if name not in sources]
            if unknown:
                raise ValueError(f"{place} must name sources of [[input]], got {unknown[0]!r} of {sorted(sources)}")
        both = set(self.family.members() if self.family else ()) & {settings.name for settings in self.score}
        if both:
            raise ValueError(f"names of models must differ, got {sorted(both)[0]!r} in family and in score")
        return self

    def _named_sources(self) -> list[tuple[str, list[str]]]:
        mixtures = self.family.mixtures if self.family else {}
        tasks = self.benchmark.tasks if self.benchmark else {}
        corpora = {"dsir.target": self.dsir.target, "dsir.raw": self.dsir.raw} if self.dsir else {}
        return [
            *((f"family.mixtures.{name}", names) for name, names in mixtures.items()),
            *((f"benchmark.tasks.{name}", names) for name, names in tasks.items()),
            *corpora.items(),
            ("classifier.good", self.classifier.good),
            ("classifier.web", self.classifier.web),
        ]

    @property
    def folder(self) -> str:
        """Returns the folder that tables are written to."""
        return self.output.folder

    @property
    def own_places(self) -> list[str]:
        return [*super().own_places, self.matrix_path]

    @property
    def matrix_path(self) -> str:
        """Returns the path that the matrix is written to."""
        return self.matrix.path or f"{self.folder}/matrix.parquet"

    def split(self) -> Split:
        """Returns the split of the run's documents, with the family's held-out share where there is a family."""
        return replace(super().split(), holdout=self.family.holdout) if self.family else super().split()


def load(path: str, overrides: list[str] | None = None) -> LoopConfig:
    """Returns the configuration in a TOML file, with `key=value` overrides applied.

    The configuration of a plain run is taken, too.
    """
    return validated(LoopConfig, read_toml(path), overrides, path)
