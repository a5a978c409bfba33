"""Defines the settings of matrices, benchmarks, estimates and classifiers, without any slow import."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from siftlm.paths import ModelPlace, ReadPath
from siftlm.settings import Settings

EstimatorName = Literal["spearman", "sign_cdf", "sign_sign", "sign", "product", "concordant"]
TableLayout = Literal["auto", "rows_are_units", "rows_are_models", "long"]


class CleanSettings(Settings):
    """Configures what happens to each defect of a matrix; every defect is reported whatever the policy."""

    duplicate_models: Literal["keep_first", "keep_all", "stop"] = Field(
        "keep_first",
        description="Columns with the same values, or one model under two family names: keep the one "
        "whose name sorts first, keep all, or stop.",
    )
    duplicate_tolerance: float = Field(
        1e-6, ge=0, description="Largest relative difference between two columns that count as the same values."
    )
    missing: Literal["drop_units", "drop_models", "stop"] = Field(
        "drop_units",
        description="A missing, infinite or negative value costs its unit (as an inner join does), its "
        "model, or stops the run.",
    )
    most_missing: float = Field(
        0.2,
        ge=0,
        le=1,
        description="With drop_units, a model that misses more than this share of the units is dropped "
        "first, so that one broken model does not cost every unit.",
    )
    negative: Literal["missing", "keep", "stop"] = Field(
        "missing", description="Bits per byte below 0: treat as missing, keep, or stop."
    )
    constant: Literal["drop", "keep", "stop"] = Field(
        "drop", description="Models with one value for all units, and units with one value for all models."
    )


class MatrixSettings(Settings):
    """Configures how a matrix of bits per byte is read from a file."""

    path: ReadPath = Field(description="CSV or Parquet: units by models, models by units, or long.")
    layout: TableLayout = Field("auto", description="Auto takes long tables and a `model` column as such.")
    name_column: str | None = Field(
        None, description="The column that names the rows. Default: `model` or `unit`, else the first text column."
    )
    ignore: list[str] = Field(default_factory=list, description="Columns that are no values.")
    clean: CleanSettings = Field(default_factory=CleanSettings)


class BenchmarkSettings(Settings):
    """Configures how the benchmark errors of models are read from a file or folder."""

    path: ReadPath = Field(description="CSV, Parquet, or a folder of lm-evaluation-harness results_*.json.")
    layout: Literal["auto", "rows_are_benchmarks", "rows_are_models", "long"] = Field("auto")
    name_column: str | None = Field(None, description="The column that names the rows.")
    ignore: list[str] = Field(default_factory=list, description="Columns that are no benchmarks.")
    values: Literal["error", "accuracy"] = Field(
        "error", description="Of a table: errors and perplexities are used as they are, an accuracy a as 1 - a."
    )
    metrics: list[str] = Field(
        default_factory=lambda: ["acc", "exact_match", "f1", "bits_per_byte", "word_perplexity", "perplexity"],
        description="Of harness results: the first of these that a task reports, so put acc_norm first to "
        "prefer it, and perplexity first for LAMBADA as published.",
    )
    groups: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Name of a target -> benchmarks whose plain mean it is. Without any, every benchmark is "
        "a target of its own.",
    )


class CorrelateSettings(Settings):
    """Configures the estimates by unit, their bootstrap intervals, and the test on held-out models."""

    matrix: MatrixSettings
    benchmarks: BenchmarkSettings
    estimator: EstimatorName = Field(
        "spearman", description="Every estimator is large where low bits per byte go with low error."
    )
    resamples: int = Field(200, ge=0, description="Bootstrap resamples of the models; 0 leaves the intervals out.")
    level: float = Field(0.95, gt=0, lt=1, description="Of the bootstrap intervals, and of the gain over the baseline.")
    folds: int = Field(5, ge=2, description="Of the held-out prediction.")
    hold_out: Literal["models", "families"] = Field(
        "models",
        description="Whether a fold holds single models or whole families; checkpoints of one run are no "
        "independent models.",
    )
    top_share: float = Field(
        0.1, gt=0, le=1, description="The share of the units that the held-out test of the selection takes."
    )
    seed: int = Field(0, ge=0)
    fewest_models: int = Field(5, ge=3, description="Fewer models with both values stop the run.")


class SampleSettings(Settings):
    """Configures the text units of a matrix, and the sample of pages that represents each."""

    unit: Literal["domain", "page", "chunk", "source", "language"] = Field(
        "domain", description="What a column of the matrix is."
    )
    pages_per_domain: int | None = Field(
        None,
        ge=0,
        description="Exactly so many pages a domain (or source, or language), smaller ones are left out; 0 takes "
        "all pages. Default: 25 where the unit is a domain (arXiv 2409.05816), else all.",
    )
    most_pages: int | None = Field(None, gt=0, description="Of these, draw so many pages at most.")
    chunk_tokens: int | None = Field(
        None,
        gt=0,
        description="Cut pages into chunks of so many tokens, each scored by itself (512 and 256 in arXiv 2409.05816's "
        "published code); 512 where the unit is a chunk.",
    )
    tokenizer: ModelPlace | None = Field(
        None, description="Tokenizer of the chunks, a folder or a hub id; default that of the first model."
    )
    seed: int = Field(0, ge=0)

    @property
    def pages_per_group(self) -> int:
        """Returns how many pages are drawn of each domain (source, language); 0 for all of them."""
        if self.pages_per_domain is None:
            return 25 if self.unit == "domain" else 0
        return self.pages_per_domain

    @property
    def tokens_per_chunk(self) -> int | None:
        """Returns the number of tokens in a chunk; None where pages stay whole."""
        return 512 if self.unit == "chunk" and self.chunk_tokens is None else self.chunk_tokens


class TrainingSettings(Settings):
    """Configures the training of a fastText classifier that tells included from excluded pages."""

    labels: Literal["weight", "rank", "extremes", "given"] = Field(
        "weight",
        description="weight: included where the projected weight is > 0. rank: drawn with P = rank / "
        "(units - 1), `relabellings` times. extremes: the top score, or the best `extreme_share` where fewer have "
        "it, against as many pages from the lowest upward (PreSelect, arXiv 2503.00808). given: two corpora.",
    )
    extreme_share: float = Field(
        0.1, gt=0, le=0.5, description="With labels = extremes: the share of all pages that each side has."
    )
    fewest_a_side: int = Field(30, gt=0, description="With labels = extremes: fewer pages a side stop the command.")
    target: str | None = Field(None, description="The benchmark or group whose weights label the pages.")
    good: list[str] = Field(default_factory=list, description="With labels = given: the sources of included pages.")
    web: list[str] = Field(default_factory=list, description="With labels = given: the sources of excluded pages.")
    most_pages: int = Field(1_000_000, gt=0, description="Draw so many pages at most; they are held in memory.")
    relabellings: int = Field(20, gt=0, description="Draws of every page's label with labels = rank.")
    held_out: float = Field(0.05, gt=0, lt=1, description="Share of the pages that only test the model.")
    epoch: int = Field(5, gt=0, description="fastText's default; PreSelect takes 3.")
    learning_rate: float = Field(0.1, gt=0)
    word_ngrams: int = Field(2, gt=0, description="2 in both papers.")
    dim: int = Field(100, gt=0)
    min_count: int = Field(1, gt=0)
    bucket: int = Field(2_000_000, gt=0, description="Hashed n-grams; the model's size is about 4 * dim * bucket.")
    threads: int = Field(1, gt=0, description="Only with 1 is the model the same from run to run.")
    seed: int = Field(0, ge=0)
    words: int = Field(30, ge=0, description="Words a side in the report.")
    fewest_word_count: int = Field(5, gt=0, description="Rarer words are left out of the report.")
