"""Dedup against brute force: the clusters are the components of shared hashes and bands, whatever the partition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from tests.stages.conftest import shards_of
from tests.stages.dedup.conftest import clusters, components, share_a_band, signal_rows, write_signals

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.scorers import ShingleSettings
from siftlm.stages.dedup import work as dedup
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.store import Store

RUNNER = RunnerSettings(threads=1)
WORDS = [f"word{letter}" for letter in "abcdefghijklmnopqrs"]


def sentence(rng: np.random.Generator, words: int) -> str:
    return " ".join(f"{rng.choice(WORDS)}{rng.integers(90)}" for _ in range(words))


def corpus(seed: int = 0) -> list[list[tuple[str, str]]]:
    """Shards of (doc_id, text) with exact and near copies across shards, an empty text and a repeated id."""
    rng = np.random.default_rng(seed)
    texts = [sentence(rng, 120) for _ in range(12)]
    near = [text.replace(" ", " odd ", 1) for text in texts[:4]]
    shards = [[*texts[:6], ""], [*texts[6:], texts[0], near[0], near[1]], [near[2], near[3], texts[2], "", "one two"]]
    named = [[(f"d{s}{n:02d}", text) for n, text in enumerate(shard)] for s, shard in enumerate(shards)]
    named[2].append(named[0][0])
    return named


def brute_force(store: Store, signals: Sequence[Task]) -> list[set[int]]:
    """Components of the graph of shared content hashes and bands, pair by pair."""
    rows = signal_rows(store, signals)
    pairs = combinations(range(len(rows)), 2)
    same = [
        (i, j) for i, j in pairs if share_a_band(rows[i], rows[j]) or rows[i]["content_hash"] == rows[j]["content_hash"]
    ]
    label = components(len(rows), same)
    return [{n for n, c in enumerate(label) if c == smallest} for smallest in sorted(set(label))]


@pytest.mark.parametrize("partitions", [1, 7])
def test_clusters_are_the_components_that_brute_force_finds(tmp_path: Path, partitions: int) -> None:
    """Every document names the longest of its component as its representative, and the component's size."""
    settings = DedupSettings(partitions=partitions)
    store, shards = Store(str(tmp_path)), corpus()
    signals = write_signals(store, shards, settings.shingles)
    found = clusters(settings, signals, store)
    documents = [pair for shard in shards for pair in shard]
    for members in brute_force(store, signals):
        order = sorted(members, key=lambda n: (-len(documents[n][1].encode()), documents[n][0], n))
        for n in members:
            assert found[n]["cluster_id"] == documents[order[0]][0]
            assert found[n]["cluster_size"] == len(members)
            same = documents[n][1] == documents[order[0]][1]
            expected = None if n == order[0] else ("exact" if same else "near")
            assert found[n]["duplicate"] == expected


def test_a_repeated_id_is_dropped_once(tmp_path: Path) -> None:
    """Two records with the same id and text are one document: one of them stays."""
    settings = DedupSettings()
    store = Store(str(tmp_path))
    signals = write_signals(store, [[("same", "a b c d e f g")], [("same", "a b c d e f g")]], settings.shingles)
    assert [row["duplicate"] for row in clusters(settings, signals, store)] == [None, "exact"]


def test_exact_and_near_search_can_be_switched_off(tmp_path: Path) -> None:
    """Without near search only equal bytes are linked; without either nothing is."""
    for exact, near, expected in [(True, False, {"exact"}), (False, False, set())]:
        settings = DedupSettings(exact=exact, near=near)
        store = Store(str(tmp_path / f"{exact}{near}"))
        found = clusters(settings, write_signals(store, corpus(), settings.shingles), store)
        assert {row["duplicate"] for row in found} - {None} == expected


def test_a_hot_bucket_is_one_cluster(tmp_path: Path) -> None:
    """Three thousand copies of one text give one component, by as many links as copies."""
    settings = DedupSettings()
    store = Store(str(tmp_path))
    shard = [(f"d{n:05d}", "the same words again and again in every document") for n in range(3000)]
    tasks = Clusters(settings).tasks(shards_of(write_signals(store, [shard], settings.shingles)), store)
    (marker,) = Clusters(settings).work(tasks, Context(store, RUNNER, documents=3000))
    assert marker.dropped == {"exact_duplicate": 2999}
    spans = [span for _, span in dedup.Dedup(settings, store, Links(store, "k"), 1).band_spans(tasks[0])]
    exact, near = dedup.bucket_links(spans)
    assert len(exact[0]) == len(near[0]) == 2999


def test_an_empty_corpus_has_no_clusters(tmp_path: Path) -> None:
    """A shard without rows has a clusters shard without rows."""
    settings = DedupSettings()
    store = Store(str(tmp_path))
    tasks = Clusters(settings).tasks(shards_of(write_signals(store, [[], []], settings.shingles)), store)
    assert [m.rows_in for m in Clusters(settings).work(tasks, Context(store, RUNNER, documents=0))] == [0, 0]


def test_band_thresholds_agree_with_datasketch() -> None:
    """14 bands of 8 rows are what datasketch's own optimiser thinks of as a threshold near 0.72."""
    from datasketch.lsh import _optimal_param

    shingles = ShingleSettings()
    bands, rows = _optimal_param(0.72, shingles.bands * shingles.rows, 0.5, 0.5)
    ours = (1 / shingles.bands) ** (1 / shingles.rows)
    assert abs((1 / bands) ** (1 / rows) - ours) < 0.08
