"""Killed anywhere, a run goes on from its markers to the same bytes; a refresh redoes what changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from siftlm.stages.publish import workspace

pytest.importorskip("apache_beam")
RUN = """
import json, sys
from siftlm import job
from siftlm.config import parse
from siftlm.engine.progress import Progress
job.run(parse(json.load(open(sys.argv[1])), []), Progress(quiet=True))
"""
RULES = [{"kind": "band", "column": "byte_count", "criterion": "medium", "rate": 0.6}]
SETTINGS: dict[str, Any] = {
    "dedup": {"near": False},
    "select": {"rules": RULES},
    "output": {"rejects": True, "shuffle": True, "shard_bytes": 1 << 16},
    "runner": {"threads": 1},
}
STAGES = ("documents", "signals", "clusters", "decisions", "shuffled", "parts", "rejects")


def fill(bench: Any, shards: int, rows: int) -> None:
    for number in range(shards):
        texts = [f"document {n} of shard {number} " + "and so on " * (1 + n % 40) for n in range(rows)]
        twin = [{"id": f"{number}_twin", "text": "the same in every shard"}]
        bench.shard(f"{number:02d}.jsonl", [{"id": f"{number}_{n}", "text": t} for n, t in enumerate(texts)] + twin)


def kill_at(bench: Any, settings: dict[str, Any], stage: str, known: int) -> bool:
    """Starts the run and kills it when `stage` has a marker that was not there; whether it was still running."""
    conf = bench.root / "run.json"
    conf.write_text(json.dumps(bench.tree(**settings)))
    folder = bench.root / "out/store" / stage
    command = [sys.executable, "-c", RUN, str(conf)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as running:
        while running.poll() is None:
            if folder.is_dir() and sum(name.endswith(".done") for name in os.listdir(folder)) > known:
                os.killpg(running.pid, signal.SIGKILL)  # with its workers
                break
            time.sleep(0.001)
        _, remarks = running.communicate()
        assert b"WARNING" not in remarks
        return running.returncode == -signal.SIGKILL


@pytest.mark.parametrize("runner", [{"threads": 1}, {"processes": 2}])
def test_kills_at_every_stage_change_no_byte_and_repeat_no_work(bench: Any, runner: dict[str, int]) -> None:
    """SIGKILL after the first marker of each stage, one stage after another; then the run is finished.

    What was committed is never written again, and data/ and rejects/ are those of an undisturbed run.
    """
    fill(bench, shards=8, rows=150)
    settings = {**SETTINGS, "runner": runner}
    killed = []
    for stage in STAGES:
        before = bench.markers()
        done = sum(name.startswith(f"{stage}/") for name in before)
        killed.append(kill_at(bench, settings, stage, done))
        after = bench.markers()
        again = {name for name in before if after[name] != before[name]}
        assert not again, f"repeated on the way to {stage}"
        assert not (bench.root / "out/manifest.json").exists() or not killed[-1]
    assert sum(killed) >= 5, "most kills hit a run at work"
    before = bench.markers()
    bench.run(**settings)
    after = bench.markers()
    assert {name: after[name] for name in before} == before
    bench.run("calm", **SETTINGS)
    assert bench.content() == bench.content("calm")
    assert len([name for name in bench.content() if name.startswith("data/")]) > 1
    assert not list((bench.root / "out").glob(".staging-*"))
    assert not list((bench.root / "out").rglob("*.tmp"))
    assert not list((bench.root / "out").glob("store/links/*"))


@pytest.mark.parametrize("shared", [False, True])
def test_what_killed_runs_left_is_gone_after_the_next_one(bench: Any, shared: bool) -> None:
    """Temporary files everywhere and the keys of dedup, also in a store that runs share if none is at work there."""
    fill(bench, shards=1, rows=3)
    store = "shared" if shared else "out/store"
    settings = {"store": str(bench.root / store)} if shared else {}
    bench.run(**settings)
    (bench.root / "out/README.md").unlink()
    temporary, key = f"{'a' * 32}.tmp", "b" * 32
    in_store_names = (
        *("documents/.{key}.parquet", "scores/m/.{key}.done"),
        *("ngrams/{key}/.0001.zst", "plans/.x-{key}.jsonl"),
    )
    left = [
        f"{store}/links/{'c' * 32}/0.bin",
        f"{store}/.fingerprints.json.{temporary}",
        *(f"{store}/{name.format(key=key)}.{temporary}" for name in in_store_names),
        *(f"out/{name}.{temporary}" for name in (".manifest.json", "data/.part-00000-of-00001.parquet")),
    ]
    for path in (bench.root / name for name in left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    mine = bench.root / store / ".of-a-user.tmp"
    mine.touch()
    in_store = {name for name in left if name.startswith(store)}
    with workspace(str(bench.root / "another"), "another", str(bench.root / store)):
        for name in in_store:
            (bench.root / name).parent.mkdir(parents=True, exist_ok=True)
            (bench.root / name).write_text("of the other run, which is at work")
        bench.run(**settings)
        assert {name for name in left if (bench.root / name).exists()} == in_store
    (bench.root / "out/README.md").unlink()
    bench.run(**settings)
    assert not [name for name in left if (bench.root / name).exists()]
    assert mine.exists()


@pytest.mark.parametrize("other", [False, True])
def test_a_publication_that_is_cut_is_finished_by_the_next_run(
    bench: Any, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    """Killed between two moves to data/: no manifest says that it is complete, and the next run completes it.

    Also where another output of the same run was published, or cut, in between.
    """
    from siftlm import filesystem

    fill(bench, shards=2, rows=600)
    settings: dict[str, Any] = {"output": {"shard_bytes": 1 << 16}}
    bench.run("calm", **settings)
    loose = {**settings, "select": {"rules": [{"kind": "threshold", "column": "byte_count", "min": 100}]}}
    move = filesystem.rename
    for cut in (loose, settings) if other else (settings,):
        moved = []

        def some(source: str, target: str, moved: list[str] = moved) -> None:
            if len(moved) == 2:
                raise KeyboardInterrupt
            moved.append(target)
            move(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(filesystem, "rename", some)
            with pytest.raises(KeyboardInterrupt):
                bench.run(**cut)
        assert not (bench.root / "out/manifest.json").exists()
    if other:
        bench.run(**loose)
    bench.run(**settings)
    assert bench.content() == bench.content("calm")


def made(bench: Any, **settings: Any) -> dict[str, int]:
    """How many markers of each stage a run adds."""
    before = bench.markers()
    bench.run(**{**SETTINGS, **settings})
    after = bench.markers()
    assert {name: after[name] for name in before} == before
    fresh = [name.partition("/")[0] for name in after.keys() - before.keys()]
    return {stage: fresh.count(stage) for stage in ("documents", "signals")}


def test_a_refresh_redoes_the_shards_that_changed(bench: Any) -> None:
    """A new shard, a changed one, one changed at the same size and time, one removed: only these are read again."""
    fill(bench, shards=4, rows=10)
    folder: Path = bench.root / "in"
    assert made(bench) == {"documents": 4, "signals": 4}
    bench.shard("99.jsonl", [{"id": "new", "text": "a new document that was not there before, in the middle"}])
    assert made(bench) == {"documents": 1, "signals": 1}
    bench.shard("01.jsonl", [{"id": "other", "text": "a shard that is another one now"}])
    assert made(bench) == {"documents": 1, "signals": 1}
    third = folder / "02.jsonl"
    content, facts = third.read_bytes(), third.stat()
    third.write_bytes(content.replace(b"document 7", b"dokument 7"))
    os.utime(third, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert made(bench) == {"documents": 1, "signals": 1}
    (folder / "00.jsonl").unlink()
    assert made(bench) == {"documents": 0, "signals": 0}
    bench.run("calm", **SETTINGS)
    assert bench.content() == bench.content("calm")
    assert not [row for part in ("data", "rejects") for row in bench.rows(part=part) if row["doc_id"].startswith("0_")]


def workers_of(process: int) -> list[int]:
    """The children of its children: workers are forks of a server."""
    return [worker for server in children_of(process) for worker in children_of(server)]


def children_of(process: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the workers")
def test_workers_that_hang_hold_their_shards_and_killed_they_lose_nothing(bench: Any) -> None:
    """Stopped, they are waited for; killed, the run says so in one line, and the next one has the same bytes."""
    fill(bench, shards=4, rows=100)
    settings = {**SETTINGS, "runner": {"processes": 2}}
    conf = bench.root / "run.json"
    conf.write_text(json.dumps(bench.tree(**settings)))
    with subprocess.Popen([sys.executable, "-c", RUN, str(conf)], stderr=subprocess.PIPE, text=True) as running:
        while len(workers := workers_of(running.pid)) < 2:
            assert running.poll() is None
            time.sleep(0.01)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        time.sleep(2)
        assert running.poll() is None
        assert not bench.markers()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        _, said = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "ended with exit code -9" in said
    bench.run(**settings)
    bench.run("calm", **SETTINGS)
    assert bench.content() == bench.content("calm")
