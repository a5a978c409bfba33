"""Where pipelines run: an engine that is not there, and the memory that batches are made to fit."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from siftlm.engine import runner
from siftlm.engine.runner import RunnerSettings, batch_size, check, memory, run_pipeline, threads
from siftlm.errors import UserError

GIB = 1 << 30


@pytest.fixture
def deaf() -> int:
    """A port where nobody listens."""
    with socket.socket() as held:
        held.bind(("localhost", 0))
        return int(held.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "option", "address"),
    [
        ("PortableRunner", "job_endpoint", "localhost:{}"),
        ("FlinkRunner", "job_endpoint", "127.0.0.1:{}"),
        ("FlinkRunner", "flink_master", "localhost:{}"),
        ("SparkRunner", "spark_master_url", "spark://localhost:{}"),
        ("SparkRunner", "spark_rest_url", "http://localhost:{}/v1"),
    ],
)
def test_an_engine_that_is_not_there_is_one_line_within_seconds(
    monkeypatch: pytest.MonkeyPatch, deaf: int, name: str, option: str, address: str
) -> None:
    """Instead of the minutes that Beam waits; the option is named."""
    monkeypatch.setattr(runner, "REACHED_WITHIN", 0.1)
    settings = RunnerSettings(name=name, options={option: address.format(deaf)})
    with pytest.raises(UserError, match=rf"^runner\.options\.{option}: must be where somebody listens, got .*{deaf}"):
        run_pipeline(settings, "documents", lambda _: pytest.fail("nothing is built"))


def test_a_worker_pool_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, deaf: int) -> None:
    """Where this process is the engine that would look for it."""
    monkeypatch.setattr(runner, "REACHED_WITHIN", 0.1)
    options: dict[str, Any] = {"job_endpoint": "embed", "environment_type": "EXTERNAL"}
    settings = RunnerSettings(name="PortableRunner", options={**options, "environment_config": f"localhost:{deaf}"})
    with pytest.raises(UserError, match=rf"^runner\.options\.environment_config: must be .* got 'localhost:{deaf}'"):
        run_pipeline(settings, "documents", lambda _: pytest.fail("nothing is built"))


def test_a_host_that_nobody_knows_is_said_at_once() -> None:
    """No second try."""
    settings = RunnerSettings(name="PortableRunner", options={"job_endpoint": "no-such-host.invalid:8099"})
    with pytest.raises(UserError, match=r"no-such-host\.invalid:8099"):
        run_pipeline(settings, "documents", lambda _: None)


def test_an_engine_that_is_starting_is_waited_for(deaf: int) -> None:
    """It listens a moment later."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("localhost", deaf))
    opening = threading.Timer(0.3, server.listen)
    opening.start()
    assert runner._unreached("localhost", deaf) is None
    opening.join()
    server.close()


@pytest.mark.parametrize(
    "options", [{"job_endpoint": "embed"}, {"flink_master": "[local]"}, {"flink_master": "[auto]"}]
)
def test_an_engine_that_beam_starts_itself_is_not_looked_for(options: dict[str, Any]) -> None:
    """There is no address."""
    runner._check_reached(RunnerSettings(name="FlinkRunner", options=options))


def test_batches_fit_the_memory_of_a_worker() -> None:
    """Never more than the default sizes; a quarter of the memory, about a quarter of the batch, or fewer threads."""
    default = RunnerSettings(threads=2)
    assert memory(default) == 2 * GIB
    assert batch_size(default, 1000) == 1000
    ample = RunnerSettings(threads=2, worker_memory="64GB")
    assert (threads(ample), batch_size(ample, 1000)) == (2, 1000)
    half = RunnerSettings(threads=2, worker_memory="1280MiB")  # 512 MiB for each of them
    assert (threads(half), batch_size(half, 1000)) == (2, 500)
    least = RunnerSettings(threads=8, worker_memory="512MiB")
    assert (threads(least), batch_size(least, 1000)) == (1, 250)


def test_a_worker_without_room_for_a_shard_is_refused() -> None:
    """With the key and what it must be."""
    with pytest.raises(UserError, match=r"^runner\.worker_memory: must be 512MiB or more, got 300MB"):
        check(RunnerSettings(worker_memory="300MB"))


def test_memory_changes_no_byte_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches and many partitions: dedup, cuts, shuffle and all."""
    import json

    from siftlm import job
    from siftlm.config import parse
    from siftlm.engine.progress import Progress
    from siftlm.stages.dedup import work as dedup
    from siftlm.stages.paragraphs import work as paragraphs

    lines = ["a line that many documents have, long enough to be cut out of them"] * 3
    for shard in range(3):
        rows = [
            {"text": "\n".join([*lines, f"the {n}th of {shard} says {n * 7919} and {n % 5} " * (3 + n % 7)])}
            for n in range(200)
        ]
        (tmp_path / f"{shard}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(out: str, **settings: Any) -> dict[str, bytes]:
        tree = {
            "name": "bench",
            "input": [{"source": "web", "paths": [f"{tmp_path}/*.jsonl"]}],
            "annotate": {"language": None},
            "dedup": {"verify": 0.5, "paragraphs": {"min_bytes": 20, "min_documents": 3}},
            "output": {"folder": str(tmp_path / out), "shuffle": True, "rejects": True},
            "runner": settings,
        }
        job.run(parse(tree, []), Progress(quiet=True))
        parts = ("data", "rejects")
        return {path.name: path.read_bytes() for part in parts for path in (tmp_path / out / part).iterdir()}

    ample = run("ample", threads=2)
    monkeypatch.setattr(runner, "SHARD_MEMORY", 1 << 50)  # so that every batch is one document or a few
    monkeypatch.setattr(dedup, "ENTRIES", 1 << 30)
    monkeypatch.setattr(dedup, "VERIFIED_DOCUMENTS", 1 << 29)
    monkeypatch.setattr(paragraphs, "ENTRIES", 1 << 28)
    assert run("tight", worker_memory="512MiB") == ample
