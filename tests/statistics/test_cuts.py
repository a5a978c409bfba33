"""Rank histograms and the search for exact cuts."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.statistics.cuts import POOL, Cuts, Ranked, Search, Target, advance, histogram
from siftlm.statistics.radix import RankHistogram

FEW = st.sampled_from([0, 1, 2, 7, 2**63, 2**64 - 1])
ANY = st.integers(0, 2**64 - 1)
DOCUMENTS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(FEW, ANY), st.one_of(FEW, ANY), st.integers(0, 5)), max_size=60
)


def find(parts: Sequence[Ranked], targets: tuple[Target, ...], min_group: int = 1) -> Cuts:
    """The cuts of documents that are all in memory."""
    search = Search(targets, min_group)
    while search.found is None:
        search = advance(search, [histogram(search, part) for part in parts])
    return search.found


def merged(*parts: RankHistogram) -> RankHistogram:
    return RankHistogram.merged(parts)


def same_counts(one: RankHistogram, other: RankHistogram) -> bool:
    """Whether two histograms are equal in every array and every number."""
    arrays = [(one.cell, other.cell), (one.documents, other.documents), (one.mass, other.mass)]
    arrays += [*zip(one.first, other.first, strict=True), *zip(one.last, other.last, strict=True)]
    return (one.limit, one.bits) == (other.limit, other.bits) and all(np.array_equal(a, b) for a, b in arrays)


def ranked(documents: list[tuple[int, int, int, int]]) -> Ranked:
    """Arrays of (group, key, tie, mass)."""
    columns = list(zip(*documents, strict=True)) or [(), (), (), ()]
    group, key, tie = (np.array(column, np.uint64) for column in columns[:3])
    return Ranked(group << np.uint64(32), key, tie, np.array(columns[3], np.int64))


def brute_force(documents: Ranked, target: Target) -> np.ndarray:
    """Which documents lie before the cut, one group and one document at a time."""
    before = np.zeros(len(documents.key), bool)
    for group in set(documents.group.tolist()):
        members = [i for i, g in enumerate(documents.group.tolist()) if g == group]
        ranks = sorted({(int(documents.key[i]), int(documents.tie[i])) for i in members})
        masses = dict.fromkeys(ranks, 0)
        for i in members:
            masses[int(documents.key[i]), int(documents.tie[i])] += int(documents.mass[i])
        total, below, chosen = sum(masses.values()), 0, set()
        goal = Fraction(target.amount) if target.share is None else target.share * total
        for rank in ranks:
            if target.share == 1 or (below < goal and not target.midpoint):
                chosen.add(rank)
            elif target.midpoint and below < goal:
                middle = below + Fraction(masses[rank], 2)
                if below + masses[rank] < goal or middle < goal:
                    chosen.add(rank)
            below += masses[rank]
        for i in members:
            before[i] = (int(documents.key[i]), int(documents.tie[i])) in chosen
    return before


TARGETS = (
    Target(share=Fraction(3, 10)),
    Target(share=Fraction(1, 2), midpoint=True),
    Target(share=Fraction(1), midpoint=True),
    Target(share=Fraction(0), midpoint=True),
    Target(amount=17),
)


@settings(max_examples=150)
@given(DOCUMENTS, st.sampled_from([1, 2, 16, 1 << 18]), st.randoms(use_true_random=False))
def test_cuts_equal_brute_force_whatever_the_partition_and_the_entry_limit(documents, limit, random) -> None:
    """Sharded any way, histograms of any size: the same documents lie before each cut."""
    whole = ranked(documents)
    shard = np.array([random.randrange(3) for _ in documents], int)
    search = Search(TARGETS, entry_limit=limit)
    while search.found is None:
        parts = [histogram(search, Ranked(*(column[shard == s] for column in whole))) for s in range(3)]
        random.shuffle(parts)
        search = pickle.loads(pickle.dumps(advance(search, parts)))
    for index, target in enumerate(TARGETS):
        np.testing.assert_array_equal(search.found.before(index, whole), brute_force(whole, target))


@given(DOCUMENTS, st.sampled_from([1, 2, 16, 1 << 18]), st.integers(0, 60), st.integers(0, 60))
def test_merging_is_associative_and_commutative_and_equal_to_counting_at_once(documents, limit, cut, other) -> None:
    """(a + b) + c, c + (b + a) and the histogram of all documents are the same arrays."""
    whole = ranked(documents)
    first, second = sorted((min(cut, len(documents)), min(other, len(documents))))
    spans = (slice(0, first), slice(first, second), slice(second, None))
    a, b, c = (RankHistogram.of(limit, whole.group[s], (whole.key[s], whole.tie[s]), whole.mass[s]) for s in spans)
    at_once = RankHistogram.of(limit, whole.group, (whole.key, whole.tie), whole.mass)
    assert same_counts(merged(merged(a, b), c), at_once)
    assert same_counts(merged(c, merged(b, a)), at_once)
    assert same_counts(merged(at_once, RankHistogram.empty(limit)), at_once)
    assert len(at_once) <= max(limit, len(set(whole.group.tolist())))
    assert at_once.documents.sum() == len(documents)
    assert at_once.mass.sum() == whole.mass.sum()


def test_a_histogram_within_its_limit_is_exact() -> None:
    """Up to `limit` distinct ranks, there is an entry for each."""
    keys = np.arange(1000, dtype=np.uint64)
    counted = RankHistogram.of(1000, np.zeros(1000, np.uint64), (keys, keys), np.ones(1000, np.int64))
    assert (len(counted), counted.bits) == (1000, 128)
    coarser = RankHistogram.of(999, np.zeros(1000, np.uint64), (keys, keys), np.ones(1000, np.int64))
    assert (len(coarser), coarser.bits) == (500, 63)


def test_equal_scores_of_many_groups_are_cut_in_few_passes() -> None:
    """2,000 groups whose documents all score 0.5 take no 16 passes through the bits of 0.5."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(2000, dtype=np.uint64) << np.uint64(8), 40)
    key = np.full(len(group), np.float64(0.5).view(np.uint64))
    documents = Ranked(group, key, random.integers(0, 2**63, len(group)).astype(np.uint64), np.ones(len(group), int))
    search = Search((Target(share=Fraction(1, 4)),), entry_limit=100)
    while search.found is None:
        search = advance(search, [histogram(search, documents)])
    assert np.bincount((group >> np.uint64(8)).astype(int)[search.found.before(0, documents)]).tolist() == [10] * 2000
    assert search.passes <= 5


def test_small_groups_are_ranked_together() -> None:
    """Groups below min_group share one cut; others, and other pools, keep their own."""
    group = np.repeat(np.array([16, 32, 48, 17], np.uint64), [10, 3, 3, 3])
    key = np.array([*range(100, 110), 0, 1, 2, 3, 4, 5, 9, 8, 7], np.uint64)
    documents = Ranked(group, key, key, np.ones(19, np.int64))
    cuts = find([documents], (Target(share=Fraction(1, 2)),), min_group=4)
    assert set(cuts.groups.tolist()) == {16, int(POOL), int(POOL) | 1}
    kept = key[cuts.before(0, documents)].tolist()
    assert kept == [100, 101, 102, 103, 104, 0, 1, 2, 8, 7]


def test_no_documents_have_no_cuts() -> None:
    """An empty corpus ends after one pass."""
    cuts = find([ranked([])], TARGETS)
    assert len(cuts.groups) == 0
    assert cuts.before(0, ranked([])).tolist() == []


def test_histograms_of_different_searches_do_not_merge() -> None:
    """Two limits are a defect of the caller."""
    with pytest.raises(AssertionError, match="different searches"):
        merged(RankHistogram.empty(1), RankHistogram.empty(2))
