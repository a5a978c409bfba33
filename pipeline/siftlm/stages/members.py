"""Scores each document with the models that have not been trained on its fold, and averages copies of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from siftlm.scorers.score import ScoreScorer


@dataclass(frozen=True)
class TrainedModels:
    """Names the steps that train the models of one score: the copies of a fold together, fold after fold."""

    steps: tuple[str, ...]
    folds: int | None = None  # of the documents; None where one model, or its copies, score all of them

    @property
    def copies(self) -> int:
        """Returns how many models score a document."""
        return len(self.steps) // (self.folds or 1)


@dataclass(frozen=True)
class MembersPending:
    """Holds the tokens of a window's documents, by fold and by model; nothing is computed before `finish`.

    So one model works at a time, with all the threads that it may use.
    """

    schema: pa.Schema
    work: Sequence[tuple[NDArray[np.int64], Sequence[tuple[ScoreScorer, Any]]]]  # rows of a fold, its copies

    def finish(self) -> pa.RecordBatch:
        """Returns the score columns of all documents in their order, the mean over copies."""
        made = [
            averaged([scorer.begin(tokens).finish() for scorer, tokens in copies])
            for rows, copies in self.work
            if len(rows)
        ]
        if not made:
            return pa.RecordBatch.from_pylist([], self.schema)
        rows = np.concatenate([rows for rows, _ in self.work])
        (batch,) = pa.Table.from_batches(made).take(pa.array(np.argsort(rows))).combine_chunks().to_batches()
        return batch

    def cancel(self) -> None:
        """Does nothing, for nothing was begun."""


def averaged(copies: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Returns the mean of what several models say of the same documents.

    Numbers with a fraction are averaged, per token too. Of the others, the counts and flags of one tokenizer, the
    first model's stand. A document that one of them could not score has its error.
    """
    if len(copies) == 1:
        return copies[0]
    error = pc.coalesce(*(batch["error"] for batch in copies))
    columns = [error if field.name == "error" else _mean([b[field.name] for b in copies]) for field in copies[0].schema]
    return pa.RecordBatch.from_arrays(columns, schema=copies[0].schema)


def _mean(columns: Sequence[pa.Array]) -> pa.Array:
    of = columns[0].type
    null = np.logical_or.reduce([pc.is_null(column).to_numpy(zero_copy_only=False) for column in columns])
    if pa.types.is_floating(of):
        values = np.mean([column.to_numpy(zero_copy_only=False).astype(np.float64) for column in columns], axis=0)
        return pa.array(values, pa.float64(), mask=null).cast(of)
    if pa.types.is_list(of) and pa.types.is_floating(of.value_type):  # a value a token
        kept = [pc.if_else(pa.array(null), pa.scalar(None, of), column) for column in columns]
        counts = pc.fill_null(pc.list_value_length(kept[0]), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32(), mask=np.append(null, False))
        return pa.ListArray.from_arrays(offsets, _mean([column.flatten() for column in kept]), type=of)
    return columns[0]
