"""Finds clusters of documents that share a band key.

Bucket edges are linear in the members of a bucket, however hot. Components come from a union-find over a hash table
of the ids, so edges can arrive in blocks and in any order, and no block needs to be sorted.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.ragged import read_only

Integers = NDArray[np.int64]

_kernel = partial(import_module, "siftlm_kernels.components_kernel")  # numba is imported by the first call
_BLOCK = 1 << 16  # edges between two looks at the room left


def bucket_edges(keys: NDArray[np.uint64], ids: Integers) -> tuple[Integers, Integers]:
    """Returns one edge (a, b) from the smallest id of each bucket to every other id in it.

    `keys` and `ids`, (entries,), are parallel: the id is in the bucket of that key. A bucket of n ids gives at
    most n - 1 edges. The result does not depend on the order of the entries.
    """
    order = np.argsort(keys)
    keys, ids = keys[order], np.asarray(ids, np.int64)[order]
    firsts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.r_[firsts, len(keys)])
    smallest = np.repeat(np.minimum.reduceat(ids, firsts) if len(ids) else ids, sizes)
    linked = np.flatnonzero(ids != smallest)
    a, b = smallest[linked], ids[linked]
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    new = np.r_[True, (a[1:] != a[:-1]) | (b[1:] != b[:-1])][: len(a)]
    return a[new], b[new]


class UnionFind:
    """Finds the connected components of a graph over int64 ids whose edges arrive block by block.

    The root of each component is its smallest id.
    Holds 12 bytes an id (an eighth more while it grows) and 4 bytes a slot of an open-addressing table at a load
    of 0.4 to 0.8: 1e8 ids take 1.9 GB, and their components at the end 2.0 GB. At most 2**31 - 1 ids. An edge
    costs two look-ups and path halving (Tarjan, van Leeuwen 1984), which needs no ranks.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._ids = np.empty(1024, np.int64)
        self._parents = np.empty(1024, np.int32)
        self._slots = np.full(2048, -1, np.int32)

    def __len__(self) -> int:
        """How many ids have been in an edge."""
        return self._count

    def add(self, a: Integers, b: Integers) -> None:
        """Adds an edge between a[i] and b[i] for every i; loops (a[i] = b[i]) and repeats are allowed."""
        if len(a) != len(b):
            raise ValueError(f"edges: both ends must be as many, got {len(a)} and {len(b)}")
        for start in range(0, len(a), _BLOCK):
            left, right = (read_only(side[start : start + _BLOCK], np.int64) for side in (a, b))
            self._reserve(2 * len(left))
            self._count = _kernel().join(left, right, self._ids, self._parents, self._slots, self._count)

    def components(self) -> tuple[Integers, Integers]:
        """Returns all ids, sorted, and the smallest id of each one's component; the forest is empty afterwards."""
        ids, parents, count = self._ids, self._parents, self._count
        self._clear()
        ids.resize(count, refcheck=False)
        parents.resize(count, refcheck=False)
        labels = np.empty(count, np.int64)
        _kernel().label(ids, parents, labels)
        del parents
        _kernel().sort_pairs(ids, labels)
        return ids, labels

    def _reserve(self, more: int) -> None:
        """Room for `more` new ids: the arrays grow in place by an eighth, the table doubles at a load of 0.8."""
        needed = self._count + more
        if needed > len(self._ids):
            if needed >= 1 << 31:
                raise ValueError(f"edges: at most 2**31 - 1 ids, got {self._count} and up to {more} more")
            self._ids.resize(needed + needed // 8, refcheck=False)
            self._parents.resize(needed + needed // 8, refcheck=False)
        if needed > 0.8 * len(self._slots):
            size = 1 << int(needed / 0.8).bit_length()
            self._slots = np.empty(0, np.int32)
            self._slots = np.full(size, -1, np.int32)
            _kernel().index(self._ids, self._slots, self._count)
