"""Verified links and links to earlier runs against brute force over shingle sets, band by band."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task, run_task
from siftlm.engine.spill import Links
from siftlm.engine.step import Output, Shard
from siftlm.errors import UserError
from siftlm.report.manifest import FORMAT, write_manifest
from siftlm.scorers import ShingleSettings
from siftlm.stages.annotate import Annotate
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters, check
from siftlm.stages.dedup.verify import SMALL_STAR, ShingleSets, verified
from siftlm.stages.eligible import Split
from siftlm.store import Marker, Store

RUNNER = RunnerSettings(threads=1)
LOOSE = ShingleSettings(ngram=2, bands=30, rows=2)  # finds far more candidates than are similar
Shards = Sequence[Sequence[tuple[str, str]]]


def edited(rng: np.random.Generator, text: str, share: float) -> str:
    """The text with a share of its words replaced."""
    return " ".join(f"new{rng.integers(10**6)}" if rng.random() < share else word for word in text.split())


def families(seed: int, shards: int = 3, count: int = 5) -> list[list[tuple[str, str]]]:
    """Shards with texts and versions of them that share from all to hardly any shingles, ids from a to z."""
    rng = np.random.default_rng(seed)
    made: list[list[tuple[str, str]]] = [[] for _ in range(shards)]
    for family in range(count):
        base = " ".join(f"w{rng.integers(10**6)}" for _ in range(60))
        for version, share in enumerate((0.0, 0.0, 0.03, 0.08, 0.15, 0.3, 0.5)):
            made[int(rng.integers(shards))].append((f"{seed}-{family}-{version}", edited(rng, base, share)))
    made[0].append((f"{seed}-empty", ""))
    return made


def shards_of(tasks: Sequence[Task]) -> list[Shard]:
    """Shards that have what the tasks read."""
    return [Shard(t.shard, t.name, t.facts, {step: Output(key, key) for step, key in t.inputs.items()}) for t in tasks]


def write_signals(store: Store, shards: Shards, shingles: ShingleSettings, name: str = "doc") -> list[Task]:
    """Documents and signals of the shards, as the stages before dedup leave them."""
    tasks = []
    for number, shard in enumerate(shards):
        sizes = [len(text.encode()) for _, text in shard]
        nulls = [None] * len(shard)
        columns = [[i for i, _ in shard], [t for _, t in shard], nulls, nulls, ["s"] * len(shard), nulls, sizes]
        arrays = [
            pa.array(column, field.type)
            for column, field in zip([*columns, list(range(len(shard)))], DOCUMENT_SCHEMA, strict=True)
        ]
        with store.writer("documents", f"{name}{number}", DOCUMENT_SCHEMA) as out:
            out.write(pa.RecordBatch.from_arrays(arrays, schema=DOCUMENT_SCHEMA))
        key = f"{name}{number}"
        store.commit(Marker("documents", key, key, out.rows, out.rows, files={".parquet": out.seal}))
        tasks.append(Task(number, f"shard {number}", "", {"documents": key}))
    made = Annotate((shingles,)).tasks(shards_of(tasks), store)
    for task in made:
        run_task(Annotate((shingles,)), task, store)
    return [Task(t.shard, t.name, "", {**t.inputs, "signals": m.key}) for t, m in zip(tasks, made, strict=True)]


def clusters(settings: DedupSettings, signals: Sequence[Task], store: Store) -> list[dict[str, Any]]:
    tasks = Clusters(settings).tasks(shards_of(signals), store)
    Clusters(settings).work(tasks, Context(store, RUNNER, documents=40))
    return [row for task in tasks for row in store.table("clusters", task.key).to_pylist()]


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


def shingle_set(text: str, ngram: int) -> frozenset[tuple[str, ...]]:
    words = text.split()
    return frozenset(tuple(words[k : k + ngram]) for k in range(len(words) - ngram + 1))


def jaccard(a: str, b: str, ngram: int) -> float:
    first, second = shingle_set(a, ngram), shingle_set(b, ngram)
    return len(first & second) / len(first | second) if first | second else 0.0


def bands_of(store: Store, signals: Sequence[Task]) -> list[dict[str, Any]]:
    return [row for task in signals for row in store.table("signals", task.inputs["signals"]).to_pylist()]


def share_a_band(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["has_shingles"] and b["has_shingles"] and any(map(int.__eq__, a["bands"], b["bands"]))


def components(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The smallest member of everybody's component."""
    label = list(range(count))
    for i, j in edges:
        old, new = max(label[i], label[j]), min(label[i], label[j])
        label = [new if c == old else c for c in label]
    return label


@pytest.mark.parametrize(("seed", "partitions"), [(0, 1), (1, 3), (2, 0)])
def test_only_pairs_of_that_jaccard_similarity_are_linked(tmp_path: Path, seed: int, partitions: int) -> None:
    """Clusters are the components of candidate pairs whose sets are similar enough, found pair by pair."""
    store, shards, threshold = Store(str(tmp_path)), families(seed), 0.6
    settings = DedupSettings(shingles=LOOSE, verify=threshold, partitions=partitions)
    signals = write_signals(store, shards, LOOSE)
    found = clusters(settings, signals, store)
    texts = [text for shard in shards for _, text in shard]
    rows = bands_of(store, signals)
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
    rows = bands_of(old_store, write_signals(old_store, old, LOOSE)) + bands_of(store, signals)
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
    assert all(reason is None for reason in Split(drops=False).losses(task, store)[0])
    assert not all(reason is None for reason in Split().losses(task, store)[0])


def test_components_merge_in_a_tree_and_leave_no_file(tmp_path: Path) -> None:
    """Files of edges give the same components whether merged at once or by branches."""
    rng, links = np.random.default_rng(0), Links(Store(str(tmp_path)), "k")
    edges = [(rng.integers(0, 4000, 500), rng.integers(0, 4000, 500)) for _ in range(6)]
    paths = [links.write(f"edges-{n}", part) for n, part in enumerate(edges)]
    once = links.read(links.merge("once", paths))
    tree = links.read(links.merge("all", [links.merge("left", paths[:2]), links.merge("right", paths[2:])]))
    assert all(map(np.array_equal, once, tree))
    links.remove()
    assert not (tmp_path / "links" / "k").exists()
