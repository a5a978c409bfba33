"""Buckets become linear edges, and edges become components: against scipy and brute force."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tests.kernels.whole import components

from siftlm_kernels.components import UnionFind, bucket_edges

Integers = NDArray[np.int64]
IDS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 12)
EDGES = st.lists(st.tuples(IDS, IDS), max_size=40)


def ends(edges: list[tuple[int, int]]) -> tuple[Integers, Integers]:
    """The two columns of a list of edges."""
    both = np.array(edges, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def expected_components(a: Integers, b: Integers) -> tuple[Integers, Integers]:
    """The same by scipy."""
    ids, numbers = np.unique(np.concatenate([a, b]), return_inverse=True)
    graph = coo_matrix((np.ones(len(a)), (numbers[: len(a)], numbers[len(a) :])), shape=(len(ids), len(ids)))
    count, found = connected_components(graph, directed=False)
    smallest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(smallest, found, ids)
    return ids, smallest[found]


def assert_components(a: Integers, b: Integers) -> None:
    """Ours and scipy's are equal."""
    for ours, theirs in zip(components((a, b)), expected_components(a, b), strict=True):
        assert np.array_equal(ours, theirs)


@settings(max_examples=150, deadline=None)
@given(EDGES)
def test_components_are_those_of_scipy(edges: list[tuple[int, int]]) -> None:
    """Loops, repeats and the ends of the 64-bit range included."""
    if edges:
        assert_components(*ends(edges))


@pytest.mark.parametrize("shape", ["chain", "backward chain", "shuffled chain", "star", "late star", "sparse", "dense"])
def test_large_graphs_agree_with_scipy(shape: str) -> None:
    """Shapes that make a careless union-find deep or slow, over scattered ids."""
    random = np.random.default_rng(7)
    n = 200_000
    ids = random.integers(-(2**63), 2**63 - 1, n)
    line = np.arange(n - 1)
    order = random.permutation(n - 1)
    a, b = {
        "chain": (np.sort(ids)[:-1], np.sort(ids)[1:]),
        "backward chain": (np.sort(ids)[::-1][:-1], np.sort(ids)[::-1][1:]),
        "shuffled chain": (ids[line[order]], ids[line[order] + 1]),
        "star": (np.full(n, ids.min()), ids),
        "late star": (ids, np.full(n, ids.max())),
        "sparse": (ids[random.integers(0, n, n // 2)], ids[random.integers(0, n, n // 2)]),
        "dense": (ids[random.integers(0, n, 3 * n)], ids[random.integers(0, n, 3 * n)]),
    }[shape]
    assert_components(a, b)


def test_no_edges_have_no_components() -> None:
    """Two empty arrays."""
    none = np.zeros(0, np.int64)
    assert [len(part) for part in components((none, none))] == [0, 0]
    assert [len(part) for part in components()] == [0, 0]


@settings(max_examples=100, deadline=None)
@given(EDGES, st.lists(st.integers(0, 40), max_size=4), st.randoms(use_true_random=False))
def test_blocks_merge_to_the_same_components_in_any_order(
    edges: list[tuple[int, int]], cuts: list[int], random: object
) -> None:
    """Merging is associative and commutative, as a Beam combine needs it."""
    bounds = [0, *sorted(min(cut, len(edges)) for cut in cuts), len(edges)]
    blocks = [ends(edges[low:high]) for low, high in pairwise(bounds)]
    whole = components(ends(edges))
    parts = [components(block) for block in blocks]
    one_by_one = components()
    for part in parts[::-1]:
        one_by_one = components(one_by_one, part)
    for merged in (one_by_one, components(*parts), components(*blocks)):
        assert all(np.array_equal(x, y) for x, y in zip(merged, whole, strict=True))


def test_a_forest_counts_ids_and_is_empty_after_its_components() -> None:
    """Growth over many blocks, then a fresh start."""
    forest = UnionFind()
    for start in range(0, 300_000, 1000):
        ids = np.arange(start, start + 1000)
        forest.add(ids, ids // 10 * 10)
    assert len(forest) == 300_000
    ids, labels = forest.components()
    assert np.array_equal(ids, np.arange(300_000))
    assert np.array_equal(labels, ids // 10 * 10)
    assert len(forest) == 0


def test_edges_of_unequal_length_are_refused() -> None:
    """Both ends come in pairs."""
    with pytest.raises(ValueError, match="as many, got 2 and 1"):
        components((np.zeros(2, np.int64), np.zeros(1, np.int64)))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-5, 20)), max_size=60))
def test_bucket_edges_link_exactly_the_members_of_buckets(entries: list[tuple[int, int]]) -> None:
    """At most one edge less than members, none twice, the smallest id first, and any order of entries."""
    keys = np.array([key for key, _ in entries], np.uint64)
    ids = np.array([identity for _, identity in entries], np.int64)
    buckets: dict[int, set[int]] = defaultdict(set)
    for key, identity in entries:
        buckets[key].add(identity)
    expected = {(min(members), other) for members in buckets.values() for other in members - {min(members)}}
    for order in (slice(None), slice(None, None, -1)):
        a, b = bucket_edges(keys[order], ids[order])
        assert list(zip(a.tolist(), b.tolist(), strict=True)) == sorted(expected)


def test_a_hot_bucket_costs_one_edge_a_member() -> None:
    """A million documents that share a band would make 5e11 pairs."""
    ids = np.arange(1_000_000)[::-1]
    a, b = bucket_edges(np.full(len(ids), 9, np.uint64), ids)
    assert len(a) == len(ids) - 1
    assert not a.any()
    _, labels = components((a, b))
    assert not labels.any()
