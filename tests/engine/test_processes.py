"""Worker processes of FnApiRunner: they are other processes, and one that dies is not waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.internal.cloudpickle import cloudpickle

from siftlm.engine.runner import RunnerSettings, run_pipeline
from siftlm.errors import UserError

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


def test_a_warning_of_a_worker_is_shown_where_the_run_shows_its_own() -> None:
    """One line on standard error, from another process; what is shown there does not depend on the process."""
    code = """
import logging, sys
import apache_beam as beam
from siftlm import logs
from siftlm.engine.runner import RunnerSettings, run_pipeline
def tell(number):
    logging.getLogger("siftlm.scorers").warning("score.lm: some nats\\nare not finite %d", number)
logs.show(sys.stderr)
for processes in (1, 2):
    run_pipeline(RunnerSettings(processes=processes), "probe", lambda p: p | beam.Create([processes]) | beam.Map(tell))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.splitlines()
    found = [line for line in told if "finite" in line]
    assert found == [f"score.lm: some nats␊are not finite {number}" for number in (1, 2)], told


def test_a_worker_that_dies_fails_the_run() -> None:
    """The runner hears of it, where it would otherwise wait forever."""

    def build(pipeline: beam.Pipeline) -> None:
        _ = elements(pipeline) | beam.Map(lambda number: os._exit(7) if number == 3 else number)

    with pytest.raises(UserError, match=r"^runner\.processes: .* got one that ended with exit code 7; "):
        run_pipeline(TWO, "probe", build)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2])
def test_a_worker_that_is_killed_is_told_in_one_line_whichever_thread_notices_first(
    seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it begins and in the middle of its work: the signal is named, and no thread of Beam's shows a traceback."""

    def dies(number: int) -> int:
        time.sleep(seconds)
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(UserError, match=r"exit code -9 \(SIGKILL\)"):
        run_pipeline(TWO, "probe", lambda pipeline: elements(pipeline) | beam.Map(dies))
    assert capsys.readouterr().err == ""


def test_a_worker_that_raises_is_no_worker_that_died() -> None:
    """Its own error is what is told."""

    def fails(number: int) -> int:
        raise ValueError("a mistake of the stage's")

    with pytest.raises(RuntimeError, match="a mistake of the stage's"):
        run_pipeline(TWO, "probe", lambda pipeline: elements(pipeline) | beam.Map(fails))


def test_a_worker_that_dies_before_it_is_asked_for_anything_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed as it starts; what the runner asks for afterwards fails too."""
    from siftlm.engine.processes import ForkedWorker

    start = ForkedWorker.start_worker

    def killed(self: ForkedWorker) -> None:
        start(self)
        self._process.kill()
        self._process.join()
        time.sleep(0.5)

    monkeypatch.setattr(ForkedWorker, "start_worker", killed)
    with pytest.raises(UserError, match="got one that ended with exit code"):
        run_pipeline(TWO, "probe", lambda pipeline: elements(pipeline) | beam.Map(lambda number: number))


SUBMITTER = """
import sys, time
from pathlib import Path
import apache_beam as beam
from apache_beam.internal.cloudpickle import cloudpickle
from siftlm.engine.runner import RunnerSettings, run_pipeline
cloudpickle.register_pickle_by_value(sys.modules["__main__"])
folder = Path(sys.argv[1])
def work(number):
    import os
    (folder / str(os.getpid())).touch()
    time.sleep(600)
run_pipeline(RunnerSettings(processes=2), "probe",
    lambda pipeline: pipeline | beam.Create(range(2)) | beam.Reshuffle() | beam.Map(work))
"""

FAILING = """
import logging, sys
from siftlm.engine.beam import import_beam
from siftlm.engine.runner import RunnerSettings, run_pipeline
beam, _ = import_beam()
from apache_beam.internal.cloudpickle import cloudpickle
logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)  # of the runner, as the command line does
cloudpickle.register_pickle_by_value(sys.modules["__main__"])
def fails(number):
    raise ValueError("a mistake of the stage's")
try:
    run_pipeline(RunnerSettings(processes=2), "probe",
        lambda pipeline: pipeline | beam.Create(range(2)) | beam.Reshuffle() | beam.Map(fails))
except RuntimeError as error:
    print("a mistake of the stage's" in str(error))
"""


def test_what_a_worker_raises_is_told_by_the_runner_alone() -> None:
    """No process shows a traceback of its own."""
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_workers_end_when_whoever_submits_is_killed(tmp_path: Path) -> None:
    """Even by SIGKILL, of which nobody can tell them."""
    command = [sys.executable, "-c", SUBMITTER, str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True) as submitter:
        while len(list(tmp_path.iterdir())) < 2:
            assert submitter.poll() is None
            time.sleep(0.05)
        submitter.kill()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    give_up = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < give_up, "a worker was left behind"
        time.sleep(0.05)


def test_a_run_whose_starter_of_workers_was_killed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the system kills it for want of memory: what answers then is the end of a file, or nobody."""
    from multiprocessing import get_context

    for error in (EOFError("unexpected EOF"), ConnectionRefusedError(111, "Connection refused")):

        def dead(_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(get_context("forkserver").Process, "start", dead)
        with pytest.raises(UserError, match="the process that starts workers was killed"):
            run_pipeline(TWO, "probe", lambda pipeline: elements(pipeline) | beam.Map(str))
