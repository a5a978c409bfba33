"""Verified links against brute force over sets of shingles, band by band."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from tests.stages.conftest import shards_of
from tests.stages.dedup.conftest import (
    LOOSE,
    clusters,
    components,
    families,
    jaccard,
    share_a_band,
    signal_rows,
    write_signals,
)

from siftlm.engine.shards import Task
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.stages.dedup.verify import SMALL_STAR, ShingleSets, verified
from siftlm.stages.eligible import Split
from siftlm.store import Store


@pytest.mark.parametrize(("seed", "partitions"), [(0, 1), (1, 3), (2, 0)])
def test_only_pairs_of_that_jaccard_similarity_are_linked(tmp_path: Path, seed: int, partitions: int) -> None:
    """Clusters are the components of candidate pairs whose sets are similar enough, found pair by pair."""
    store, shards, threshold = Store(str(tmp_path)), families(seed), 0.6
    settings = DedupSettings(shingles=LOOSE, verify=threshold, partitions=partitions)
    signals = write_signals(store, shards, LOOSE)
    found = clusters(settings, signals, store)
    texts = [text for shard in shards for _, text in shard]
    rows = signal_rows(store, signals)
    pairs = list(combinations(range(len(texts)), 2))
    similar = [(i, j) for i, j in pairs if texts[i] == texts[j] or jaccard(texts[i], texts[j], 2) >= threshold]
    expected = components(len(texts), [(i, j) for i, j in similar if share_a_band(rows[i], rows[j])])
    loose = components(len(texts), [(i, j) for i, j in pairs if share_a_band(rows[i], rows[j])])
    ids = [row["cluster_id"] for row in found]
    assert [ids.index(i) for i in ids] == expected
    assert len(set(expected)) > len(set(loose))  # verification had something to refuse


def test_verification_links_exact_copies_that_have_no_words(tmp_path: Path) -> None:
    """Documents with the same bytes need no shingles to be the same."""
    settings = DedupSettings(verify=0.9)
    store = Store(str(tmp_path))
    signals = write_signals(store, [[("a", "..."), ("b", "!")], [("c", "...")]], settings.shingles)
    assert [row["duplicate"] for row in clusters(settings, signals, store)] == [None, None, "exact"]


@pytest.mark.parametrize("count", [SMALL_STAR - 2, 4 * SMALL_STAR])
def test_a_star_is_verified_beyond_its_smallest_document(count: int) -> None:
    """Members that resemble each other and not the smallest are linked, in small stars and in hot ones."""
    kinds = [np.arange(100, dtype=np.uint64) + np.uint64(1 + 1000 * kind) for kind in range(4)]
    sets = [kinds[0], *(kinds[1 + number % 3] for number in range(count))]
    bounds = np.r_[0, np.cumsum([len(s) for s in sets])]
    near = np.zeros(count, np.int64), np.arange(1, count + 1)
    a, b = verified(near, ShingleSets(np.arange(count + 1), bounds, np.concatenate(sets)), 0.9)
    label = components(count + 1, zip(a.tolist(), b.tolist(), strict=True))
    assert label == [0, *(1 + number % 3 for number in range(count))]
    assert len(a) <= count * SMALL_STAR / 2


def test_annotated_duplicates_stay_alive_with_the_size_of_their_cluster(tmp_path: Path) -> None:
    """action = annotate finds the same clusters, drops nobody, and survivors keep what is a duplicate."""
    shards, store = families(7), Store(str(tmp_path))
    signals = write_signals(store, shards, LOOSE)
    found = [clusters(DedupSettings(shingles=LOOSE, action=action), signals, store) for action in ("drop", "annotate")]
    assert found[0] == found[1]
    assert any(row["duplicate"] for row in found[1])
    annotating = DedupSettings(shingles=LOOSE, action="annotate")
    (first, *_) = made = Clusters(annotating).tasks(shards_of(signals), store)
    assert not any(store.marker("clusters", task.key).dropped for task in made)
    task = Task(0, "shard 0", "", {**signals[0].inputs, "clusters": first.key})
    assert all(reason is None for reason in Split(drops=False).losses(task, store)[:, 0])
    assert not all(reason is None for reason in Split().losses(task, store)[:, 0])
