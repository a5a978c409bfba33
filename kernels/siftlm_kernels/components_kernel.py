"""Compiles the union-find over a hash table of ids, and the in-place sort of pairs, of `components`.

An id's number is its rank of arrival: `ids[number]`, `parents[number]` (a number too), and `slots` holds numbers or
-1. The root of a component is always its smallest id.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import Integer, compiled

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SMALL = 24  # below this, insertion beats partitioning


@compiled
def _number(identity: Any, ids: Any, parents: Any, slots: Any, count: Integer) -> Integer:
    """The number of an id; `count`, with the id written there as its own root, when it is new."""
    mask = np.uint64(len(slots) - 1)
    h = np.uint64(identity) * _FACTOR
    h = (h ^ (h >> np.uint64(32))) * _FACTOR
    slot = h >> np.uint64(32) & mask
    while slots[slot] >= 0:
        if ids[slots[slot]] == identity:
            return np.int64(slots[slot])
        slot = (slot + np.uint64(1)) & mask
    slots[slot] = count
    ids[count] = identity
    parents[count] = count
    return count


@compiled
def _root(number: Integer, parents: Any) -> Integer:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = np.int64(parents[number])
    return number


@compiled
def join(a: Any, b: Any, ids: Any, parents: Any, slots: Any, count: Integer) -> Integer:
    """Adds the edges (a[i], b[i]) to arrays with room for all new ids; returns how many ids there are."""
    for k in range(len(a)):
        left = _number(a[k], ids, parents, slots, count)
        count = max(count, left + 1)
        right = _number(b[k], ids, parents, slots, count)
        count = max(count, right + 1)
        left, right = _root(left, parents), _root(right, parents)
        if ids[left] < ids[right]:
            parents[right] = left
        else:
            parents[left] = right
    return count


@compiled
def index(ids: Any, slots: Any, count: Integer) -> None:
    """Enters the first `count` ids into an empty hash table."""
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        h = np.uint64(ids[number]) * _FACTOR
        h = (h ^ (h >> np.uint64(32))) * _FACTOR
        slot = h >> np.uint64(32) & mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = number


@compiled
def label(ids: Any, parents: Any, labels: Any) -> None:
    """Fills `labels` with the id of the root of every id's component."""
    for number in range(len(ids)):
        labels[number] = ids[_root(number, parents)]


@compiled
def _insertion(keys: Any, values: Any, low: Integer, high: Integer) -> None:
    for k in range(low + 1, high):
        key, value, to = keys[k], values[k], k
        while to > low and keys[to - 1] > key:
            keys[to], values[to] = keys[to - 1], values[to - 1]
            to -= 1
        keys[to], values[to] = key, value


@compiled
def _split(keys: Any, values: Any, low: Integer, high: Integer, pivot: Any) -> Integer:
    """Moves keys below the pivot to the front of `low:high`; returns where the others begin."""
    high -= 1
    while True:
        while low <= high and keys[low] < pivot:
            low += 1
        while low <= high and keys[high] >= pivot:
            high -= 1
        if low > high:
            return low
        keys[low], keys[high] = keys[high], keys[low]
        values[low], values[high] = values[high], values[low]


@compiled
def sort_pairs(keys: Any, values: Any) -> None:
    """Sorts `keys` (int64) in place, and puts `values` into the same order.

    Splits by the middle of the values between the bounds of a range: at most 64 levels whatever the keys are.
    """
    stack = [(np.int64(0), np.int64(len(keys)))]
    while stack:
        low, high = stack.pop()
        if high - low < _SMALL:
            _insertion(keys, values, low, high)
            continue
        least, most = np.min(keys[low:high]), np.max(keys[low:high])
        if least == most:
            continue
        pivot = most - np.int64((np.uint64(most) - np.uint64(least)) >> np.uint64(1))
        middle = _split(keys, values, low, high, pivot)
        stack.append((low, middle))
        stack.append((middle, high))
