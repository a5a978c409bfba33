"""Work on devices that are not there: all are used, at the same time, and one that fails is replaced by another."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.engine.devices.fakes import NUMBER, FakeDevices, StickyError

from siftlm.engine.devices import locks, pool
from siftlm.engine.devices.listing import VisibleDevice
from siftlm.engine.devices.pool import DevicePool, WantedDevice
from siftlm.errors import UserError
from siftlm.scorers.devices import pick_device

ALL = WantedDevice("score.lm.device", "cuda")


@dataclass(frozen=True)
class Numbers(FakeDevices):
    """Knows devices without a model."""

    def open(self) -> str:
        return "cpu"


class MixedNumbers(Numbers):
    """Knows devices of which the last one is of another kind."""

    def listed(self) -> list[VisibleDevice]:
        *others, last = super().listed()
        return [*others, replace(last, product="Other")]


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[Any]:
    """Makes pools of so many devices, whose processes end with the test."""
    made: list[DevicePool] = []

    def of(count: int) -> DevicePool:
        made.append(Numbers(count, tmp_path).pool())
        return made[-1]

    yield of
    for one in made:
        one.close()


def where(seconds: float = 0.0) -> tuple[int, int]:
    """(device, process) in which it is called."""
    time.sleep(seconds)
    return int(os.environ[NUMBER]), os.getpid()


def meet(folder: Path, others: int) -> int:
    """Waits until as many processes are in the folder; so they must be at work at the same time."""
    (folder / f"met-{os.getpid()}").touch()
    give_up = time.monotonic() + 60
    while len(list(folder.glob("met-*"))) < others:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return int(os.environ[NUMBER])


def together(folder: Path) -> int:
    """How many are in this function at a time, at most."""
    own = folder / f"{os.getpid()}-{threading.get_ident()}"
    own.touch()
    seen = []
    for _ in range(10):
        seen.append(len(list(folder.glob(f"{os.getpid()}-*"))))
        time.sleep(0.1)
    own.unlink()
    return max(seen)


def breaks(broken: list[int], how: str, value: int) -> tuple[int, int]:
    own = int(os.environ[NUMBER])
    if own in broken and how == "raises":
        raise StickyError("CUDA error: device-side assert triggered")
    if own in broken and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if own in broken:
        os._exit(3)
    return own, value


def wrong(told: str) -> None:
    raise UserError(told)


def defect() -> None:
    raise ZeroDivisionError("a defect")


class UnpicklableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("only one argument")


class Elsewhere:
    """Is called in this process only: the others cannot import it."""

    def __reduce__(self) -> Any:
        return importlib.import_module, ("nothing_there",)

    def __call__(self) -> None: ...


def odd_defect() -> None:
    raise UnpicklableError(1, 2)


def test_work_for_the_cpu_is_done_here(numbers: Any) -> None:
    """No process is started for it, nor where `auto` finds no device."""
    devices = numbers(2)
    assert devices.call(None, os.getpid) == os.getpid()
    assert devices.call(WantedDevice("score.lm.device", "cpu"), os.getpid) == os.getpid()
    assert numbers(0).call(WantedDevice("score.lm.device", "auto"), os.getpid) == os.getpid()
    assert not devices._processes


@pytest.mark.parametrize("wanted", ["cuda", "auto"])
def test_all_devices_work_at_the_same_time(numbers: Any, tmp_path: Path, wanted: str) -> None:
    """Four calls wait for each other, each on a device of its own."""
    devices = numbers(4)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(devices.call, WantedDevice("a", wanted), meet, tmp_path, 4) for _ in range(4)]
        assert sorted(call.result() for call in calls) == [0, 1, 2, 3]


def test_a_process_is_kept_for_the_next_call(numbers: Any) -> None:
    """So a model is loaded once; and it is not this process."""
    devices = numbers(2)
    first, second = (devices.call(ALL, where) for _ in range(2))
    assert first == second
    assert first[1] != os.getpid()


def test_devices_of_different_kinds_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where work may go to either; their last digits differ. A pinned one is of one kind."""
    mixed = MixedNumbers(2, tmp_path).pool()
    mixed.devices(WantedDevice("a", "cuda:1"))
    assert not caplog.records
    for _ in range(2):
        mixed.devices(ALL)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("score.lm.device: devices of different kinds (Fake, Other) give other last digits; ")


def test_a_number_pins_its_device(numbers: Any) -> None:
    """Whatever is free beside it."""
    devices = numbers(4)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(devices.call, WantedDevice("a", "cuda:2"), where) for _ in range(6)]
        assert {call.result()[0] for call in calls} == {2}


def test_a_device_that_is_not_there_is_named_with_those_that_are(numbers: Any) -> None:
    """At the place of the configuration."""
    told = r"score\.lm\.device: must be a CUDA device that this process sees, one of cuda:0 to cuda:3, got 'cuda:9'"
    with pytest.raises(UserError, match=told):
        numbers(4).devices(WantedDevice("score.lm.device", "cuda:9"))
    with pytest.raises(UserError, match=r"cuda:0, the only one, got 'cuda:1'"):
        numbers(1).devices(WantedDevice("a", "cuda:1"))
    with pytest.raises(UserError, match=r"a: must be a device of this machine, got 'cuda:0' without a CUDA device"):
        numbers(0).devices(WantedDevice("a", "cuda:0"))


@pytest.mark.parametrize(
    ("how", "told"),
    [("raises", "CUDA error: device-side assert triggered"), ("dies", "SIGKILL"), ("exits", "exit code 3")],
)
def test_the_work_of_a_device_that_fails_goes_to_another(
    numbers: Any, caplog: pytest.LogCaptureFixture, how: str, told: str
) -> None:
    """The device is named once, with its error, and has no work from then on; nothing is lost."""
    devices = numbers(3)
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda value: devices.call(ALL, breaks, [1], how, value), range(12)))
    assert [value for _, value in done] == list(range(12))
    assert {device for device, _ in done} <= {0, 2}
    devices.call(WantedDevice("a", "cuda:0"), breaks, [1], how, 0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("score.lm.device: cuda:1 (Fake, fake-")
    assert f"failed: {'its process ended ' if how != 'raises' else ''}" in line
    assert told in line
    assert line.endswith("; its work goes to another")


def test_when_every_device_has_failed_one_line_says_how(numbers: Any) -> None:
    """Each with its own error."""
    devices = numbers(2)
    with pytest.raises(UserError) as caught:
        devices.call(ALL, breaks, [0, 1], "dies", 0)
    told = str(caught.value)
    assert told.startswith("score.lm.device: must have a device that works, got none; cuda:0 (Fake, ")
    assert told.count("its process ended by SIGKILL") == 2
    assert devices.call(ALL, breaks, [0], "dies", 5) == (1, 5)  # another run in this process tries all of them again


def test_a_mistake_of_the_users_is_no_devices_failure(numbers: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is raised as it is, and the process goes on."""
    devices = numbers(2)
    before = devices.call(ALL, where)
    with pytest.raises(UserError, match=r"^score\.lm\.model: must be a model$"):
        devices.call(ALL, wrong, "score.lm.model: must be a model")
    assert devices.call(ALL, where) == before
    assert not caplog.records


def test_a_defect_is_told_with_the_traceback_of_its_process(numbers: Any) -> None:
    """Errors that cannot be made again in this process come as text."""
    devices = numbers(1)
    with pytest.raises(ZeroDivisionError) as caught:
        devices.call(ALL, defect)
    assert "in defect" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match=r"in odd_defect"):
        devices.call(ALL, odd_defect)
    with pytest.raises(TypeError, match=r"cannot pickle"):
        devices.call(ALL, threading.Lock)
    with pytest.raises(ModuleNotFoundError, match=r"nothing_there"):
        devices.call(ALL, Elsewhere())


def test_a_process_whose_device_does_not_open_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ECC errors show before there is any work."""
    devices = FakeDevices(2, tmp_path, {0: "never opens"}).pool()
    assert devices.call(ALL, where)[0] == 1
    assert "cuda:0 (Fake" in caplog.text
    assert "failed: uncorrectable ECC error" in caplog.text
    devices.close()


def test_a_model_in_the_process_of_a_device_is_on_that_device(numbers: Any) -> None:
    """Whatever ordinal its settings have: the process sees one."""
    devices = numbers(2)
    for name in ("auto", "cuda", "cuda:1"):
        assert str(devices.call(WantedDevice("a", name), pick_device, "a", name)) == "cpu"


HOLD = """
import os, sys, time
from pathlib import Path
from tests.engine.devices.fakes import *
from tests.engine.devices.test_pool import *
devices = Numbers(int(sys.argv[2]), Path(sys.argv[1])).pool()
with ThreadPoolExecutor(4) as threads:
    calls = [threads.submit(devices.call, ALL, where, 1.0) for _ in range(int(sys.argv[3]))]
    print(*(call.result()[0] for call in calls))
    sys.stdout.flush()
if len(sys.argv) > 4:
    print(os.getpid(), flush=True)
    devices.call(ALL, where, 600)
"""


def holder(folder: Path, devices: int, calls: int, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOLD, str(folder), str(devices), str(calls), *more]
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def test_a_device_has_the_next_work_before_it_ends_the_last(numbers: Any, tmp_path: Path) -> None:
    """Two calls at a time in one process; a third waits."""
    devices = numbers(1)
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(devices.call, ALL, together, tmp_path) for _ in range(3)]
        assert max(call.result() for call in calls) == 2


def test_two_processes_share_devices_without_overlap(tmp_path: Path) -> None:
    """Two devices each, of the four that both see: nobody works where another does."""
    both = [holder(tmp_path, 4, 2) for _ in range(2)]
    told = [one.communicate(timeout=120)[0].split() for one in both]
    assert [len(set(of)) for of in told] == [2, 2], told
    assert not set(told[0]) & set(told[1]), told


def test_a_killed_holders_device_is_free_at_once(
    tmp_path: Path, numbers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that waits says so once, with the number of the holder, and goes on when the holder is killed."""
    with holder(tmp_path, 1, 1, "and go on") as other:
        assert other.stdout is not None
        other.stdout.readline()
        number = int(other.stdout.readline())
        devices, done = numbers(1), []
        thread = threading.Thread(target=lambda: done.append(devices.call(ALL, where)))
        thread.start()
        time.sleep(2.0)
        assert not done
        other.send_signal(signal.SIGKILL)
        thread.join(30)
    assert done[0][0] == 0
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"score.lm.device: waiting for a device; held are cuda:0 by process {number}"]


def test_a_device_is_given_up_when_it_has_nothing_to_do(numbers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, and soon where somebody waits for one."""
    first, second = numbers(1), numbers(1)
    first.call(ALL, where)
    started = time.monotonic()
    assert second.call(ALL, where)[0] == 0
    assert time.monotonic() - started < pool.IDLE_SECONDS / 2
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    give_up = time.monotonic() + 30
    while second._processes:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert first.call(ALL, where)[0] == 0


PARENT = """
import sys
from pathlib import Path
from tests.engine.devices.test_pool import *
devices = Numbers(1, Path(sys.argv[1])).pool()
print(devices.call(ALL, where)[1], flush=True)
devices.call(ALL, where, 600)
"""


def test_the_processes_of_devices_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Even by SIGKILL and in the middle of their work."""
    root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=env
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    give_up = time.monotonic() + 20
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < give_up, "a process was left behind"
        time.sleep(0.05)


def test_warnings_of_a_process_are_shown(numbers: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """On standard error, as those of this process."""
    numbers(1).call(ALL, logging.getLogger("siftlm.scorers").warning, "score.lm: some nats are not finite")
    assert "score.lm: some nats are not finite\n" in capfd.readouterr().err


def test_a_lock_has_one_holder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is free when the descriptor is closed; who waits is seen as long as they do."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock = locks.take("GPU-1")
    assert lock is not None
    assert locks.take("GPU-1") is None
    assert locks.holder("GPU-1") == f"process {os.getpid()}"
    os.close(lock)
    again = locks.take("GPU-1")
    assert again is not None
    os.close(again)
    assert not locks.anybody_waits()
    with locks.waiting(), locks.waiting():
        assert locks.anybody_waits()
    assert not locks.anybody_waits()


def test_a_folder_of_locks_that_others_can_change_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a temporary folder anybody may have made it first."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Path(locks.folder())
    folder.chmod(0o777)
    with pytest.raises(UserError, match=r"must be a folder that only this user can change"):
        locks.take("GPU-1")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"must be a folder that only this user can change"):
        locks.take("GPU-1")
