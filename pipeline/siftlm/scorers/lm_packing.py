"""Windows over long documents, and rows of a fixed number of tokens packed with them. Arithmetic on lengths alone."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """A stretch `[start, stop)` of a document's tokens (its prefix token included) that one forward pass reads.

    It scores the tokens from `first_new`; what is before them is context. The last token is predicted, never read,
    so `stop - start - 1` tokens go through the model.
    """

    document: int
    start: int
    stop: int
    first_new: int

    @property
    def length(self) -> int:
        """Tokens that go through the model."""
        return self.stop - self.start - 1


def stride_tokens(stride: float | str, context: int) -> int:
    """The stride in tokens; at most `context - 1`, at which windows share one token and every token is predicted."""
    share = 1.0 if stride == "disjoint" else float(stride)
    return max(1, min(int(share * context), context - 1))


def windows(document: int, length: int, context: int, stride: int) -> Iterator[Window]:
    """The windows of a document of `length` tokens, as in the usual strided perplexity loop of transformers.

    Window k starts at `k * stride` and ends `context` tokens later or at the document's end; it scores what earlier
    windows have not. Every token but the first is scored exactly once, each after the first window with at least
    `context - stride` tokens before it.
    """
    scored = 1
    for start in range(0, length, stride):
        stop = min(start + context, length)
        if stop > scored:
            yield Window(document, start, stop, scored)
            scored = stop
        if stop == length:
            return


def aligned(length: int, alignment: int) -> int:
    """`length` rounded up."""
    return -(-length // alignment) * alignment


@dataclass(frozen=True)
class Packing:
    """How windows share rows.

    `alignment` makes lengths equal that are nearly so, so that one call attends to all of them. `fill_stretch` covers
    the rest of a row with documents of that many filler tokens, for kernels that leave undefined what no document
    covers; 0 leaves the rest alone.
    """

    row_tokens: int
    alignment: int
    max_documents: int
    fill_stretch: int

    def rows(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices into `lengths` by row: best fit in descending order, so equal lengths are neighbours in a row.

        `lengths` must be in descending order. One longer than a row has a row of its own.
        """
        rows: list[list[int]] = []
        free: list[tuple[int, int]] = []  # (tokens left, row), ascending
        for index, length in enumerate(lengths):
            size = aligned(length, self.alignment)
            fit = bisect_left(free, (size, -1))
            if fit == len(free):
                rows.append([index])
                left, row = self.row_tokens - size, len(rows) - 1
            else:
                left, row = free.pop(fit)
                left -= size
                rows[row].append(index)
            if left > 0 and len(rows[row]) < self.max_documents:
                insort(free, (left, row))
        return rows


@dataclass(frozen=True)
class Row:
    """A row of packed windows, ready for a model. T tokens, N documents at most, P predicted tokens."""

    tokens: np.ndarray  # int64 [T]
    positions: np.ndarray  # int64 [T], restarting at 0 in every window
    offsets: np.ndarray  # int32 [N + 1], the last value repeated
    read: np.ndarray  # int64 [P]: where in the row each predicted token's hidden state is
    targets: np.ndarray  # int64 [P], window by window


def build_row(stretches: Sequence[Window], documents: Sequence[np.ndarray], packing: Packing, fill: int) -> Row:
    """The row that holds these windows; `documents` are token arrays with their prefix.

    A row has `row_tokens` tokens, unless it is one long window, which has its own aligned length. What is left over
    holds `fill`. `offsets` has one length for all rows of `row_tokens`, so shapes never change.
    """
    sizes = [aligned(window.length, packing.alignment) for window in stretches]
    total = max(packing.row_tokens, sum(sizes))
    tokens, positions = np.full(total, fill, np.int64), np.zeros(total, np.int64)
    read, targets, bounds = [], [], [0]
    for window, size in zip(stretches, sizes, strict=True):
        at, ids = bounds[-1], documents[window.document]
        tokens[at : at + window.length] = ids[window.start : window.stop - 1]
        positions[at : at + size] = np.minimum(np.arange(size), window.length - 1)
        read.append(np.arange(at + window.first_new - 1 - window.start, at + window.length))
        targets.append(ids[window.first_new : window.stop])
        bounds.append(at + size)
    return Row(
        tokens, positions, _offsets(bounds, packing, total), np.concatenate(read),
        np.concatenate(targets).astype(np.int64),
    )  # fmt: skip


def _offsets(bounds: list[int], packing: Packing, total: int) -> np.ndarray:
    """`bounds`, the stretches of filler, then the last value repeated up to a fixed length."""
    stretch = packing.fill_stretch
    filler = [*range(bounds[-1] + stretch, total, stretch), total] if stretch and bounds[-1] < total else []
    covered = [*bounds, *filler]
    room = packing.max_documents + (-(-packing.row_tokens // stretch) if stretch else 0) + 1
    return np.array(covered + [covered[-1]] * (room - len(covered)), np.int32)
