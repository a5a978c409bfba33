"""Defines a score, in two parts or from nats and tokens alone."""

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


class ScoreSettings(NamedSettings):
    """Configures a language model of any kind, whose scores the step `scores/<name>` stores."""

    table: ClassVar[str] = "score"

    @property
    def origin(self) -> str:
        """Returns where the model is, for the manifest."""
        raise NotImplementedError(f"{self.kind} must say where its model is")

    @property
    def window(self) -> int:
        """Returns how many documents are scored together at most."""
        return 4096

    @property
    def awaited(self) -> bool:
        """Tells whether the run's own [reference] table has yet to train the model."""
        return False

    def trained(self, folder: str) -> ScoreSettings:
        """Returns the settings with the folder of the model that was awaited."""
        raise NotImplementedError(f"{self.kind} awaits no model, got {folder}")

    def scorer(self) -> ScoreScorer:
        raise NotImplementedError(f"{self.kind} must have a scorer")

    def columns(self) -> list[pa.Field]:
        """Returns the columns that rules can name, those that are derived from stored ones too."""
        own = [*self.scorer().fields(), *(pa.field(name, pa.float64()) for name in DERIVED)]
        return [field.with_name(f"{self.name}_{field.name}") for field in own]

    def perplexities(self) -> Sequence[str]:
        """Returns the columns that are perplexities, the one to look at first before the others."""
        return (f"{self.name}_perplexity",)

    def charts(self) -> Sequence[str]:
        return *self.perplexities(), f"{self.name}_bits_per_byte"


class Pending(Protocol):
    """Holds scores of a window of documents that are on their way."""

    def finish(self) -> pa.RecordBatch:
        """Waits for the columns."""
        ...

    def cancel(self) -> None:
        """Gives up what nobody waits for any more."""
        ...


class ScoreScorer(Scorer):
    """Scores documents in two parts, so that one window is tokenised while another is in the model.

    Its columns are those of `contract.SUM_FIELDS` and others. `SumScorer` has both parts for a component that
    gives nats and tokens in one go.
    """

    def metadata(self) -> dict[str, str]:
        """What a reader must know to use or repeat the scores; loads the model."""
        return {}

    def tokens_digest(self) -> str | None:
        """Equal for scorers that can share what `tokenise` gives; None for one that shares it with no other."""
        return None

    def tokenise(self, texts: pa.Array) -> Any:
        """The first part of `score`; what comes out can be indexed by the numbers of documents."""
        raise NotImplementedError

    def begin(self, documents: Any) -> Pending:
        """The second part, over what `tokenise` gave here or in a scorer of the same `tokens_digest`."""
        raise NotImplementedError

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.begin(self.tokenise(batch["text"])).finish()


class SumScorer(ScoreScorer):
    """Makes a score of two numbers that a component gives: a text's nats and its tokens.

    A subclass has `sums`, and `digest` or, for a model in a file, the base `files.OneFile`.
    """

    settings: ScoreSettings

    def sums(self, texts: Sequence[str]) -> tuple[Sequence[float], Sequence[int]]:
        """Gives (nll_sum, token_count) of every text: nats, and the number of tokens that were predicted."""
        raise NotImplementedError(f"{self.settings.kind} must give nats and tokens")

    def fields(self) -> list[pa.Field]:
        return list(SUM_FIELDS)

    def good_ends(self) -> dict[str, End]:
        return {f"{self.settings.name}_{column}": "lowest" for column in LOW_IS_GOOD if column != "nll_head"}

    def tokenise(self, texts: pa.Array) -> NDArray[np.object_]:
        return np.asarray(texts.to_numpy(zero_copy_only=False), np.object_)

    def begin(self, documents: NDArray[np.object_]) -> Done:
        """The columns of SUM_FIELDS; a text that is null, or whose nats are not finite, is an error."""
        texts = pa.array(documents, pa.large_string())
        nats, counts = (np.asarray(sums) for sums in self.sums([text or "" for text in documents]))
        null = pc.is_null(texts).to_numpy(zero_copy_only=False)
        infinite = ~np.isfinite(nats.astype(np.float64))
        error = pc.if_else(pa.array(infinite), NON_FINITE, pa.scalar(None, pa.string()))
        tokens = pa.array(counts, pa.int64(), mask=null)
        columns = {
            "nll_sum": pa.array(nats, pa.float64(), mask=null | infinite),
            "token_count": tokens,
            "byte_count": pc.cast(pc.binary_length(texts), pa.int64()),
            "error": pc.if_else(pa.array(null), NULL_TEXT, error),
            "scored_token_count": tokens,
        }
        return Done(pa.RecordBatch.from_pydict(columns, schema=pa.schema(self.fields())))


@dataclass(frozen=True)
class Done:
    """Holds scores that are there already."""

    columns: pa.RecordBatch

    def finish(self) -> pa.RecordBatch:
        return self.columns

    def cancel(self) -> None:
        """There is nothing left to give up."""
