"""The commonness stage against the kernel's specification over plain texts, however they are cut into shards."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("apache_beam")
from tests.stages.conftest import Document, shards_of, write_clustered

from siftlm.engine.drive import Context
from siftlm.engine.runner import RunnerSettings
from siftlm.engine.shards import Task
from siftlm.engine.spill import Links
from siftlm.stages.commonness import work as commonness
from siftlm.stages.commonness.step import Commonness
from siftlm.stages.commonness.work import CommonnessSettings, NgramTable
from siftlm.stages.dedup.settings import DedupSettings
from siftlm.stages.dedup.step import Clusters
from siftlm.store import Store
from siftlm_kernels import commonness as kernel

SMALL = CommonnessSettings(bits=10)
WORDS = ["One", "two", "Ünique", "日本", "four,", "--"]


def corpus(seed: int, shards: int = 3) -> list[list[Document]]:
    """Shards of few different words, with empty texts and copies among them."""
    rng = random.Random(seed)
    made: list[list[Document]] = [[] for _ in range(shards)]
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(9))) for _ in range(30)]
    for number, text in enumerate([*texts, *texts[:6]]):
        rng.choice(made).append((f"d{number}", text, f"d{number - 30}" if number >= 30 else None))
    return made


def read(store: Store, tasks: Sequence[Task], shards: Sequence[Sequence[Document]]) -> dict[str, float | None]:
    """The commonness of every document by its id."""
    values = [v for task in tasks for v in store.table("commonness", task.key)["commonness"].to_pylist()]
    return dict(zip((name for shard in shards for name, *_ in shard), values, strict=True))


def expected(shards: Sequence[Sequence[Document]], drops: bool) -> dict[str, float | None]:
    """The specification over the texts that count, in one table."""
    rows = [row for shard in shards for row in shard]
    texts = {name: text.encode() for name, text, owner in rows if not (drops and owner)}
    values = np.frombuffer(b"".join(texts.values()), np.uint8)
    offsets = np.cumsum([0, *map(len, texts.values())], dtype=np.int64)
    table = kernel.empty_counts(SMALL.bits)
    kernel.count_ngrams(values, offsets, table, impl="reference")
    nll = kernel.mean_nll(values, offsets, table, impl="reference")
    found = {name: None if np.isnan(v) else float(np.exp(-v)) for name, v in zip(texts, nll, strict=True)}
    return {name: found.get(name) for name, *_ in rows}


@pytest.mark.parametrize("drops", [True, False])
def test_shards_are_measured_as_one_corpus(drops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies count where they stay; shards, rows, batches, slices and the pipeline change no bit."""
    shards, store = corpus(1), Store(str(tmp_path / "beam"))
    step = Commonness(SMALL, drops)
    tasks = step.tasks(shards_of(write_clustered(store, shards)), store)
    markers = step.work(tasks, Context(store, RunnerSettings(threads=2)))
    found, oracle = read(store, tasks, shards), expected(shards, drops)
    assert {name for name, value in found.items() if value is None} == {n for n, v in oracle.items() if v is None}
    assert all(found[name] == pytest.approx(value, rel=1e-12) for name, value in oracle.items() if value is not None)
    assert [(m.rows_in, m.rows_out) for m in markers] == [(len(shard), len(shard)) for shard in shards]
    assert not list(Path(store.root, "links").iterdir())

    monkeypatch.setattr(commonness, "BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(commonness, "SLICE", 256)
    rows = [row for shard in shards for row in shard]
    turned = [rows[:0:-1], [], rows[:1]]
    store = Store(str(tmp_path / "plain"))
    tasks = step.tasks(shards_of(write_clustered(store, turned)), store)
    ngrams = NgramTable(SMALL, drops, Links(store, "links"), tasks[0].facts["ngrams"])
    by_part = defaultdict(list)
    for task in tasks:
        for part, where in ngrams.count(task):
            by_part[part].append(where)
    assert len(by_part) == len(ngrams.paths()) == 4
    for part, slices in by_part.items():
        ngrams.add(part, slices)
    for task in tasks:
        store.commit(step.run(task, store))
    assert read(store, tasks, turned) == found


def test_a_table_that_is_there_is_not_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another prior reads the same counts, longer n-grams do not; and no key of dedup depends on either."""
    shards, store = corpus(2), Store(str(tmp_path))
    inputs, context = shards_of(write_clustered(store, shards)), Context(store, RunnerSettings(threads=1))
    first = Commonness(SMALL, True).tasks(inputs, store)
    Commonness(SMALL, True).work(first, context)
    monkeypatch.setattr(NgramTable, "count", lambda *_: pytest.fail("counted again"))
    other = Commonness(SMALL.model_copy(update={"prior": 2.0}), True)
    tasks = other.tasks(inputs, store)
    other.work(tasks, context)
    assert read(store, tasks, shards) != read(store, first, shards)
    longer = Commonness(SMALL.model_copy(update={"ngram": 5}), True).tasks(inputs, store)
    assert {task.facts["ngrams"] for task in longer}.isdisjoint(task.facts["ngrams"] for task in tasks)
    signals = shards_of([Task(0, "a", "", {"signals": "x"})])
    with_it, without = (Clusters(settings) for settings in (DedupSettings(commonness=SMALL), DedupSettings()))
    assert with_it.tasks(signals, store) == without.tasks(signals, store)
