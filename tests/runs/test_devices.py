"""Runs on devices that are not there: the same bytes for one and four of them, whatever happens to some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.engine.devices.fakes import FakeDevices
from tests.models import save_classifier
from tests.runs.conftest import Bench

from siftlm.cli.mistakes import known
from siftlm.config import parse
from siftlm.engine.devices import pool
from siftlm.errors import UserError
from siftlm.plan import plan

pytest.importorskip("apache_beam")
SHARDS, DOCUMENTS = 9, 4
WORDS = ["rain", "trains", "north", "city", "late", "stay", "people", "run"]
Made = Callable[..., FakeDevices]


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Puts so many devices into this machine."""
    pools = []

    def made(number: int, broken: dict[int, str] | None = None, together: int = 0) -> FakeDevices:
        notes = tmp_path / f"notes-{len(pools)}"
        notes.mkdir()
        devices = FakeDevices(number, notes, broken or {}, together)
        pools.append(devices.pool())
        monkeypatch.setattr(pool.shared, "__dict__", pools[-1].__dict__)
        return devices

    yield made
    for one in pools:
        one.close()


@pytest.fixture
def corpus(bench: Bench, tiny_model: Any) -> dict[str, Any]:
    """Nine shards and the tables of a run with one language model, whose device is yet to be said."""
    for shard in range(SHARDS):
        texts = [" ".join(WORDS[(shard + n * k) % 8] for k in range(5 + shard + n)) for n in range(DOCUMENTS)]
        bench.shard(f"{shard}.jsonl", [{"id": f"{shard}-{n}", "text": text} for n, text in enumerate(texts)])
    return {"score": [{"name": "tiny", "model": str(tiny_model.kept(scale=8.0))}]}


def on(tables: dict[str, Any], device: str) -> dict[str, Any]:
    return {**tables, "score": [{**tables["score"][0], "device": device}]}


def test_one_and_four_devices_give_the_same_bytes(bench: Bench, corpus: dict[str, Any], devices: Made) -> None:
    """All four are used, all at a time, each in one process; every shard is scored once and none in this process."""
    devices(1)
    bench.run("one", **on(corpus, "cuda"))
    four = devices(4, together=4)
    bench.run("four", **on(corpus, "cuda"))
    assert bench.content("one") == bench.content("four")
    assert len(bench.rows("four")) == SHARDS * DOCUMENTS
    calls = four.calls()
    assert sorted(call["shard"] for call in calls) == sorted({call["shard"] for call in calls})
    assert len(calls) == SHARDS
    assert {call["device"] for call in calls} == {0, 1, 2, 3}
    assert len({call["process"] for call in calls} - {os.getpid()}) == 4


def test_keys_and_bytes_do_not_depend_on_the_number(bench: Bench, corpus: dict[str, Any], devices: Made) -> None:
    """`cuda`, `cuda:0` and `cuda:3` are one setting to the store, which has nothing to do the second time."""
    devices(4)
    bench.run(**on(corpus, "cuda"))
    before, content = bench.markers(), bench.content()
    pinned = devices(4)
    for device in ("cuda:3", "cuda:0"):
        bench.run(**on(corpus, device))
    assert (bench.markers(), bench.content()) == (before, content)
    assert not pinned.calls()
    bench.run("pinned", **on(corpus, "cuda:2"))
    assert {call["device"] for call in pinned.calls()} == {2}
    assert bench.content("pinned") == content
    keys = [sorted((bench.root / out / "store/scores/tiny").glob("*.parquet")) for out in ("out", "pinned")]
    assert [path.name for path in keys[0]] == [path.name for path in keys[1]]


def test_a_device_that_breaks_is_named_and_loses_nothing(
    bench: Bench, corpus: dict[str, Any], devices: Made, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of a shard, which another device does again: the same bytes as without the accident."""
    devices(1)
    bench.run("sound", **on(corpus, "cuda"))
    broken = devices(3, {1: "dies", 2: "raises"}, together=3)
    bench.run("broken", **on(corpus, "cuda"))
    assert bench.content("broken") == bench.content("sound")
    calls = broken.calls()
    assert {call["device"] for call in calls} == {0}
    assert sorted(call["shard"] for call in calls) == [str(bench.root / f"in/{n}.jsonl") for n in range(SHARDS)]
    first, second = sorted(record.getMessage() for record in caplog.records if "failed" in record.getMessage())
    assert first.startswith("score.tiny.device: cuda:1 (Fake, ")
    assert first.endswith("failed: its process ended by SIGKILL; its work goes to another")
    assert second.startswith("score.tiny.device: cuda:2 (Fake, ")
    assert second.endswith("failed: CUDA error: an illegal memory access was encountered; its work goes to another")


def test_when_all_devices_break_there_is_one_line(bench: Bench, corpus: dict[str, Any], devices: Made) -> None:
    """It says what happened to each; and the next run, on sound devices, goes on."""
    devices(2, {0: "dies", 1: "raises"})
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Beam wraps it in an error of its own
        bench.run(**on(corpus, "cuda"))
    told = str(known(caught.value))
    assert told.count("\n") == 0
    assert told.startswith("score.tiny.device: must have a device that works, got none; cuda:0 (Fake, ")
    assert "its process ended by SIGKILL; cuda:1 (Fake, " in told
    assert told.endswith("CUDA error: an illegal memory access was encountered")
    devices(1)
    bench.run(**on(corpus, "cuda"))
    assert len(bench.rows()) == SHARDS * DOCUMENTS


def test_a_device_that_is_not_there_is_refused_before_any_work(
    bench: Bench, corpus: dict[str, Any], devices: Made, tmp_path: Path
) -> None:
    """Of scores and of raters, with worker processes too, and with what there is."""
    devices(4)
    rater = save_classifier(tmp_path / "rater", "BertConfig", num_labels=1, hidden_size=32, num_hidden_layers=1,
                            num_attention_heads=2, intermediate_size=32)  # fmt: skip
    models = [{"name": "edu", "model": str(rater), "device": "cuda:9"}]
    rated = {**on(corpus, "cpu"), "annotate": {"language": None, "signals": None, "models": models}}
    for place, tables in (("score.tiny", on(corpus, "cuda:9")), ("annotate.models.edu", rated)):
        for runner in ({}, {"processes": 2}):
            with pytest.raises(UserError) as caught:
                bench.run(**tables, runner=runner)
            assert str(caught.value) == (
                f"{place}.device: must be a CUDA device that this process sees, one of cuda:0 to cuda:3, got 'cuda:9'"
            )
    assert not (bench.root / "out/store/documents").exists()


def test_a_mistake_in_the_model_is_told_before_any_work(bench: Bench, corpus: dict[str, Any], devices: Made) -> None:
    """By the process of a device, which loads it first; and it is no failure of the device's."""
    found = devices(2)
    tables = on(corpus, "cuda")
    tables["score"][0]["context_tokens"] = 1000
    with pytest.raises(UserError, match=r"^score\.tiny\.context_tokens: must be at most the model's 64, got 1000$"):
        bench.run(**tables)
    assert not found.calls()
    assert not (bench.root / "out/store/documents").exists()


def test_raters_work_on_devices(bench: Bench, corpus: dict[str, Any], devices: Made, tmp_path: Path) -> None:
    """As scores do, with the same bytes."""
    rater = save_classifier(tmp_path / "rater", "BertConfig", num_labels=1, hidden_size=32, num_hidden_layers=1,
                            num_attention_heads=2, intermediate_size=32, problem_type="regression")  # fmt: skip

    def run(out: str, device: str) -> None:
        models = [{"name": "edu", "model": str(rater), "device": device}]
        bench.run(out, annotate={"language": None, "signals": None, "models": models})

    four = devices(4, together=4)
    run("four", "cuda")
    assert {call["device"] for call in four.calls()} == {0, 1, 2, 3}
    one = devices(4)
    run("one", "cuda:1")
    assert {call["device"] for call in one.calls()} == {1}
    assert bench.content("one") == bench.content("four")


def test_models_with_other_devices_have_passes_of_their_own(
    bench: Bench, corpus: dict[str, Any], devices: Made
) -> None:
    """Though their tokens are the same: a process sees one device. On one device they share a pass."""
    model = corpus["score"][0]["model"]
    apart = devices(2)
    pinned = [{"name": f"m{n}", "model": model, "device": f"cuda:{n}"} for n in (0, 1)]
    bench.run("apart", score=pinned)
    assert len(apart.calls()) == 2 * SHARDS
    together = devices(2)
    bench.run("together", score=[{**table, "device": "cuda"} for table in pinned])
    assert len(together.calls()) == SHARDS
    assert bench.content("apart") == bench.content("together")


def test_a_plan_divides_by_the_devices(
    bench: Bench, corpus: dict[str, Any], devices: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's step takes a fourth of the time on four devices; how many cores there are does not matter to it."""
    from siftlm.estimate import Estimate

    seconds = {"documents": 800.0, "scores/tiny": 800.0}
    monkeypatch.setattr("siftlm.plan.estimate", lambda *_: Estimate(1.0, 1.0, seconds))

    def planned(number: int, device: str, threads: int) -> dict[str, float | None]:
        devices(number)
        tree = bench.tree(**on(corpus, device), runner={"threads": threads})
        return {row.stage: row.seconds for row in plan(parse(tree, []))}

    for number, device, expected in ((4, "cuda", 200.0), (4, "auto", 200.0), (4, "cuda:3", 800.0), (0, "auto", 100.0)):
        found = planned(number, device, 8)
        assert (found["scores/tiny"], found["documents"]) == (expected, 100.0), (number, device)


def test_an_estimate_leaves_out_the_time_in_which_a_model_loads(
    bench: Bench, corpus: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is spent once a process, not once a sample."""
    from siftlm.scorers.lm import LMScorer

    hours = [0.0]

    def slow(scorer: LMScorer) -> Any:
        hours[0] += 1.0
        return opened(scorer)

    opened = LMScorer.open
    monkeypatch.setattr(LMScorer, "open", slow)
    monkeypatch.setattr("siftlm.engine.step.time", SimpleNamespace(monotonic=lambda: 3600 * hours[0]))
    tables = on(corpus, "cpu")
    tables["score"][0]["window_documents"] = 77  # a scorer that nobody has opened
    rows = {row.stage: row for row in plan(parse(bench.tree(**tables), []))}
    assert (hours, rows["scores/tiny"].seconds) == ([1.0], 0.0)


PROCESSES = """
import json, sys
from pathlib import Path
from tests.engine.devices.fakes import FakeDevices
from siftlm.engine.devices import pool
pool.shared.__dict__ = FakeDevices({number}, Path({notes!r}), {broken!r}, {together}).pool().__dict__
"""


def test_worker_processes_share_out_devices(bench: Bench, corpus: dict[str, Any], tmp_path: Path) -> None:
    """Two processes use three devices, no device is in two hands, and the bytes are those of the CPU."""
    bench.run("truth", **on(corpus, "cpu"))
    done, calls = in_processes(bench, on(corpus, "cuda"), tmp_path, 3, together=3)
    assert done.returncode == 0, done.stderr
    assert len(calls) == SHARDS
    assert {call["device"] for call in calls} == {0, 1, 2}
    assert len({(call["device"], call["process"]) for call in calls}) == 3
    told = [bench.rows(out) for out in ("out", "truth")]
    assert told[0] == told[1]


def test_a_broken_device_of_a_worker_process_is_told(bench: Bench, corpus: dict[str, Any], tmp_path: Path) -> None:
    """On standard error of the run, and the run ends well."""
    done, calls = in_processes(bench, on(corpus, "cuda"), tmp_path, 3, broken={2: "dies"}, together=3)
    assert done.returncode == 0, done.stderr
    assert {call["shard"] for call in calls} == {str(bench.root / f"in/{n}.jsonl") for n in range(SHARDS)}
    assert "score.tiny.device: cuda:2 (Fake, " in done.stderr
    assert len(bench.rows()) == SHARDS * DOCUMENTS


def test_a_run_that_is_stopped_leaves_no_process(bench: Bench, corpus: dict[str, Any], tmp_path: Path) -> None:
    """Whoever asks it to end has its devices back; one line says so, and running again goes on."""
    script, environment, devices = scripted(bench, on(corpus, "cuda"), tmp_path, 1, 1, together=2)  # waits for another
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True, env=environment) as process:
        give_up = time.monotonic() + 120
        while not (at := list(devices.notes.glob("at-*"))):
            assert time.monotonic() < give_up
            time.sleep(0.05)
        process.terminate()
        told = process.communicate(timeout=60)[1]
    assert (process.returncode, told) == (143, "siftlm: asked to end (SIGTERM); run again to go on from here\n")
    child, give_up = Path("/proc", at[0].read_text()), time.monotonic() + 20
    while child.exists():
        assert time.monotonic() < give_up, "a process was left behind"
        time.sleep(0.05)


@pytest.mark.parametrize("place", ["score.0.device", "annotate.models.0.device"])
def test_an_unknown_name_of_a_device_is_named_with_its_place(bench: Bench, corpus: dict[str, Any], place: str) -> None:
    """And with the names that there are."""
    models = [{"name": "edu", "model": "m"}]
    tree = bench.tree(**corpus, annotate={"models": models})
    with pytest.raises(UserError, match=rf"{place}: must be auto, cpu, cuda or cuda:N, got 'cuda:x'"):
        parse(tree, [f"{place}=cuda:x"])


def in_processes(
    bench: Bench, tables: dict[str, Any], folder: Path, number: int, **accidents: Any
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """A run in two worker processes, and what was noted of it."""
    script, environment, devices = scripted(bench, tables, folder, number, 2, **accidents)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment)
    return done, devices.calls()


def scripted(
    bench: Bench, tables: dict[str, Any], folder: Path, number: int, processes: int, **accidents: Any
) -> tuple[Path, dict[str, str], FakeDevices]:
    """A script that makes a run, and variables by which Python puts devices that are not there into its processes."""
    notes, site = folder / "notes", folder / "site"
    notes.mkdir()
    site.mkdir()
    code = PROCESSES.format(number=number, notes=str(notes), **{"broken": {}, "together": 0, **accidents})
    (site / "sitecustomize.py").write_text(code)
    script, tree = folder / "run.py", folder / "run.json"
    tree.write_text(json.dumps(bench.tree(**tables, runner={"processes": processes})))
    script.write_text(SCRIPT.format(tree=str(tree)))
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([str(site), root, os.environ.get("PYTHONPATH", "")])
    return script, {**os.environ, "PYTHONPATH": path}, FakeDevices(number, notes)


SCRIPT = """
import json, sys
from siftlm import job, logs, stopping
from siftlm.config import parse
from siftlm.engine.progress import Progress
if __name__ == "__main__":
    logs.show(sys.stderr)
    config = parse(json.loads(open({tree!r}).read()), [])
    try:
        with stopping.heeded():
            job.run(config, Progress(quiet=True))
    except stopping.Stopped as stopped:
        stopping.leave(stopped.code)
"""
