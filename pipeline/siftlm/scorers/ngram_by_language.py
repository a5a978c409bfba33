"""Scores every document under the n-gram model of its language, and parts each language as CCNet does."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from siftlm.cutoffs import BUCKETS, HEAD_PERCENTILE, TAIL_PERCENTILE, cutoffs_between
from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.contract import LOW_IS_GOOD, SUM_FIELDS
from siftlm.scorers.files import changed
from siftlm.scorers.ngram_lm import NgramModelSettings, NgramScorer
from siftlm.scorers.ngram_units import Normaliser, Unit
from siftlm.scorers.per_document import PerDocumentSettings
from siftlm.scorers.score import ScoreScorer
from siftlm.settings import End
from siftlm.statistics.text_sketch import TextSketch
from siftlm.statistics.units import perplexity
from siftlm.store import digest

VERSION = 1
NO_CUTOFFS = "all"  # CCNet's bucket of documents without a perplexity, or in a language without cut-offs
BUCKET_VALUES = (*BUCKETS, NO_CUTOFFS)


class LanguageNgramSettings(PerDocumentSettings):
    """Scores each document by the n-gram model of its language, which a column names.

    Documents of other languages have no numbers, are no errors, and are counted by language. With a file of cut-offs
    the column `<name>_bucket` says what part of its language a document is in: head, middle or tail; `all` where its
    language has no cut-offs or it has no perplexity.
    """

    kind: Literal["ngram_by_language"] = "ngram_by_language"
    unchecked: ClassVar[str] = ""
    paper: ClassVar = "Wenzek et al. 2020 (arXiv 1911.00359)"
    needs: ClassVar = "an n-gram model a language"
    cost: ClassVar = "small model"
    example: ClassVar = {"name": "ccnet", "models": {"en": "model.arpa"}, "cutoffs": "cutoff.csv"}
    models: dict[str, ReadPath] = Field(
        min_length=1, description="The model of each language: ARPA, or a binary file as for an `ngram`."
    )
    by: str = Field(
        "language", min_length=1, description="The column that names a model: of `[annotate]`, a field, a joined table."
    )
    normalise: Normaliser = Field("none", description="What is done to a text first, as for an `ngram`.")
    unit: Unit = Field("words", description="The models' tokens: `words`, `bytes`, or `pieces`.")
    pieces: dict[str, ReadPath] = Field(
        default_factory=dict, description="The SentencePiece model of each language, for `unit = 'pieces'`."
    )
    cutoffs: ReadPath | None = Field(
        None, description="A file of perplexities in the form of CCNet's `cutoff.csv`: a row a percentile, a column a "
        "language."
    )  # fmt: skip
    head_percentile: int = Field(HEAD_PERCENTILE, ge=0, le=100, description="The row of the file where the head ends.")
    tail_percentile: int = Field(
        TAIL_PERCENTILE, ge=0, le=100, description="The row of the file where the tail begins."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> LanguageNgramSettings:
        wanted = set(self.models) if self.unit == "pieces" else set()
        if set(self.pieces) != wanted:
            told = "a SentencePiece model for each of models" if wanted else "nothing unless unit is 'pieces'"
            raise ValueError(f"pieces: must name {told}, got {', '.join(sorted(self.pieces)) or 'nothing'}")
        if self.head_percentile >= self.tail_percentile:
            raise ValueError(f"head_percentile must be below tail_percentile = {self.tail_percentile}")
        return self

    @property
    def origin(self) -> str:
        return ", ".join(f"{language}: {path}" for language, path in sorted(self.models.items()))

    @property
    def reads_column(self) -> str:
        return self.by

    @property
    def chosen_by_column(self) -> list[str]:
        return list(self.models)

    def scorer(self) -> LanguageNgramScorer:
        return LanguageNgramScorer(self)

    def of_language(self, language: str) -> NgramModelSettings:
        """Returns the settings of one language's model."""
        shared = self.model_dump(include={*PerDocumentSettings.model_fields, "normalise", "unit"} - {"kind"})
        paths = {"path": self.models[language], "pieces": self.pieces.get(language)}
        return NgramModelSettings.model_validate(shared | paths)


class _OfLanguage(NgramScorer):
    """Scores the documents of one language."""

    def __init__(self, settings: LanguageNgramSettings, language: str) -> None:
        super().__init__(settings.of_language(language))
        self._place = f"{settings.place}.models.{language}"

    def place(self) -> str:
        return self._place


class LanguageNgramScorer(ScoreScorer):
    """Scores a batch that has, beside the texts, the column by which models are chosen."""

    settings: LanguageNgramSettings

    def __init__(self, settings: LanguageNgramSettings) -> None:
        super().__init__(settings)
        self._of = {language: _OfLanguage(settings, language) for language in settings.models}

    def fields(self) -> list[pa.Field]:
        bucket = [pa.field("bucket", pa.string())] if self.settings.cutoffs else []
        return [*SUM_FIELDS, *self.settings.numbers.fields(), *bucket]

    def values(self) -> dict[str, list[str]]:
        return {f"{self.settings.name}_bucket": list(BUCKET_VALUES)} if self.settings.cutoffs else {}

    def good_ends(self) -> dict[str, End]:
        sums: dict[str, End] = {f"{self.settings.name}_{name}": "lowest" for name in LOW_IS_GOOD if name != "nll_head"}
        return sums | self.settings.number_ends()

    def reads(self) -> list[str]:
        files = [path for scorer in self._of.values() for path in scorer.reads()]
        return [*files, *([self.settings.cutoffs] if self.settings.cutoffs else [])]

    def digest(self) -> str:
        models = sorted((language, scorer.digest()) for language, scorer in self._of.items())
        return digest("ngram_by_language", VERSION, self.settings.by, models, sorted(self._cutoffs().items()))

    def load(self, digest: str) -> None:
        self.check()
        if self.digest() != digest:
            raise changed(self.reads()[0])

    def trained_on_each(self) -> dict[str, TextSketch]:
        found = ((language, scorer.trained_on()) for language, scorer in self._of.items())
        return {language: sketch for language, sketch in found if sketch is not None}

    def check(self) -> None:
        for scorer in self._of.values():
            scorer.check()
        self._cutoffs()

    def tokenise(self, texts: pa.Array) -> Any:  # noqa: ARG002
        chosen = self.settings
        raise UserError(f"{chosen.place}.by: must be a column beside the text, got {chosen.by!r} where texts are alone")

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the columns of `fields` for a batch with `text` and the column `by`; null without a model."""
        if self.settings.by not in batch.schema.names:
            self.tokenise(batch["text"])
        languages = pc.cast(batch[self.settings.by], pa.string())
        parts, places = list[pa.RecordBatch](), np.full(batch.num_rows, -1, np.int64)
        for language in sorted(self._of.keys() & set(languages.unique().to_pylist())):
            rows = np.flatnonzero(pc.equal(languages, language).fill_null(False).to_numpy(zero_copy_only=False))
            places[rows] = sum(part.num_rows for part in parts) + np.arange(len(rows))
            texts = pa.record_batch({"text": batch["text"].take(pa.array(rows))})
            parts.append(self._of[language].score(texts))
        schema = pa.schema([*SUM_FIELDS, *self.settings.numbers.fields()])
        found = pa.Table.from_batches(parts, schema).take(pa.array(places, mask=places < 0))
        columns = [column.combine_chunks() for column in found.columns]
        if self.settings.cutoffs:
            columns.append(self._buckets(languages, perplexity(found["nll_sum"], found["scored_token_count"])))
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(self.fields()))

    def _buckets(self, languages: pa.Array, perplexities: pa.ChunkedArray) -> pa.Array:
        """The part of its language that each document is in; a value at a cut-off is above it, as in CCNet."""
        cutoffs = self._cutoffs()
        bounds = [cutoffs.get(language) for language in languages.to_pylist()]
        pairs = zip(bounds, perplexities.to_pylist(), strict=True)
        return pa.array([NO_CUTOFFS if not of or value is None else _bucket(value, *of) for of, value in pairs])

    def _cutoffs(self) -> dict[str, tuple[float, float]]:
        """Where the head of each language ends, and where its tail begins."""
        chosen = self.settings
        if chosen.cutoffs is None:
            return {}
        place = f"{chosen.place}.cutoffs"
        try:
            cutoffs = cutoffs_between(chosen.cutoffs, chosen.head_percentile, chosen.tail_percentile)
        except ValueError as error:
            raise UserError(f"{place}: {str(error).removeprefix('path ')}") from None
        if cutoffs.keys().isdisjoint(chosen.models):
            told = f"{place}: must have cut-offs of a language of models, {', '.join(sorted(chosen.models))}"
            raise UserError(f"{told}; got {', '.join(sorted(cutoffs))} in {chosen.cutoffs}")
        return cutoffs


def _bucket(value: float, head: float, tail: float) -> str:
    return "head" if value < head else "middle" if value < tail else "tail"
