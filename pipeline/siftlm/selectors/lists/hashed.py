"""Holds sets of millions of strings as sorted hashes of 8 bytes each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from siftlm.statistics.hashing import hash_strings
from siftlm.statistics.ordered import BoolArray, UInt64Array


@dataclass(frozen=True)
class HashedSet:
    """Holds the xxh3_64 hashes of strings in ascending order, none twice.

    A string that is not in a set of n has the hash of one that is with odds n / 2^64: 2.5e-13 for UT1's largest list.
    """

    hashes: UInt64Array

    @classmethod
    def of(cls, blocks: Iterable[pa.Array]) -> HashedSet:
        """Returns the set of the strings in all blocks, which are read one after another."""
        hashes = np.concatenate([np.empty(0, np.uint64), *(hash_strings(block) for block in blocks)])
        hashes.sort()  # numpy's unique, which hashes them once more, takes ten times as long
        return cls(hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])[: len(hashes)]])

    def __len__(self) -> int:
        return len(self.hashes)

    def holds(self, strings: pa.Array) -> BoolArray:
        """Tells for each string whether it is in the set."""
        if not len(self.hashes):
            return np.zeros(len(strings), np.bool_)
        hashes = hash_strings(strings)
        order = np.argsort(hashes)  # in order they are looked up in places that are near each other
        wanted, held = hashes[order], np.empty(len(hashes), np.bool_)
        at = np.searchsorted(self.hashes, wanted)
        held[order] = self.hashes[np.minimum(at, len(self.hashes) - 1)] == wanted
        return held
