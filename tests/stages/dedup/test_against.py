"""Links to the documents of earlier runs, against brute force over both."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from tests.stages.conftest import shards_of
from tests.stages.dedup.conftest import (
    LOOSE,
    Shards,
    clusters,
    components,
    families,
    jaccard,
    share_a_band,
    signal_rows,
    write_signals,
)

from siftlm.errors import UserError
from siftlm.report.manifest import FORMAT, write_manifest
from siftlm.scorers import ShingleSettings
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters, check
from siftlm.store import Store


def earlier_run(folder: Path, shards: Shards, settings: DedupSettings) -> tuple[str, list[dict[str, Any]]]:
    """A finished run as `against` needs it: its folder, and its clusters."""
    store = Store(str(folder / "store"))
    signals = write_signals(store, shards, settings.shingles)
    tasks = Clusters(settings).tasks(shards_of(signals), store)
    found = clusters(settings, signals, store)
    entries = [
        {"path": s.name, "documents": len(shard), "keys": {**s.inputs, "clusters": t.key}}
        for s, t, shard in zip(signals, tasks, shards, strict=True)
    ]
    write_manifest(str(folder), {"format": FORMAT, "config": {"store": None}, "inputs": entries})
    return str(folder), found


@pytest.mark.parametrize("verify", [None, 0.6])
def test_documents_of_earlier_runs_stay_and_new_ones_go(tmp_path: Path, verify: float | None) -> None:
    """A new document that is linked with an old one bears that one's cluster; the others cluster as if alone."""
    versions, fresh = families(3, count=6), families(4, count=2)
    old = [[pair for pair in shard if pair[0][-1] in "0346"] for shard in versions]
    new = [[pair for pair in shard if pair[0][-1] in "125"] + more for shard, more in zip(versions, fresh, strict=True)]
    base = DedupSettings(shingles=LOOSE, verify=verify)
    folder, before = earlier_run(tmp_path / "old", old, base)
    store = Store(str(tmp_path / "new"))
    signals = write_signals(store, new, LOOSE, "new")
    found = clusters(base.model_copy(update={"against": [folder]}), signals, store)

    old_texts, new_texts = ([t for shard in shards for _, t in shard] for shards in (old, new))
    texts = [*old_texts, *new_texts]
    old_store = Store(f"{folder}/store")
    rows = signal_rows(old_store, write_signals(old_store, old, LOOSE)) + signal_rows(store, signals)
    touching = [
        (i, j)
        for i, j in combinations(range(len(texts)), 2)
        if texts[i] == texts[j]
        or (share_a_band(rows[i], rows[j]) and jaccard(texts[i], texts[j], 2) >= (verify or 0.0))
    ]
    whole = components(len(texts), touching)
    old_of = {c: {before[n]["cluster_id"] for n in range(len(old_texts)) if whole[n] == c} for c in set(whole)}
    size_of = {row["cluster_id"]: row["cluster_size"] for row in before}
    for n, row in enumerate(found, start=len(old_texts)):
        known = old_of[whole[n]]
        members = sum(whole[m] == whole[n] for m in range(len(old_texts), len(texts)))
        assert row["cluster_id"] in known if known else row["cluster_id"] not in size_of
        assert row["cluster_size"] == members + sum(size_of[c] for c in known)
        assert not known or row["duplicate"] in ("exact", "near")


def test_a_run_is_not_compared_with_the_shards_that_it_reads_itself(tmp_path: Path) -> None:
    """What was there last time and is read again is no copy of itself."""
    settings, shards = DedupSettings(), families(5)
    folder, before = earlier_run(tmp_path, shards, settings)
    store = Store(f"{folder}/store")
    again = settings.model_copy(update={"against": [folder]})
    assert clusters(again, write_signals(store, shards, settings.shingles), store) == before


def test_other_shingles_than_the_earlier_run_had_are_a_mistake(tmp_path: Path) -> None:
    """Bands of another shape or seed cannot be compared; a folder without a manifest is no run."""
    folder, _ = earlier_run(tmp_path, families(6), DedupSettings(shingles=LOOSE))
    check(DedupSettings(shingles=LOOSE, against=[folder]))
    for other in (ShingleSettings(), ShingleSettings(ngram=2, bands=30, rows=2, seed=9)):
        with pytest.raises(UserError, match=r"^dedup\.shingles: must be those of the runs in dedup\.against"):
            check(DedupSettings(shingles=other, against=[folder]))
    with pytest.raises(UserError, match=r"^dedup\.against: must be folders of finished runs"):
        check(DedupSettings(against=[str(tmp_path / "nowhere")]))
