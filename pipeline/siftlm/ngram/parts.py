"""Counts the n-grams of a part of the vocabulary: all whose word before the last is in it.

The n-grams of a context, those that go on to the left of one, and the one without its first word all lie in one part,
so a part needs no other. What parts have in common, counts of words and of counts, adds up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siftlm.errors import UserError
from siftlm.ngram.tokens import Ids
from siftlm_kernels import ngram_levels_kernel as kernel
from siftlm_kernels.mapped import mapped
from siftlm_kernels.ngram_count_kernel import BEGIN, rows_of

ROW_BYTES = 100  # of memory for an n-gram, at most: sorted rows, or two orders and their contexts
Places = NDArray[np.int64]


def part_numbers(contexts: Places, rows: int) -> NDArray[np.uint16]:
    """Returns the part of each id: neighbours go together up to `rows` n-grams, so that parts follow the ids."""
    parts, number, held = np.zeros(len(contexts), np.uint16), 0, 0
    least = max(rows, int(contexts.sum()) // 60_000)
    for identity, count in enumerate(contexts.tolist()):
        if held and held + count > least:
            number, held = number + 1, 0
        parts[identity], held = number, held + count
    return parts


@dataclass(frozen=True)
class SplitTask:
    """Says which file of ids becomes rows of n-grams, sorted by part."""

    path: str
    mapping: Ids
    order: int
    parts_path: str


def split(task: SplitTask) -> Places:
    """Writes the n-grams of a block by part beside its ids, which go; returns where those of each part begin."""
    parts = np.load(task.parts_path)
    tokens = task.mapping[np.fromfile(task.path, np.uint32)]
    starts, rows = np.zeros(int(parts.max()) + 2, np.int64), np.empty((len(tokens), task.order + 1), np.uint32)
    rows_of(tokens, task.order, parts, starts, rows)
    rows.tofile(f"{task.path}.rows")
    os.remove(task.path)
    return starts


@dataclass(frozen=True)
class PartTask:
    """Says which rows of which files are those of a part."""

    number: int
    order: int
    sections: tuple[tuple[str, int, int], ...]  # (path, first row, end)
    folder: str
    most_rows: int  # that fit in memory

    def path(self, order: int, name: str) -> str:
        """Returns where an array of one order of the part is kept."""
        return f"{self.folder}/{self.number}.{order}.{name}.npy"


@dataclass(frozen=True)
class PartCounts:
    """Holds what a part adds to the counts of the whole text.

    Attributes:
        tallies: For each order from 2 on how many n-grams there are, and how many have the counts 1 to 4.
        words: The ids that are last words of bigrams, and how many of them: their adjusted counts.
        last: The n-gram that is last in suffix order, backwards.
        corrections: (raw count, adjusted count) of the ends of `last`, for each order from 2 on; None where it
            begins a sentence and is no n-gram.
    """

    tallies: NDArray[np.int64]
    words: tuple[Ids, NDArray[np.int64]]
    last: tuple[int, ...]
    corrections: tuple[tuple[int, int] | None, ...]


def count_part(task: PartTask) -> PartCounts:
    """Counts the n-grams of all orders from 2 on in a part, and keeps them in files."""
    rows = _sorted_rows(task)
    tallies = np.zeros((task.order + 1, 5), np.int64)
    at = int(kernel.last_row(rows))
    last = (int(rows[at, -2]), *(int(word) for word in rows[at, : task.order - 1]))
    raw = np.zeros(task.order + 1, np.int64)
    kernel.shared_counts(rows, at, raw)
    level = _highest(rows)
    corrections: list[tuple[int, int] | None] = []
    for order in range(task.order, 1, -1):
        kernel.tally(level.starts, level.counts, level.padded, tallies[order])
        if order < task.order:
            usual = order < 3 or last[order - 1] != BEGIN or last[order - 2] != BEGIN
            corrections.append((int(raw[order]), int(level.counts[at])) if usual else None)
        lower, links = (None, None) if order == 2 else _lower(level, order - 1)
        _keep(task, order, level, links)
        if lower is not None and links is not None:
            at, level = int(links[at]), lower
    words = np.unique(level.words, return_counts=True)
    return PartCounts(tallies, words, last, (None, *reversed(corrections)))


@dataclass(frozen=True)
class Level:
    """Holds the n-grams of one order in a part, by context.

    Attributes:
        contexts: The words of each context, backwards. Shape [contexts, order - 1].
        starts: Where the n-grams of each begin. Shape [contexts + 1].
        padded: Which contexts begin with two beginnings of a sentence.
        depths: How many words each has in common with the one before.
        words: The last word of each n-gram. Shape [n-grams].
        counts: Its adjusted count.
        extends: Whether a longer n-gram of the model ends with it.
    """

    contexts: Ids
    starts: Places
    padded: NDArray[np.bool_]
    depths: Places
    words: Ids
    counts: Ids
    extends: NDArray[np.bool_]


def _highest(rows: Ids) -> Level:
    starts, depths = np.empty(len(rows) + 1, np.int64), np.empty(len(rows) + 1, np.int64)
    count = int(kernel.contexts_of(rows, starts, depths))
    contexts = rows[starts[:count], :-2]
    extends = np.zeros(len(rows), np.bool_)
    words, counts = np.ascontiguousarray(rows[:, -2]), np.ascontiguousarray(rows[:, -1])
    return Level(contexts, starts[: count + 1].copy(), _padded(contexts), depths[:count].copy(), words, counts, extends)


def _padded(contexts: Ids) -> NDArray[np.bool_]:
    if contexts.shape[1] < 2:
        return np.zeros(len(contexts), np.bool_)
    return np.asarray((contexts[:, -1] == BEGIN) & (contexts[:, -2] == BEGIN))


def _lower(level: Level, order: int) -> tuple[Level, Ids]:
    grams, contexts = len(level.words), len(level.contexts)
    out = (
        np.empty(contexts + 1, np.int64), np.empty(grams, np.uint32), np.empty(grams, np.uint32),
        np.empty(grams, np.bool_), np.empty(contexts, np.int64), np.empty(contexts, np.int64),
    )  # fmt: skip
    links = np.empty(grams, np.uint32)
    found = level.starts, level.words, level.counts, level.padded, level.depths
    contexts, grams = kernel.lower_order(*found, order, out, links)
    starts, words, counts, extends, depths, firsts = out
    above = level.contexts[firsts[:contexts], : order - 1]
    kept = words[:grams].copy(), counts[:grams].copy(), extends[:grams].copy()
    return Level(above, starts[: contexts + 1].copy(), _padded(above), depths[:contexts].copy(), *kept), links


def _keep(task: PartTask, order: int, level: Level, links: Ids | None) -> None:
    named: dict[str, Any] = {
        "contexts": level.contexts, "starts": level.starts, "padded": level.padded, "words": level.words,
        "counts": level.counts, "extends": level.extends, "links": np.empty(0, np.uint32) if links is None else links,
    }  # fmt: skip
    for name, array in named.items():
        np.save(task.path(order, name), array)


def _sorted_rows(task: PartTask) -> Ids:
    """The different n-grams of a part in their order, with how often each occurs in the last column."""
    total = sum(end - start for _, start, end in task.sections)
    room = _Rows(min(total, task.most_rows), task)
    for path, start, end in task.sections:
        with open(path, "rb") as stream:
            stream.seek(start * room.row_bytes)
            room.add(np.fromfile(stream, np.uint32, (end - start) * (task.order + 1)).reshape(-1, task.order + 1))
    return room.sorted()


class _Rows:
    """Collects rows; whenever they are as many as there is room for, equal ones become one."""

    def __init__(self, capacity: int, task: PartTask) -> None:
        self._task, self.row_bytes = task, 4 * (task.order + 1)
        self._rows, self._spare, self._count = self._new(capacity, "rows"), self._new(capacity, "spare"), 0

    def _new(self, capacity: int, name: str) -> Ids:
        """An array in memory, or beyond what there is room for in a file."""
        shape = (capacity, self._task.order + 1)
        if capacity <= self._task.most_rows:
            return np.empty(shape, np.uint32)
        return mapped(f"{self._task.folder}/{self._task.number}.{capacity}.{name}", shape)

    def add(self, rows: Ids) -> None:
        if self._count + len(rows) > len(self._rows):
            self._merge()
            if 2 * (self._count + len(rows)) > len(self._rows):
                self._grow(3 * (self._count + len(rows)))
        self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def _grow(self, capacity: int) -> None:
        rows = self._new(capacity, "rows")
        rows[: self._count] = self._rows[: self._count]
        self._rows, self._spare = rows, self._new(capacity, "spare")

    def _merge(self) -> None:
        if self._count and kernel.sort_rows(self._rows[: self._count], self._spare[: self._count]):
            self._rows, self._spare = self._spare, self._rows
        self._count = int(kernel.collapse(self._rows[: self._count]))
        if self._count < 0:
            raise UserError("train-ngram: an n-gram must occur less than 2**32 times, got one that occurs more often")

    def sorted(self) -> Ids:
        self._merge()
        return self._rows[: self._count]


def part_tasks(paths: Sequence[str], starts: Sequence[Places], order: int, folder: str, rows: int) -> list[PartTask]:
    """Returns a task for each part, of what all blocks have of it."""
    counts = len(starts[0]) - 1
    sections = [
        tuple(
            (f"{path}.rows", int(of[k]), int(of[k + 1]))
            for path, of in zip(paths, starts, strict=True)
            if of[k] < of[k + 1]
        )
        for k in range(counts)
    ]
    return [PartTask(k, order, found, folder, rows) for k, found in enumerate(sections) if found]
