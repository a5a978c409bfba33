"""Defines the columns of a language-model score and the rates derived from them.

Per document and model: `nll_sum` (nats), `token_count` (tokens of the whole text, what budgets count), `byte_count`
(UTF-8 bytes of the text that was scored), `nll_head` (nats of the first HEAD_TOKENS predicted tokens), `truncated`,
`error`, `scored_token_count` (predicted tokens: fewer than `token_count` where the text is cut at `max_tokens`). Rates
are over what was scored, as are the numbers that `per_document` adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm.scorers.token_numbers import TOKEN_VALUES, DocumentNumbers
from siftlm.statistics.units import bits_per_byte, perplexity
from siftlm_kernels.ragged import within

TOKEN_OUTPUTS = tuple(TOKEN_VALUES)
NO_NUMBERS = DocumentNumbers()
LOW_IS_GOOD = ("nll_sum", "nll_head", "perplexity", "bits_per_byte")  # of what is derived too
HEAD_TOKENS = 32  # tokens 0-31 cost 10.8 to 3.6 nats, later ones 2.3 (SmolLM2-135M): the length confound sits here
NON_FINITE = "non_finite_nll"
NULL_TEXT = "null_text"

SCORE_FIELDS: tuple[pa.Field, ...] = (
    pa.field("nll_sum", pa.float64()),
    pa.field("token_count", pa.int64()),
    pa.field("byte_count", pa.int64()),
    pa.field("nll_head", pa.float64()),
    pa.field("truncated", pa.bool_()),
    pa.field("error", pa.string()),
    pa.field("scored_token_count", pa.int64()),
)
"""A row without an error has no null but `error`. A row with one has a null `nll_sum` and `nll_head`."""

SUM_FIELDS = tuple(f for f in SCORE_FIELDS if f.name not in ("nll_head", "truncated"))
"""The columns that every score has. A component that gives nats and tokens of whole texts has no other."""


def score_fields(per_token: Sequence[str] = (), numbers: DocumentNumbers = NO_NUMBERS) -> list[pa.Field]:
    """Returns the columns of a score, its numbers, then one `token_<name>` list column for each per-token output."""
    lists = [pa.field(f"token_{name}", pa.list_(pa.float32())) for name in per_token]
    return [*SCORE_FIELDS, *numbers.fields(), *lists]


@dataclass(frozen=True)
class TokenisedDocuments:
    """Holds the tokens of N documents in one array of T tokens, with a prefix token before each text.

    A document's first token is read, the others are predicted.
    """

    tokens: NDArray[np.int32]  # [T]
    offsets: NDArray[np.int64]  # [N + 1]
    token_count: NDArray[np.int64]  # [N], predicted tokens if nothing were cut
    byte_count: NDArray[np.int64]  # [N], UTF-8 bytes of the text that is scored
    truncated: NDArray[np.bool_]  # [N]
    null: NDArray[np.bool_]  # [N]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Returns the number of tokens of each document."""
        return np.diff(self.offsets)

    def __getitem__(self, documents: NDArray[np.int64]) -> TokenisedDocuments:
        """These documents alone, in this order."""
        if len(documents) == len(self.null):  # indices ascend: all of them
            return self
        spans = zip(self.offsets[documents].tolist(), self.offsets[documents + 1].tolist(), strict=True)
        tokens = [self.tokens[:0], *(self.tokens[start:stop] for start, stop in spans)]
        offsets = np.concatenate([[0], np.cumsum(self.lengths[documents])])
        rows: list[NDArray[Any]] = [
            column[documents] for column in (self.token_count, self.byte_count, self.truncated, self.null)
        ]
        return TokenisedDocuments(np.concatenate(tokens), offsets, *rows)


def score_batch(
    documents: TokenisedDocuments,
    columns: Mapping[str, NDArray[np.float32]],
    per_token: Sequence[str] = (),
    numbers: DocumentNumbers = NO_NUMBERS,
) -> pa.RecordBatch:
    """Returns the score columns of every document, in order, computed from per-token values.

    These are float32 `[T]` columns of TOKEN_OUTPUTS over the documents' tokens.
    What stands at a document's first token is not read. Sums are taken in float64. A document whose nats are not
    finite is an error. `numbers` are null there, and for a document without tokens.
    """
    starts, stops = np.minimum(documents.offsets[:-1] + 1, documents.offsets[1:]), documents.offsets[1:]
    nats = np.append(columns["nll"].astype(np.float64), 0.0)  # so that every span begins inside
    nll_sum = _span_sums(nats, starts, stops)
    infinite = ~np.isfinite(nll_sum)
    failed = documents.null | infinite
    error = pc.if_else(pa.array(infinite), NON_FINITE, pa.scalar(None, pa.string()))
    error = pc.if_else(pa.array(documents.null), NULL_TEXT, error)
    arrays = [
        pa.array(nll_sum, mask=failed),
        pa.array(documents.token_count, mask=documents.null),
        pa.array(documents.byte_count, mask=documents.null),
        pa.array(_span_sums(nats, starts, np.minimum(starts + HEAD_TOKENS, stops)), mask=failed),
        pa.array(documents.truncated),
        error,
        pa.array(stops - starts, mask=documents.null),
        *numbers.columns(columns, starts, stops, failed),
        *(_token_lists(columns[name], starts, stops, failed) for name in per_token),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(score_fields(per_token, numbers)))


def _span_sums(values: NDArray[np.float64], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of values[start:stop] for every span; the last value is in none."""
    sums = np.zeros(len(starts))
    filled = stops > starts
    if filled.any():
        edges = np.stack([starts[filled], stops[filled]], 1).ravel()
        sums[filled] = np.add.reduceat(values, edges)[::2]
    return sums


def _token_lists(
    values: NDArray[np.float32], starts: NDArray[np.int64], stops: NDArray[np.int64], null: NDArray[np.bool_]
) -> pa.Array:
    """values[start:stop] of every span, null where `null`."""
    counts = np.where(null, 0, stops - starts)
    inside = np.repeat(starts, counts) + within(counts)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32(), mask=np.append(null, False))
    return pa.ListArray.from_arrays(offsets, pa.array(values[inside]), type=pa.list_(pa.float32()))


DERIVED: dict[str, tuple[Callable[[pa.Array, pa.Array], pa.Array], tuple[str, str]]] = {
    "perplexity": (perplexity, ("nll_sum", "scored_token_count")),
    "bits_per_byte": (bits_per_byte, ("nll_sum", "byte_count")),
}
"""Columns that are not stored: how each is computed, and from which stored ones."""


def with_derived(scored: pa.RecordBatch) -> dict[str, pa.Array]:
    """Returns the columns of a score by name, with the derived rates."""
    columns = dict(zip(scored.schema.names, scored.columns, strict=True))
    return columns | {name: derive(*(columns[s] for s in sources)) for name, (derive, sources) in DERIVED.items()}
