"""Devices that are not there: their processes compute on the CPU, and note in a folder what was done when and where."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siftlm.engine.devices.listing import VisibleDevice
from siftlm.engine.devices.pool import DevicePool
from siftlm.engine.shards import Task
from siftlm.store import Marker, Store

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:  # the processes of devices take it over, and import this module by its name
    sys.path.append(ROOT)
MEET_SECONDS = 120.0
NUMBER = "FAKE_DEVICE"  # the environment variable that a process sees its device by


class StickyError(RuntimeError):
    """Is what a broken device raises, and goes on raising."""


@dataclass(frozen=True)
class FakeDevices:
    """Knows some devices by number; `broken` says of some what happens on them: `raises`, `dies` or `never opens`."""

    number: int
    notes: Path
    broken: Mapping[int, str] = field(default_factory=dict)
    together: int = 0  # devices that wait for each other at their first shard: they must work at the same time

    def listed(self) -> list[VisibleDevice]:
        return [
            VisibleDevice(n, str(n), f"fake-{os.getuid()}-{self.notes.name}-{n}", "Fake") for n in range(self.number)
        ]

    def environment(self, device: VisibleDevice) -> dict[str, str]:
        return {NUMBER: device.address}

    def open(self) -> str:
        own = int(os.environ[NUMBER])
        if self.broken.get(own) == "never opens":
            raise StickyError("uncorrectable ECC error")
        note_calls(self, own)
        return "cpu"

    def failure(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, StickyError) else None

    def calls(self) -> list[dict[str, Any]]:
        """Returns what the processes noted: device, process and name of every shard that was done."""
        return [
            json.loads(line) for path in sorted(self.notes.glob("*.jsonl")) for line in path.read_text().splitlines()
        ]

    def pool(self) -> DevicePool:
        return DevicePool(self)


def note_calls(devices: FakeDevices, own: int) -> None:
    """Makes the steps of this process note their work, and fail as the device does."""
    from siftlm.stages.models import RateByModel
    from siftlm.stages.score import Score

    for step in (Score, RateByModel):
        step.run = _noted(step.run, devices, own)  # type: ignore[method-assign]


def _noted(run: Any, devices: FakeDevices, own: int) -> Any:
    def noted(step: Any, task: Task, store: Store) -> Marker:
        marker: Marker = run(step, task, store)  # all of the work: what a device did before it broke must not count
        meet(devices, own)
        if devices.broken.get(own) == "raises":
            raise StickyError("CUDA error: an illegal memory access was encountered")
        if devices.broken.get(own) == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        with (devices.notes / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps({"device": own, "process": os.getpid(), "shard": task.name}) + "\n")
        return marker

    return noted


def meet(devices: FakeDevices, own: int) -> None:
    """Waits until so many devices are at work."""
    (devices.notes / f"at-{own}").write_text(str(os.getpid()))
    give_up = time.monotonic() + MEET_SECONDS
    while len(list(devices.notes.glob("at-*"))) < devices.together:
        assert time.monotonic() < give_up, "the other devices have no work"
        time.sleep(0.05)
