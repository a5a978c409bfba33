"""Worker processes of FnApiRunner: they are other processes, and one that dies is not waited for."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.internal.cloudpickle import cloudpickle

from siftlm.stages.runner import RunnerSettings, run_pipeline

TWO = RunnerSettings(processes=2)


@pytest.fixture(autouse=True)
def pickled_by_value() -> None:
    """Workers cannot import a test, so its functions travel whole."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def elements(pipeline: beam.Pipeline) -> beam.PCollection[int]:
    return pipeline | beam.Create(range(8)) | beam.Reshuffle()


def test_work_is_spread_over_processes_that_are_not_this_one(tmp_path: Path) -> None:
    """Eight elements are worked on in two processes, neither of them the one that submits."""

    def build(pipeline: beam.Pipeline) -> None:
        _ = elements(pipeline) | beam.Map(lambda number: (tmp_path / f"{os.getpid()}-{number}").touch())

    run_pipeline(TWO, "probe", build)
    found = [path.name.split("-") for path in tmp_path.iterdir()]
    assert sorted(int(number) for _, number in found) == list(range(8))
    assert len({process for process, _ in found} - {str(os.getpid())}) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_fails_the_run() -> None:
    """The runner hears of it, where it would otherwise wait forever."""

    def build(pipeline: beam.Pipeline) -> None:
        _ = elements(pipeline) | beam.Map(lambda number: os._exit(7) if number == 3 else number)

    with pytest.raises(RuntimeError, match="exit code 7"):
        run_pipeline(TWO, "probe", build)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_before_it_is_asked_for_anything_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as it starts; what the runner asks for afterwards fails too."""
    from siftlm.stages.processes import ForkedWorker

    start = ForkedWorker.start_worker

    def killed(self: ForkedWorker) -> None:
        start(self)
        self._process.kill()
        self._process.join()
        time.sleep(0.5)

    monkeypatch.setattr(ForkedWorker, "start_worker", killed)
    with pytest.raises(RuntimeError, match="a worker process ended with exit code"):
        run_pipeline(TWO, "probe", lambda pipeline: elements(pipeline) | beam.Map(lambda number: number))
