"""Defines the settings of `siftlm prove`: the arms, what every replicate trains on, and what it is measured on."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field, model_validator

from siftlm.config import RunConfig, read_toml, validated
from siftlm.paths import ReadPath
from siftlm.proxies.training.settings import ModelShape, Optimisation
from siftlm.readers.settings import InputSettings
from siftlm.settings import Name, Settings

OWN = "selection"
"""The name of the arm that a configuration without arms has: its own selection."""
RANDOM = "random"
"""The name of the null that is drawn from all eligible documents."""
MATCHED = "like "
"""What the name of a null begins with that is drawn from the pool like an arm in sources and lengths."""


class ArmSettings(Settings):
    """Configures one selection of the comparison."""

    name: Name = Field(description="Name of the arm.")
    set: list[str] = Field(
        default_factory=list,
        description="What the arm changes in the configuration, as --set does: `select.rules.0.max=3`.",
    )
    run: ReadPath | None = Field(
        None, description="Folder of a finished run, whose kept documents are the arm's; its store must be there."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.run is not None and self.set:
            raise ValueError("set and run must not both be set: a finished run is as it is")
        return self


class ItemSettings(Settings):
    """Configures a benchmark whose right answers measure models: a file with an item a line."""

    name: Name = Field(description="Name of the benchmark, which is a domain like others.")
    path: ReadPath = Field(description="The items, .jsonl, .jsonl.gz, .jsonl.zst or .parquet.")
    context_field: str = Field("context", description="The field with what comes before an answer: the question.")
    choices_field: str = Field("choices", description="The field with the list of answers.")
    answer_field: str = Field("answer", description="The field with the number of the right answer, from 0.")
    items: int = Field(500, ge=2, description="Items at most, by a keyed draw.")


class SoupSettings(Settings):
    """Configures cheap predictions of the arms by averages of models of partitions (Na et al. 2024, arXiv 2410.15661).

    A model of each partition of the pool goes on from the model of the first random draw. The mean of their weights by
    the shares that a selection has of the partitions stands for a model of the selection.
    """

    by: list[Name] = Field(
        default_factory=lambda: ["source"],
        min_length=1,
        description="Columns whose values, or bins of whose numbers, divide the pool: source, language, a score.",
    )
    bins: int = Field(4, ge=2, le=64, description="Bins of a column of numbers, with the same bytes of text each.")
    most: int = Field(
        16, ge=2, le=1024, description="Partitions at most: the largest; all others are one, named `others`."
    )
    tokens: int = Field(100_000, ge=1000, description="Tokens that the model of every partition is trained on.")
    learning_rate: float = Field(1e-3, gt=0, description="Constant learning rate of the models of partitions.")
    mixtures: dict[Name, dict[str, float]] = Field(
        default_factory=dict,
        description="Mixtures that nobody trains a model of, by name: the share of each partition, in any unit.",
    )


class ProveSettings(Settings):
    """Configures how selections are compared by what small models learn from them."""

    arms: list[ArmSettings] = Field(
        default_factory=list, description="The selections; by default one, that of the configuration."
    )
    tokens: int = Field(400_000, ge=1000, description="Tokens that every model is trained on.")
    replicates: int = Field(
        3, ge=2, le=1000, description="Trainings of every arm and of its null, each with its own documents and seeds."
    )
    null_replicates: int = Field(3, ge=3, le=1000, description="Trainings of the random draw from all documents.")
    draw_share: float = Field(
        0.5, gt=0, le=1, description="Share of a selection that one replicate may draw: at 1 its replicates may share "
        "all of their documents, and the noise of the choice of documents is not seen."
    )  # fmt: skip
    max_epochs: float = Field(
        4.0, ge=1, description="Passes over the documents of a draw at most; where a selection has too few for "
        "`tokens`, all models are trained on fewer."
    )  # fmt: skip
    domains: dict[Name, list[Name]] = Field(
        default_factory=dict,
        description="Name of a domain -> the sources of [[input]] whose documents, the held-out share, measure the "
        "models; by default every source, or none where `held_out` or `items` are given.",
    )
    by: list[Name] = Field(
        default_factory=list,
        description="Columns whose values divide every domain of the corpus into domains of their own, a topic, a "
        "cluster or a language, where nobody labelled any; a column of numbers in four bins.",
    )
    most_domains: int = Field(
        8, ge=1, le=1024, description="Domains that `by` makes of one at most: those with the most held-out documents; "
        "the rest are one, named `others`."
    )  # fmt: skip
    held_out: list[InputSettings] = Field(
        default_factory=list, description="Documents that only measure models, a domain a table, by its `source`."
    )
    items: list[ItemSettings] = Field(default_factory=list, description="Benchmarks that measure models.")
    holdout: float = Field(
        0.1, gt=0, lt=1, description="Share of the documents of `domains` that no arm trains on, by a keyed draw."
    )
    documents: int = Field(300, ge=2, description="Held-out documents of a domain at most.")
    overlap: float = Field(
        0.2, gt=0, le=1, description="A held-out document is left out where this share of its word 13-grams stands in "
        "documents that any model was trained on."
    )  # fmt: skip
    marks: int = Field(5, ge=1, le=100, description="Points of training at which every model is measured.")
    level: float = Field(
        0.05, gt=0, lt=0.5, description="The chance that any verdict is wrong where no arm differs from its null."
    )
    noise: float | None = Field(
        None,
        gt=0,
        description="Bits per byte by which trainings on two draws of one selection differ, as a standard deviation, "
        "from an earlier proof: with it the smallest difference that the design sees is told before it starts.",
    )
    soups: SoupSettings | None = Field(
        None, description="Predictions of the arms, and of other mixtures, by averages of models of partitions."
    )
    model: ModelShape = Field(
        default_factory=lambda: ModelShape.model_validate({}), description="The shape of the models."
    )
    small: ModelShape | None = Field(
        None,
        description="Another shape that all arms are trained in, too: the result then says how often it orders two "
        "arms as `model` does (DataDecide, arXiv 2504.11393).",
    )
    training: Optimisation = Field(
        default_factory=lambda: Optimisation.model_validate({}), description="How the models are trained."
    )
    vocabulary: int = Field(2048, ge=300, le=1 << 20, description="Tokens of the vocabulary that all arms share.")
    tokenizer: str | None = Field(
        None, description="A tokenizer from outside, a folder, a tokenizer.json or a hub id; by default one is trained "
        "on a random draw of the pool."
    )  # fmt: skip

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names) or RANDOM in names:
            raise ValueError(f"names of arms must differ, and not be {RANDOM!r}, got {names}")
        domains = [*self.domains, *(s.source for s in self.held_out), *(s.name for s in self.items)]
        if twice := [name for name in domains if domains.count(name) > 1]:
            raise ValueError(f"domains, held_out and items must have different names, got {twice[0]!r} twice")
        return self


class ProofConfig(RunConfig):
    """Configures a run, of which `prove` compares selections."""

    prove: ProveSettings = Field(default_factory=lambda: ProveSettings.model_validate({}))

    @model_validator(mode="after")
    def _domains_are_sources(self) -> Self:
        sources = {settings.source for settings in self.input}
        for name, of_domain in self.prove.domains.items():
            if unknown := [source for source in of_domain if source not in sources]:
                raise ValueError(f"prove.domains.{name} must name sources of [[input]], got {unknown[0]!r}")
        return self

    def domains(self) -> dict[str, list[str]]:
        """Returns the sources of every domain that is cut from the corpus."""
        if self.prove.domains or self.prove.held_out or self.prove.items:
            return self.prove.domains
        return {settings.source: [settings.source] for settings in self.input}


@dataclass(frozen=True)
class ProofPlan:
    """Holds the configuration of a proof, and of every arm that selects by its own settings."""

    config: ProofConfig
    arms: dict[str, RunConfig | str]
    """Name of an arm -> its configuration, or the folder of its finished run."""


def load(path: str, overrides: list[str] | None = None) -> ProofPlan:
    """Returns the proof that a TOML file configures, with `key=value` overrides applied; raises UserError.

    The configuration of a plain run is taken, too: its selection is the only arm.
    """
    return proof_plan(read_toml(path), overrides or [], path)


def proof_plan(tree: dict[str, Any], overrides: list[str], place: str) -> ProofPlan:
    """Returns the proof that nested tables configure; raises UserError with a line for each mistake."""
    config = validated(ProofConfig, deepcopy(tree), overrides, place)
    plain = {key: table for key, table in tree.items() if key != "prove"}
    own = [override for override in overrides if not override.strip().startswith("prove.")]
    arms = config.prove.arms or [ArmSettings(name=OWN)]
    return ProofPlan(
        config,
        {
            arm.name: arm.run or validated(RunConfig, deepcopy(plain), [*own, *arm.set], f"{place}: arm {arm.name}")
            for arm in arms
        },
    )
