"""Jaccard similarities and components in one call, as tests of other things ask for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siftlm_kernels.components import UnionFind
from siftlm_kernels.minhash import set_jaccard, shingle_hashes

Integers = NDArray[np.int64]


def true_jaccard(values: NDArray[np.uint8], offsets: Integers, pairs: Integers, ngram: int = 5) -> NDArray[np.float64]:
    """The similarities of the sets of shingle hashes of pairs of documents."""
    return set_jaccard(*shingle_hashes(values, offsets, ngram=ngram), pairs)


def components(*blocks: tuple[Integers, Integers]) -> tuple[Integers, Integers]:
    """The ids of all edges, sorted, and the smallest id of each one's component."""
    forest = UnionFind()
    for a, b in blocks:
        forest.add(a, b)
    return forest.components()
