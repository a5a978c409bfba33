"""The progress of trainings is that of their steps, from whichever process."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.proxies.training.toys import job

from siftlm.engine.progress import Progress
from siftlm.engine.shards import Task
from siftlm.proving.watching import TrainingCounts
from siftlm.proxies.training import train
from siftlm.proxies.training.steps_file import STEPS_DONE, StepsFile, steps_done
from siftlm.store import Marker, Store


def test_tokens_of_models_in_training_count(tmp_path: Path) -> None:
    """Two of four were there, one is half way, and one has begun again where it was interrupted."""
    store = Store(str(tmp_path))
    keys = [f"{n}" * 32 for n in range(4)]
    for key in keys:
        (tmp_path / "proof" / key).mkdir(parents=True)
    for key in keys[:2]:
        store.commit(Marker("proof", key, "", 0, 0))
    StepsFile(tmp_path / "proof" / keys[3])(10, 100)
    counts = TrainingCounts("proof", frozenset(keys), set(keys[:2]), steps=100, step_tokens=64)
    counts.look(store)
    assert counts.status(5) == "proof: 2/4 models, 13,440 of 25,600 tokens, 5 s so far"
    StepsFile(tmp_path / "proof" / keys[2])(50, 100)
    StepsFile(tmp_path / "proof" / keys[3])(60, 100)
    counts.look(store)
    assert counts.status(10) == "proof: 2/4 models, 19,840 of 25,600 tokens, 640 tokens/s, 9 s left"
    store.commit(Marker("proof", keys[2], "", 0, 0))
    counts.look(store)
    assert counts.status(10).startswith("proof: 3/4 models, 23,040 of 25,600 tokens, 960 tokens/s")


def test_a_file_that_is_half_written_says_nothing(tmp_path: Path) -> None:
    assert steps_done(tmp_path) is None
    (tmp_path / STEPS_DONE).write_bytes(b"123")
    assert steps_done(tmp_path) is None


def test_a_training_leaves_no_trace_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, others see them; the line is printed where progress is, and counts models."""
    monkeypatch.setattr("siftlm.engine.progress.PLAIN_INTERVAL_SECONDS", 0.01)
    store, key, printed = Store(str(tmp_path / "store")), "0" * 32, io.StringIO()
    folder = Path(store.path("proof", key, ""))
    file, seen = StepsFile(folder, seconds=0), []

    def told(step: int, steps: int) -> None:
        file(step, steps)
        seen.append(steps_done(folder))

    counts = lambda *given: TrainingCounts(*given, steps=12, step_tokens=64)  # noqa: E731
    with Progress(printed).stage("proof", [Task(0, "one", key)], store, counts):
        train(job(tmp_path, 12), store, "proof", key, progress=told)
    assert seen == list(range(1, 13))
    assert not (folder / STEPS_DONE).exists()
    assert store.find("proof", key) is not None
    lines = printed.getvalue().splitlines()
    assert lines[-1].startswith("proof: 1 of 1 models in")
    assert any("of 768 tokens" in line for line in lines[:-1])
