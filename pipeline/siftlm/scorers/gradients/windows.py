"""Cuts documents into windows, and windows into batches whose shape depends on no neighbour.

Shapes: N documents, W windows, B rows of a batch, L tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from siftlm.scorers.lm_forward import padded_length
from siftlm.scorers.lm_packing import windows
from siftlm.scorers.lm_tokens import TokenIds

Ints = NDArray[np.int64]

TRIAL_TOKENS = (11, 5)  # of the documents by which a model is tried


@dataclass(frozen=True)
class Tokens:
    """Holds the tokens of N texts, the one before each included.

    Attributes:
        ids: What the model reads and predicts; a window's first token is never predicted.
        truncated: bool[N], which texts are longer than what is read of them.
    """

    ids: TokenIds
    truncated: NDArray[np.bool_]

    @property
    def predicted(self) -> Ints:
        """Returns how many tokens of each text are predicted, [N]."""
        return np.asarray(np.maximum(np.diff(self.ids.offsets) - 1, 0))

    @classmethod
    def of(cls, ids: TokenIds, most: int | None) -> Tokens:
        """Returns tokens, of each text the first `most` at most."""
        if most is None:
            return cls(ids, np.zeros(len(ids.offsets) - 1, np.bool_))
        return cls(ids.cut(most), np.diff(ids.offsets) > most)


@dataclass(frozen=True)
class Batch:
    """Holds windows that go through the model together, padded on the right.

    Attributes:
        ids: int64[B, L], what is read; rows and places that no window fills hold `fill`.
        targets: int64[B, L], what is predicted.
        weights: float32[B, L], 1 over the predicted tokens of the whole document, 0 where nothing is predicted.
    """

    ids: Ints
    targets: Ints
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Work:
    """Holds documents of one window each that share a batch, or one document of several windows.

    Attributes:
        documents: Their numbers.
        spans: (start, stop) among all tokens of each window, its first token read and its last one predicted.
        shape: Rows and tokens of a batch.
    """

    documents: list[int]
    spans: list[tuple[int, int]]
    shape: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Tells whether each window is a document."""
        return len(self.documents) == len(self.spans)


def plan(tokens: Tokens, context: int, batch_tokens: int) -> Iterator[Work]:
    """Yields the work that is to be done for all texts of which a token is predicted, long documents last.

    Args:
        tokens: The texts.
        context: Tokens that the model reads of a window at most.
        batch_tokens: Tokens of a batch at most, unless one window has more.
    """
    offsets, lengths = tokens.ids.offsets, np.diff(tokens.ids.offsets)
    short = np.flatnonzero((lengths > 1) & (lengths <= context + 1))
    padded = {number: min(padded_length(int(lengths[number]) - 1), context) for number in short.tolist()}
    order = sorted(padded, key=lambda number: (padded[number], number))
    for length, same in groupby(order, key=padded.__getitem__):
        alike, rows = list(same), max(1, batch_tokens // length)
        for start in range(0, len(alike), rows):
            chosen = alike[start : start + rows]
            yield Work(chosen, [(int(offsets[n]), int(offsets[n + 1])) for n in chosen], (rows, length))
    for number in np.flatnonzero(lengths > context + 1).tolist():
        cut = windows(offsets[number : number + 1], lengths[number : number + 1], context + 1, context)
        spans = list(zip(cut.start.tolist(), cut.stop.tolist(), strict=True))
        yield Work([number], spans, (1, context))


def batches(work: Work, tokens: Tokens, fill: int) -> Iterator[Batch]:
    """Yields the batch of documents that share one, or a batch for every window of a long one."""
    counts = tokens.predicted[work.documents].tolist()
    if work.whole:
        yield _batch(work.spans, counts, work.shape, tokens, fill)
        return
    for span in work.spans:
        yield _batch([span], counts, work.shape, tokens, fill)


def _batch(spans: list[tuple[int, int]], counts: list[int], shape: tuple[int, int], tokens: Tokens, fill: int) -> Batch:
    ids, targets = np.full(shape, fill, np.int64), np.full(shape, fill, np.int64)
    weights = np.zeros(shape, np.float32)
    for row, ((start, stop), count) in enumerate(zip(spans, counts, strict=True)):
        read = stop - start - 1
        ids[row, :read] = tokens.ids.ids[start : stop - 1]
        targets[row, :read] = tokens.ids.ids[start + 1 : stop]
        weights[row, :read] = 1.0 / count
    return Batch(ids, targets, weights)


def trial_batch(context: int, vocabulary: int) -> Batch:
    """Returns two short documents of different lengths, of tokens that are drawn with a fixed seed."""
    lengths = [min(length, context + 1) for length in TRIAL_TOKENS]
    ids = np.random.default_rng(0).integers(0, vocabulary, sum(lengths))
    tokens = Tokens.of(TokenIds.of(ids, lengths), None)
    bounds = tokens.ids.offsets.tolist()
    spans = list(pairwise(bounds))
    return _batch(spans, [length - 1 for length in lengths], (2, max(lengths) - 1), tokens, 0)
