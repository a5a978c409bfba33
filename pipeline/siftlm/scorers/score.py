"""Defines language-model scores: computed in two steps, or from the nats and tokens of each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm.scorers.contract import DERIVED, LOW_IS_GOOD, NON_FINITE, NULL_TEXT, SUM_FIELDS
from siftlm.scorers.protocol import NamedSettings, Scorer
from siftlm.settings import End
from siftlm.statistics.text_sketch import TextSketch

TRAINED = "trained"
"""What names a model that the run's own [reference] table trains."""
TRAINED_NGRAMS = "model.bin"
"""The file of an n-gram model in the folder that such a run trains it into."""


class ScoreSettings(NamedSettings):
    """Configures a language model of any kind, whose scores the step `scores/<name>` stores."""

    table: ClassVar[str] = "score"

    @property
    def origin(self) -> str:
        """Returns the path or name of the model, for the manifest."""
        raise NotImplementedError(f"{self.kind} must say where its model is")

    @property
    def window(self) -> int:
        """Returns the largest number of documents that are scored together."""
        return 4096

    @property
    def runs_on(self) -> str:
        """Returns the name of the device that the model runs on, as the configuration has it."""
        return "cpu"

    @property
    def awaited(self) -> bool:
        """Tells whether the model is one that the run's [reference] table has yet to train."""
        return False

    @property
    def masks(self) -> Sequence[str]:
        """Returns the names of the masks of tokens that the score has."""
        return ()

    def trained(self, folder: str) -> ScoreSettings:
        """Returns the settings of the newly trained model in a folder."""
        raise NotImplementedError(f"{self.kind} awaits no model, got {folder}")

    def scorer(self) -> ScoreScorer:
        raise NotImplementedError(f"{self.kind} must have a scorer")

    def columns(self) -> list[pa.Field]:
        """Returns the columns that rules can name, stored and derived ones."""
        own = [*self.scorer().fields(), *(pa.field(name, pa.float64()) for name in DERIVED)]
        return [field.with_name(f"{self.name}_{field.name}") for field in own]

    def perplexities(self) -> Sequence[str]:
        """Returns the names of the perplexity columns, the most useful one first."""
        return (f"{self.name}_perplexity",)

    def charts(self) -> Sequence[str]:
        return *self.perplexities(), f"{self.name}_bits_per_byte"


class Pending(Protocol):
    """Holds the unfinished scores of a window of documents."""

    def finish(self) -> pa.RecordBatch:
        """Waits for the scores and returns their columns."""
        ...

    def cancel(self) -> None:
        """Cancels work whose result is no longer needed."""
        ...


class ScoreScorer(Scorer):
    """Scores documents in two steps, so that one window is tokenised while the model computes another.

    Its columns are those of `contract.SUM_FIELDS` and others. `SumScorer` has both parts for a component that
    gives nats and tokens in one go.
    """

    settings: ScoreSettings

    def metadata(self) -> dict[str, str]:
        """Returns what a reader must know to use or repeat the scores; loads the model."""
        return {}

    def trained_on(self) -> TextSketch | None:
        """Returns a sketch of the texts that the model was trained on, None where it says nothing of them."""
        return None

    def tokens_digest(self) -> str | None:
        """Returns a digest that is equal for scorers with the same tokens; None where tokens cannot be shared."""
        return None

    def advise(self, texts: pa.Array) -> list[str]:  # noqa: ARG002
        """Returns what would score such texts faster on this machine, a line each, after measuring it."""
        return []

    def tokenise(self, texts: pa.Array) -> Any:
        """Returns the tokens of the texts, the first step of `score`; the numbers of documents index the result."""
        raise NotImplementedError

    def begin(self, documents: Any) -> Pending:
        """Starts the second step of `score` on the tokens of documents.

        They come from `tokenise`, of this scorer or of one with the same `tokens_digest`.
        """
        raise NotImplementedError

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.begin(self.tokenise(batch["text"])).finish()


class SumScorer(ScoreScorer):
    """Computes a score from two numbers that a component gives: each text's nats and its tokens.

    A subclass has `sums`, and `digest` or, for a model in a file, the base `files.OneFile`.
    """

    settings: ScoreSettings

    def sums(self, texts: Sequence[str]) -> tuple[Sequence[float], Sequence[int]]:
        """Returns (nll_sum, token_count) of each text: its nats, and the number of tokens that were predicted."""
        raise NotImplementedError(f"{self.settings.kind} must give nats and tokens")

    def fields(self) -> list[pa.Field]:
        return list(SUM_FIELDS)

    def good_ends(self) -> dict[str, End]:
        return {f"{self.settings.name}_{column}": "lowest" for column in LOW_IS_GOOD if column != "nll_head"}

    def tokenise(self, texts: pa.Array) -> NDArray[np.object_]:
        return np.asarray(texts.to_numpy(zero_copy_only=False), np.object_)

    def begin(self, documents: NDArray[np.object_]) -> Done:
        """Returns the columns of SUM_FIELDS; a text that is null, or whose nats are not finite, is an error."""
        texts = pa.array(documents, pa.large_string())
        nats, counts = self.sums([text or "" for text in documents])
        return Done(pa.RecordBatch.from_pydict(sum_columns(texts, nats, counts), schema=pa.schema(self.fields())))


def sum_columns(texts: pa.Array, nats: Sequence[float], counts: Sequence[int]) -> dict[str, pa.Array]:
    """Returns the columns of SUM_FIELDS by name, from the nats and the number of tokens of each text."""
    of_texts = np.asarray(nats, np.float64)
    null = pc.is_null(texts).to_numpy(zero_copy_only=False)
    infinite = ~np.isfinite(of_texts)
    error = pc.if_else(pa.array(infinite), NON_FINITE, pa.scalar(None, pa.string()))
    tokens = pa.array(np.asarray(counts), pa.int64(), mask=null)
    return {
        "nll_sum": pa.array(of_texts, mask=null | infinite),
        "token_count": tokens,
        "byte_count": pc.cast(pc.binary_length(texts), pa.int64()),
        "error": pc.if_else(pa.array(null), NULL_TEXT, error),
        "scored_token_count": tokens,
    }


@dataclass(frozen=True)
class Done:
    """Holds scores that are already computed."""

    columns: pa.RecordBatch

    def finish(self) -> pa.RecordBatch:
        return self.columns

    def cancel(self) -> None:
        """Does nothing, for there is no work left to cancel."""
