"""Cuts long documents into windows and packs windows into rows, by lengths alone.

Shapes: D documents, W windows, T tokens of a row, N windows of a row, P predicted tokens.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ragged import within

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Holds the windows `[start, stop)` of tokens, each read by one forward pass, as int64 arrays `[W]`.

    Positions count in an array that holds all documents one after the other. A window scores the tokens from
    `first_new`; what is before them is context. Its last token is predicted, never read.
    """

    start: Ints
    stop: Ints
    first_new: Ints

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, indices: Ints | Sequence[int]) -> Windows:
        return Windows(self.start[indices], self.stop[indices], self.first_new[indices])

    @property
    def length(self) -> Ints:
        """Returns the number of tokens of each window that the model reads."""
        length: Ints = self.stop - self.start - 1
        return length


def stride_tokens(stride: float | str, context: int) -> int:
    """Returns the stride in tokens, at most `context - 1`, so that every token is predicted."""
    share = 1.0 if stride == "disjoint" else float(stride)
    return max(1, min(int(share * context), context - 1))


def windows(starts: Ints, lengths: Ints, context: int, stride: int) -> Windows:
    """Returns the windows of documents `[D]`, as in the usual strided perplexity loop of transformers.

    Window k of a document starts at `k * stride` and ends `context` tokens later or at the document's end; it scores
    what earlier windows have not. Every token but the first is scored exactly once, each after the first window with
    at least `context - stride` tokens before it.
    """
    counts = np.where(lengths > 1, 1 + -(-np.maximum(lengths - context, 0) // stride), 0)
    document = np.repeat(np.arange(len(starts)), counts)
    number = within(counts)
    start = starts[document] + number * stride
    stop = np.minimum(start + context, (starts + lengths)[document])
    return Windows(start, stop, np.where(number == 0, start + 1, start - stride + context))


def aligned(length: int, alignment: int) -> int:
    """Returns `length` rounded up to a multiple of `alignment`."""
    return -(-length // alignment) * alignment


@dataclass(frozen=True)
class Packing:
    """Configures how windows are packed into rows.

    `alignment` makes lengths equal that are nearly so, so that one call attends to all of them. `fill_stretch` covers
    the rest of a row with documents of that many filler tokens, for kernels that leave undefined what no document
    covers; 0 leaves the rest alone.
    """

    row_tokens: int
    alignment: int
    max_documents: int
    fill_stretch: int

    def rows(self, lengths: Sequence[int]) -> list[list[int]]:
        """Returns the indices into `lengths` of the windows of each row, packed by best fit.

        The longest window comes first, so equal lengths are neighbours in a row.
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
    """Holds a row of packed windows as arrays that a model reads."""

    tokens: Ints  # [T]
    positions: Ints  # [T], restarting at 0 in every window
    offsets: NDArray[np.int32]  # [N + 1], the last value repeated up to a fixed length
    read: Ints  # [P]: where in the row each predicted token's hidden state is
    places: Ints  # [P]: where the predicted tokens are among the tokens of all documents


def build_row(chosen: Windows, tokens: NDArray[np.int32], packing: Packing, fill: int) -> Row:
    """Returns the row that holds the chosen windows of `tokens`.

    A row has `row_tokens` tokens, unless it is one long window, which has its own aligned length. What is left over
    holds `fill`. `offsets` has one length for all rows of `row_tokens`, so shapes never change.
    """
    lengths = chosen.length
    sizes = -(-lengths // packing.alignment) * packing.alignment
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    total, filled = max(packing.row_tokens, int(bounds[-1])), int(bounds[-1])
    place = within(sizes)
    read = place < np.repeat(lengths, sizes)
    ids, positions = np.full(total, fill, np.int64), np.zeros(total, np.int64)
    ids[:filled][read] = tokens[(np.repeat(chosen.start, sizes) + place)[read]]
    positions[:filled] = np.minimum(place, np.repeat(lengths - 1, sizes))
    places = predicted(chosen)
    states = places + np.repeat(bounds[:-1] - chosen.start - 1, chosen.stop - chosen.first_new)
    return Row(ids, positions, _offsets(bounds.tolist(), packing, total), states, places)


def predicted(chosen: Windows) -> Ints:
    """Returns the positions of the tokens that these windows score, window by window."""
    counts = chosen.stop - chosen.first_new
    return np.repeat(chosen.first_new, counts) + within(counts)


def _offsets(bounds: list[int], packing: Packing, total: int) -> NDArray[np.int32]:
    """`bounds`, the stretches of filler, then the last value repeated up to a fixed length."""
    stretch = packing.fill_stretch
    filler = [*range(bounds[-1] + stretch, total, stretch), total] if stretch and bounds[-1] < total else []
    covered = [*bounds, *filler]
    room = packing.max_documents + (-(-packing.row_tokens // stretch) if stretch else 0) + 1
    return np.array(covered + [covered[-1]] * (room - len(covered)), np.int32)
