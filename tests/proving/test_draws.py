"""Draws reach their size, follow weights, and match a selection's sources and lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm.proving.draws import COPY, Documents, copies, draw, first_in_order, matched
from siftlm.statistics.hashing import finalise, keyed, uniform


def documents(number: int = 3000, seed: int = 0) -> Documents:
    generator = np.random.default_rng(seed)
    sizes = np.exp(generator.normal(5, 1, number)).astype(np.int64) + 1
    return Documents(
        generator.integers(0, 2**64, number, np.uint64),
        (4 * sizes).astype(np.uint32),
        np.ones(number, np.float32),
        generator.integers(0, 3, number).astype(np.int16),
        np.full(3, 4.0),
    )


def selected(pool: Documents, rows: np.ndarray) -> Documents:
    return replace(pool, weight=pool.weight * rows)


def test_a_draw_stops_at_its_size_and_comes_once() -> None:
    pool = documents()
    rows = draw(pool, 100_000, 0.5, seed=1)
    once = pool.sizes(rows).sum()
    assert once - pool.sizes(rows[-1:]).sum() < 100_000 <= once
    assert len(set(rows.tolist())) == len(rows)


def test_draws_with_other_seeds_are_other_documents() -> None:
    pool = documents()
    first, second = (set(draw(pool, 100_000, 0.5, seed).tolist()) for seed in (1, 2))
    share = 100_000 / pool.sizes().sum()
    assert len(first & second) / len(first) == pytest.approx(share, rel=0.2)


def test_a_draw_of_a_small_selection_has_its_share_of_it() -> None:
    pool = selected(documents(), np.arange(3000) < 100)
    rows = draw(pool, 100_000, 0.5, seed=1)
    assert pool.sizes(rows).sum() == pytest.approx(pool.expected_size / 2, rel=0.1)
    assert set(rows.tolist()) < set(range(100))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.integers(0, 5))
def test_copies_are_those_of_the_weights(seed: int, extra: int) -> None:
    pool = documents(200)
    weight = np.random.default_rng(extra).choice([0.0, 0.25, 1.0, 2.5], 200)
    count = np.bincount(copies(replace(pool, weight=weight), seed), minlength=200)
    assert ((count == np.floor(weight)) | (count == np.ceil(weight))).all()


def test_expected_copies_are_the_weights() -> None:
    pool = documents(200)
    weighed = replace(pool, weight=np.full(200, 1.3))
    drawn = [len(copies(weighed, seed)) / 200 for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(1.3, abs=0.02)


def test_a_matched_draw_has_the_sources_and_lengths_of_its_arm() -> None:
    pool = documents(20_000)
    arm = selected(pool, (pool.source == 1) | ((pool.source == 0) & (pool.sizes() > 200)))
    rows = draw(arm, 200_000, 0.5, seed=3)
    null = matched(pool, arm, rows, 200_000, seed=4)
    assert pool.sizes(null).sum() == pytest.approx(200_000, rel=0.02)
    for source in range(3):
        of_arm, of_null = (pool.sizes(r)[pool.source[r] == source] for r in (rows, null))
        assert of_null.sum() == pytest.approx(of_arm.sum(), rel=0.02)
        if len(of_arm):
            assert np.median(of_null) == pytest.approx(np.median(of_arm), rel=0.1)
    assert len(set(rows.tolist()) & set(null.tolist())) < 0.5 * len(rows)


def test_the_match_of_a_small_draw_has_as_many_fresh_documents_as_there_are() -> None:
    pool = documents(20_000)
    arm = selected(pool, np.arange(20_000) < 100)
    rows = draw(arm, 200_000, 0.5, seed=3)
    null = matched(pool, arm, rows, 200_000, seed=4)
    assert pool.sizes(rows).sum() < 20_000
    assert pool.sizes(null).sum() == pytest.approx(200_000, rel=0.02)
    assert len(set(null.tolist())) > 0.95 * len(null)


def test_a_matched_draw_repeats_what_the_pool_is_short_of() -> None:
    pool = documents(50)
    null = matched(pool, pool, draw(pool, 200_000, 1.0, seed=3), 200_000, seed=4)
    assert pool.sizes(null).sum() == pytest.approx(200_000, rel=0.05)
    assert len(set(null.tolist())) <= 50


def test_an_arm_of_sources_that_the_pool_lacks_has_no_match() -> None:
    pool = documents(50)
    elsewhere = replace(pool, source=pool.source + 7)
    assert not len(matched(pool, elsewhere, np.arange(50), 1000, seed=0))


def in_order(weighed: Documents, seed: int) -> list[int]:
    """All copies in their order, by one sort of all."""
    whole = np.floor(weighed.weight.astype(np.float64))
    more = uniform(keyed(weighed.hashes, seed, "copies")) < weighed.weight.astype(np.float64) - whole
    every = [(row, n) for row, count in enumerate((whole + more).astype(int).tolist()) for n in range(count)]
    hashes = np.array([int(weighed.hashes[row]) + n * int(COPY) & (1 << 64) - 1 for row, n in every], np.uint64)
    order = np.argsort(keyed(finalise(hashes), seed, "order"), kind="stable")
    return [every[n][0] for n in order.tolist()]


@pytest.mark.parametrize("size", [500, 20_000, 400_000])
def test_draws_by_parts_are_those_of_one_sort(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Of all documents at once, with weights; a draw and its null, of little and of everything."""
    monkeypatch.setattr("siftlm.proving.draws.CHUNK", 97)
    pool = documents(1000)
    weight = np.random.default_rng(1).choice([0.0, 0.3, 1.0, 2.6], 1000).astype(np.float32)
    weighed = replace(pool, weight=weight)
    order = in_order(weighed, 7)
    sums = np.cumsum(pool.sizes(np.array(order)))
    limit = min(size, 0.5 * float((weight * pool.sizes()).sum()))
    drawn = draw(weighed, size, 0.5, 7)
    assert drawn.tolist() == order[: int(np.searchsorted(sums, limit)) + 1]

    null = matched(pool, weighed, drawn, size, 8)
    strata, own = pool.strata(), np.array(in_order(pool, 8))
    wanted = {int(s): int(pool.bytes[drawn][strata[drawn] == s].sum()) for s in np.unique(strata[drawn])}
    rows = {s: own[strata[own] == s] for s in wanted}
    tokens = {s: wanted[s] * int(pool.sizes(of).sum()) / int(pool.bytes[of].sum()) for s, of in rows.items()}
    expected: list[int] = []
    for s, of in rows.items():
        target = round(tokens[s] * size / sum(tokens.values()))
        again = np.tile(of, -(-target // int(pool.sizes(of).sum())))
        near = np.abs(np.concatenate([[0], np.cumsum(pool.sizes(again))]) - target).argmin()
        expected += again[: int(near)].tolist()
    assert null.tolist() == expected


def test_the_first_in_order_are_those_of_one_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siftlm.proving.draws.CHUNK", 97)
    hashes, allowed = documents(1000).hashes, np.arange(1000) % 3 > 0
    by_hand = [n for n in np.argsort(keyed(hashes, 4, "this"), kind="stable").tolist() if allowed[n]]
    assert first_in_order(hashes, 4, "this", 25, allowed).tolist() == by_hand[:25]
    assert len(first_in_order(hashes, 4, "this", 10**6)) == 1000
