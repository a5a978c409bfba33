"""The columns of a score, and the rates derived from them: sums are stored, and divided once.

Per document and model: `nll_sum` (nats), `token_count` (predicted tokens), `byte_count` (UTF-8 bytes of the text that
was scored), `nll_head` (nats of the first HEAD_TOKENS predicted tokens), `truncated`, `error`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TOKEN_OUTPUTS = ("nll", "entropy", "el2n")
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
)
"""A row without an error has no null but `error`. A row with one has a null `nll_sum` and `nll_head`."""


def score_fields(per_token: Sequence[str] = ()) -> list[pa.Field]:
    """The columns of a score, then one `token_<name>` list column for each per-token output."""
    lists = [pa.field(f"token_{name}", pa.list_(pa.float32())) for name in per_token]
    return [*SCORE_FIELDS, *lists]


@dataclass
class DocumentScore:
    """What a row of a score is made from. `tokens` maps TOKEN_OUTPUTS to one float32 value a predicted token."""

    byte_count: int
    truncated: bool = False
    tokens: dict[str, np.ndarray] = field(default_factory=dict)
    error: str | None = None

    def row(self, per_token: Sequence[str]) -> dict[str, object]:
        """The row; its sums are taken in float64, in the order of the tokens."""
        empty = np.zeros(0, np.float32)
        nats = self.tokens.get("nll", empty).astype(np.float64)
        failed = self.error is not None
        columns: dict[str, object] = {
            "nll_sum": None if failed else float(nats.sum()),
            "token_count": None if self.error == NULL_TEXT else len(nats),
            "byte_count": None if self.error == NULL_TEXT else self.byte_count,
            "nll_head": None if failed else float(nats[:HEAD_TOKENS].sum()),
            "truncated": self.truncated,
            "error": self.error,
        }
        lists = {f"token_{name}": None if failed else self.tokens.get(name, empty) for name in per_token}
        return columns | lists


def score_batch(scores: Sequence[DocumentScore], per_token: Sequence[str] = ()) -> pa.RecordBatch:
    """The scores as a RecordBatch, in their order."""
    rows = [score.row(per_token) for score in scores]
    fields = score_fields(per_token)
    return pa.RecordBatch.from_arrays(
        [pa.array([row[f.name] for row in rows], f.type) for f in fields], schema=pa.schema(fields)
    )


def perplexity(nll_sum: pa.Array, token_count: pa.Array) -> pa.Array:
    """exp(nll_sum / token_count), null where no token was predicted; comparable under one tokenizer only."""
    return pc.exp(pc.divide(nll_sum, pc.cast(_positive(token_count), pa.float64())))


def bits_per_byte(nll_sum: pa.Array, byte_count: pa.Array) -> pa.Array:
    """nll_sum / (ln 2 * byte_count), null for an empty text; comparable across tokenizers."""
    return pc.divide(nll_sum, pc.multiply(pc.cast(_positive(byte_count), pa.float64()), log(2)))


def derived_columns(name: str, columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The score of model `name` as selection sees it: flat names, with perplexity and bits per byte.

    `columns` holds the score columns under their stored names (`nll_sum`, `token_count`, ...).
    """
    stored = {f"{name}_{f.name}": columns[f.name] for f in SCORE_FIELDS if f.name in columns}
    return stored | {
        f"{name}_perplexity": perplexity(columns["nll_sum"], columns["token_count"]),
        f"{name}_bits_per_byte": bits_per_byte(columns["nll_sum"], columns["byte_count"]),
    }


def _positive(counts: pa.Array) -> pa.Array:
    """The counts with null in the place of zero."""
    return pc.if_else(pc.greater(counts, 0), counts, pa.scalar(None, counts.type))
