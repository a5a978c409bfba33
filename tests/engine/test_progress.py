"""Progress is what the markers say: counts, rates and the time left."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import pytest

from siftlm.engine import progress
from siftlm.engine.progress import Progress, StageCounts, duration, prometheus
from siftlm.engine.shards import Task
from siftlm.store import Marker, Store


def commit(store: Store, key: str, rows_in: int = 10, rows_out: int = 8) -> None:
    store.commit(Marker("signals", key, key, rows_in, rows_out, dropped={"odd": rows_in - rows_out}))


def test_a_tally_counts_every_marker_once(tmp_path: Path) -> None:
    """Looking again adds only what is new; shards done before the stage started are no rate."""
    store = Store(str(tmp_path))
    commit(store, "a")
    tally = StageCounts("signals", frozenset("abc"), {"a"})
    commit(store, "b")
    tally.look(store)
    tally.look(store)
    assert (tally.fresh, tally.rows_in, tally.rows_out, tally.done) == (1, 10, 8, {"a", "b"})
    assert tally.status(2.0) == "signals: 2/3 shards, 5 documents/s, keeps 80%, 2 s left"


def test_without_a_finished_shard_there_is_no_rate() -> None:
    """A guess would be worse than none."""
    assert StageCounts("signals", frozenset("ab")).status(70) == "signals: 0/2 shards, 1 min 10 s so far"


def test_a_stage_says_what_it_did_and_a_stage_without_work_is_silent(tmp_path: Path) -> None:
    """One plain line a stage when the output is not a terminal."""
    store, stream = Store(str(tmp_path)), io.StringIO()
    progress = Progress(stream, metrics=str(tmp_path / "siftlm.prom"))
    tasks = [Task(0, "a", "a"), Task(1, "b", "b")]
    for _ in range(2):
        with progress.stage("signals", tasks, store):
            commit(store, "a")
            commit(store, "b")
    assert stream.getvalue().startswith("signals: 2 of 2 shards in ")
    assert stream.getvalue().count("\n") == 1
    assert 'siftlm_rows_out{stage="signals"} 16' in (tmp_path / "siftlm.prom").read_text()


def test_metrics_that_cannot_be_written_end_the_stage_and_not_its_watcher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that nobody listens to shows a traceback; the error is raised where the stage ends."""
    unheard: list[object] = []
    monkeypatch.setattr(threading, "excepthook", unheard.append)
    monkeypatch.setattr(progress, "PLAIN_INTERVAL_SECONDS", 0.01)
    (tmp_path / "folder").mkdir()
    shown = Progress(io.StringIO(), metrics=str(tmp_path / "folder"))
    with (
        pytest.raises(IsADirectoryError),
        shown.stage("signals", [Task(0, "a", "a")], Store(str(tmp_path / "store"))),
    ):
        time.sleep(0.1)
    assert not unheard


def test_metrics_name_every_stage() -> None:
    """Every metric has a help, a type and a line a stage."""
    text = prometheus([StageCounts("documents", frozenset("a")), StageCounts("signals", frozenset("ab"))])
    assert 'siftlm_shards{stage="signals"} 2' in text
    assert text.count("# TYPE") == 4


def test_durations_read_like_speech() -> None:
    """Two units at most."""
    assert [duration(s) for s in (8, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]
