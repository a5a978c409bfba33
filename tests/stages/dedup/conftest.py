"""Signals of small corpora, the clusters found in them, and the same by brute force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tests.stages.conftest import shards_of, write_documents

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task, run_task
from siftlm.scorers import ShingleSettings
from siftlm.stages.annotate import Annotate
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.store import Store

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


def write_signals(store: Store, shards: Shards, shingles: ShingleSettings, name: str = "doc") -> list[Task]:
    """Documents and signals of the shards, as the steps before dedup leave them."""
    tasks = []
    for number, shard in enumerate(shards):
        write_documents(store, f"{name}{number}", [i for i, _ in shard], [text for _, text in shard])
        tasks.append(Task(number, f"shard {number}", "", {"documents": f"{name}{number}"}))
    step = Annotate((shingles,))
    made = step.tasks(shards_of(tasks), store)
    for task in made:
        run_task(step, task, store)
    return [Task(t.shard, t.name, "", {**t.inputs, "signals": m.key}) for t, m in zip(tasks, made, strict=True)]


def clusters(settings: DedupSettings, signals: Sequence[Task], store: Store) -> list[dict[str, Any]]:
    """The rows that the step makes, in the order of the documents."""
    step = Clusters(settings)
    tasks = step.tasks(shards_of(signals), store)
    step.work(tasks, Context(store, RunnerSettings(threads=1), documents=40))
    return [row for task in tasks for row in store.table("clusters", task.key).to_pylist()]


def signal_rows(store: Store, signals: Sequence[Task]) -> list[dict[str, Any]]:
    """The signals of every document."""
    return [row for task in signals for row in store.table("signals", task.inputs["signals"]).to_pylist()]


def share_a_band(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether the hashes of a band are the same."""
    return a["has_shingles"] and b["has_shingles"] and any(map(int.__eq__, a["bands"], b["bands"]))


def jaccard(a: str, b: str, ngram: int) -> float:
    """The similarity of the sets of shingles of two texts."""
    first, second = _shingles(a, ngram), _shingles(b, ngram)
    return len(first & second) / len(first | second) if first | second else 0.0


def _shingles(text: str, ngram: int) -> frozenset[tuple[str, ...]]:
    words = text.split()
    return frozenset(tuple(words[k : k + ngram]) for k in range(len(words) - ngram + 1))


def components(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """The smallest member of everybody's component."""
    label = list(range(count))
    for i, j in edges:
        old, new = max(label[i], label[j]), min(label[i], label[j])
        label = [new if c == old else c for c in label]
    return label
