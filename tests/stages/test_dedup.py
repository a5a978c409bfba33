"""Dedup against brute force: the clusters are the components of shared hashes and bands, whatever the partition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task, run_task
from siftlm.engine.spill import Links
from siftlm.engine.step import Output, Shard
from siftlm.scorers import ShingleSettings
from siftlm.stages.annotate import Annotate
from siftlm.stages.dedup import work as dedup
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.store import Marker, Store

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


def shards_of(tasks: Sequence[Task]) -> list[Shard]:
    """Shards that have what the tasks read."""
    return [Shard(t.shard, t.name, t.facts, {step: Output(key, key) for step, key in t.inputs.items()}) for t in tasks]


def write_signals(store: Store, shards: Sequence[Sequence[tuple[str, str]]], settings: DedupSettings) -> list[Task]:
    """Documents and signals of the shards, as the stages before dedup leave them."""
    tasks = []
    for number, shard in enumerate(shards):
        ids, texts = [i for i, _ in shard], [t for _, t in shard]
        sizes = [len(t.encode()) for t in texts]
        nulls = [None] * len(ids)
        columns = [ids, texts, nulls, nulls, ["s"] * len(ids), nulls, sizes, list(range(len(ids)))]
        arrays = [pa.array(c, f.type) for c, f in zip(columns, DOCUMENT_SCHEMA, strict=True)]
        with store.writer("documents", f"doc{number}", DOCUMENT_SCHEMA) as out:
            out.write(pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA))
        key = f"doc{number}"
        store.commit(Marker("documents", key, key, out.rows, out.rows, files={".parquet": out.seal}))
        tasks.append(Task(number, f"shard {number}", "", {"documents": key}))
    scorers = (settings.shingles,)
    made = Annotate(scorers).tasks(shards_of(tasks), store)
    for task in made:
        run_task(Annotate(scorers), task, store)
    return [Task(t.shard, t.name, "", {**t.inputs, "signals": m.key}) for t, m in zip(tasks, made, strict=True)]


def clusters_of(store: Store, tasks: Sequence[Task]) -> list[dict[str, object]]:
    return [row for task in tasks for row in store.table("clusters", task.key).to_pylist()]


def brute_force(shards: Sequence[Sequence[tuple[str, str]]], store: Store, signals: Sequence[Task]) -> list[set[int]]:
    """Components of the graph of shared content hashes and bands, pair by pair."""
    rows = [row for task in signals for row in store.table("signals", task.inputs["signals"]).to_pylist()]
    component = list(range(len(rows)))
    for i, a in enumerate(rows):
        for j, b in enumerate(rows[:i]):
            bands = (
                a["has_shingles"]
                and b["has_shingles"]
                and any(x == y for x, y in zip(a["bands"], b["bands"], strict=True))
            )
            if bands or a["content_hash"] == b["content_hash"]:
                old, new = component[i], component[j]
                component = [new if c == old else c for c in component]
    return [{n for n, c in enumerate(component) if c == label} for label in sorted(set(component))]


@pytest.mark.parametrize("partitions", [1, 7])
def test_clusters_are_the_components_that_brute_force_finds(tmp_path: Path, partitions: int) -> None:
    """Every document names the longest of its component as its representative, and the component's size."""
    settings = DedupSettings(partitions=partitions)
    store, shards = Store(str(tmp_path)), corpus()
    signals = write_signals(store, shards, settings)
    tasks = Clusters(settings).tasks(shards_of(signals), store)
    Clusters(settings).work(tasks, Context(store, RUNNER, documents=27))
    found = clusters_of(store, tasks)
    documents = [pair for shard in shards for pair in shard]
    for members in brute_force(shards, store, signals):
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
    signals = write_signals(store, [[("same", "a b c d e f g")], [("same", "a b c d e f g")]], settings)
    tasks = Clusters(settings).tasks(shards_of(signals), store)
    Clusters(settings).work(tasks, Context(store, RUNNER, documents=2))
    assert [row["duplicate"] for row in clusters_of(store, tasks)] == [None, "exact"]


def test_exact_and_near_search_can_be_switched_off(tmp_path: Path) -> None:
    """Without near search only equal bytes are linked; without either nothing is."""
    for exact, near, expected in [(True, False, {"exact"}), (False, False, set())]:
        settings = DedupSettings(exact=exact, near=near)
        store = Store(str(tmp_path / f"{exact}{near}"))
        tasks = Clusters(settings).tasks(shards_of(write_signals(store, corpus(), settings)), store)
        Clusters(settings).work(tasks, Context(store, RUNNER, documents=27))
        assert {row["duplicate"] for row in clusters_of(store, tasks)} - {None} == expected


def test_a_hot_bucket_is_one_cluster(tmp_path: Path) -> None:
    """Three thousand copies of one text give one component, by as many links as copies."""
    settings = DedupSettings()
    store = Store(str(tmp_path))
    shard = [(f"d{n:05d}", "the same words again and again in every document") for n in range(3000)]
    tasks = Clusters(settings).tasks(shards_of(write_signals(store, [shard], settings)), store)
    (marker,) = Clusters(settings).work(tasks, Context(store, RUNNER, documents=3000))
    assert marker.dropped == {"exact_duplicate": 2999}
    spans = [span for _, span in dedup.Dedup(settings, store, Links(store, "k"), 1).band_spans(tasks[0])]
    exact, near = dedup.bucket_links(spans)
    assert len(exact[0]) == len(near[0]) == 2999


def test_an_empty_corpus_has_no_clusters(tmp_path: Path) -> None:
    """A shard without rows has a clusters shard without rows."""
    settings = DedupSettings()
    store = Store(str(tmp_path))
    tasks = Clusters(settings).tasks(shards_of(write_signals(store, [[], []], settings)), store)
    assert [m.rows_in for m in Clusters(settings).work(tasks, Context(store, RUNNER, documents=0))] == [0, 0]


def test_band_thresholds_agree_with_datasketch() -> None:
    """14 bands of 8 rows are what datasketch's own optimiser thinks of as a threshold near 0.72."""
    from datasketch.lsh import _optimal_param

    shingles = ShingleSettings()
    bands, rows = _optimal_param(0.72, shingles.bands * shingles.rows, 0.5, 0.5)
    ours = (1 / shingles.bands) ** (1 / shingles.rows)
    assert abs((1 / bands) ** (1 / rows) - ours) < 0.08
