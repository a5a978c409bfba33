"""Computes the probabilities of a part's n-grams, and puts those of all parts into the hash tables of a model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from siftlm.ngram.discounts import Floats, Smoothing
from siftlm.ngram.parts import PartTask
from siftlm.ngram.tokens import Ids
from siftlm_kernels import ngram_levels_kernel as kernel
from siftlm_kernels.ngram_hash_kernel import insert_all, ranges, set_second
from siftlm_kernels.ngram_probing import NO_BACKOFF, ModelLayout

RANGE_BYTES = 16 << 20  # of a table, which a processor's cache holds


@dataclass(frozen=True)
class PartSums:
    """Says where what is computed of a part goes, and from what."""

    part: PartTask
    smoothing_path: str  # of the unigrams
    discounts: Floats
    buckets: tuple[int, ...]  # of the table of each order, from 2 on


def range_size(width: int) -> int:
    """Returns the buckets of a range of a table whose entries have `width` uint32."""
    return RANGE_BYTES // (4 * width)


def log10_bits(probability: NDArray[np.float32]) -> Ids:
    """Returns log10 of float32 numbers, 0 at most, as the bits of float32."""
    with np.errstate(divide="ignore"):
        logs = np.minimum(np.log10(probability), np.float32(0))
    return logs.astype(np.float32).view(np.uint32)


def compute_part(task: PartSums) -> None:
    """Computes the probabilities and backoff weights of a part, and keeps them by ranges of their tables."""
    lower: NDArray[np.float32] = np.load(task.smoothing_path)
    for order in range(2, task.part.order + 1):
        read = {name: np.load(task.part.path(order, name)) for name in ("starts", "words", "counts", "padded")}
        values, gammas = np.empty(len(read["words"]), np.float32), np.empty(len(read["starts"]) - 1, np.float32)
        below = np.load(task.part.path(order, "links"))
        kernel.probabilities(
            read["starts"], read["words"], read["counts"], below, lower, task.discounts[order - 1], values, gammas
        )
        _write(task, order, read, values, gammas)
        lower = values


def _write(task: PartSums, order: int, read: dict[str, NDArray], values: NDArray, gammas: NDArray) -> None:  # type: ignore[type-arg]
    contexts, extends = np.load(task.part.path(order, "contexts")), np.load(task.part.path(order, "extends"))
    bits = log10_bits(values)
    np.save(task.part.path(order, "logs"), bits)
    keys, firsts, of = np.empty(len(bits), np.uint64), np.empty(len(bits), np.uint32), np.empty(len(gammas), np.uint64)
    count = kernel.entries(read["starts"], read["words"], read["padded"], extends, bits, contexts, keys, firsts, of)
    top = task.part.order
    _by_range(task, order, "entries", keys[:count], firsts[:count], task.buckets[order - 2], 4 if order < top else 3)
    kept = ~read["padded"]
    weights = np.log10(gammas[kept]).astype(np.float32).view(np.uint32)
    weights[weights == NO_BACKOFF] = 0
    buckets = task.buckets[order - 3] if order > 2 else 1 << 62
    _by_range(task, order - 1, "backoffs", of[kept], weights, buckets, 4)


def _by_range(
    task: PartSums, order: int, name: str, keys: NDArray[np.uint64], bits: Ids, buckets: int, width: int
) -> None:
    size = range_size(width) if buckets < 1 << 62 else buckets
    starts, rows = np.zeros((buckets - 1) // size + 2, np.int64), np.empty(len(keys), np.int64)
    ranges(keys, buckets, size, starts, rows)
    np.save(task.part.path(order, f"{name}.keys"), keys[rows])
    np.save(task.part.path(order, f"{name}.bits"), bits[rows])
    np.save(task.part.path(order, f"{name}.starts"), starts)


@dataclass(frozen=True)
class TableTask:
    """Says which table of a model's file is filled from which parts."""

    path: str
    layout: ModelLayout
    order: int
    parts: tuple[PartTask, ...]


def fill_table(task: TableTask) -> int:
    """Puts the n-grams of one order into the table of a model's file; returns how many keys two n-grams share."""
    base, buckets = task.layout.longer[task.order - 2]
    width = 4 if task.order < task.layout.order else 3
    table = np.memmap(task.path, np.uint32, "r+")
    names = ("entries", "backoffs") if width == 4 else ("entries",)
    read = [_Ranges(task.parts, task.order, name) for name in names]
    entries = new = 0
    for number in range((buckets - 1) // range_size(width) + 1):
        for keys, bits in read[0].of(number):
            entries += len(keys)
            new += insert_all(table, base, buckets, width, keys, bits, np.uint32(NO_BACKOFF))
    if width == 4:
        for number in range((buckets - 1) // range_size(width) + 1):
            for keys, bits in read[1].of(number):
                set_second(table, base, buckets, keys, bits)
    table.flush()
    return entries - new


class _Ranges:
    """Reads what all parts have of a range of a table."""

    def __init__(self, parts: Sequence[PartTask], order: int, name: str) -> None:
        paths = [part.path(order, name) for part in parts]
        self._arrays = [
            [np.load(f"{path[:-4]}.{field}.npy", mmap_mode="r") for field in ("keys", "bits", "starts")]
            for path in paths
        ]

    def of(self, number: int) -> list[tuple[NDArray[np.uint64], Ids]]:
        found = []
        for keys, bits, starts in self._arrays:
            if number + 1 < len(starts) and starts[number] < starts[number + 1]:
                part = slice(int(starts[number]), int(starts[number + 1]))
                found.append((np.asarray(keys[part]), np.asarray(bits[part])))
        return found


def word_backoffs(parts: Sequence[PartTask], size: int) -> Ids:
    """Returns the bits of the backoff weight of each word, of -0.0 for one that is no context."""
    found = np.full(size, NO_BACKOFF, np.uint32)
    for part in parts:
        keys = np.load(part.path(1, "backoffs.keys"))
        found[keys.astype(np.int64)] = np.load(part.path(1, "backoffs.bits"))
        for name in ("keys", "bits", "starts"):
            os.remove(part.path(1, f"backoffs.{name}"))
    return found


def unigram_logs(smooth: Smoothing) -> Ids:
    """Returns the bits of log10 p of each word."""
    return log10_bits(smooth.unigrams.astype(np.float32))
