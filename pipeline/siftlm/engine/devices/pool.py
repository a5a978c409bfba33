"""Hands work to the devices of a machine: whichever is free takes the next, and what fails goes to another."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from siftlm.engine.devices import locks
from siftlm.engine.devices.listing import VISIBLE, CudaDevices, DeviceProvider, VisibleDevice
from siftlm.engine.devices.process import AT_ONCE, DeviceError, DeviceProcess
from siftlm.errors import UserError
from siftlm.scorers.devices import check_present, number_of

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 0.25  # between two looks whether a device is free
IDLE_SECONDS = 60.0  # for which a process without work keeps its model and its device
HANDOVER_SECONDS = 1.0  # the same where somebody waits for a device


@dataclass(frozen=True)
class WantedDevice:
    """Says which device a model is to run on, and which key of the configuration says so."""

    place: str
    device: str  # auto, cpu, cuda or cuda:N


class DevicePool:
    """Keeps a process for every device that this process has taken, and shares devices with others by locks.

    A process keeps its models for the next call, and gives up its device when it has nothing to do for a while. A
    device that has failed is left alone until there is neither work nor a process left.
    """

    def __init__(self, provider: DeviceProvider | None = None) -> None:
        self._provider = provider or CudaDevices()
        self._listing = threading.Lock()
        self._listed: Sequence[VisibleDevice] | None = None
        self._changed = threading.Condition()
        self._processes: dict[int, DeviceProcess] = {}
        self._failed: dict[int, str] = {}
        self._calls = 0
        self._told = False  # that a device is waited for
        self._told_kinds = False
        self._watched = False
        self._closed = False

    def devices(self, wanted: WantedDevice | None) -> list[VisibleDevice]:
        """Returns the devices that can do the work; none where it is for the cores of this process.

        Raises:
            UserError: a device is wanted that is not there.
        """
        if wanted is None or wanted.device == "cpu":
            return []
        with self._listing:
            if self._listed is None:
                self._listed = self._provider.listed()
        check_present(wanted.place, wanted.device, len(self._listed))
        number = number_of(wanted.device)
        chosen = [device for device in self._listed if number in (None, device.number)]
        self._say_kinds(wanted.place, chosen)
        return chosen

    def call(self, wanted: WantedDevice | None, function: Callable[..., T], *arguments: object) -> T:
        """Returns what a function returns, called in the process of a device or, without devices, in this one.

        The function, its arguments and what it returns are pickled. It may be called several times.

        Raises:
            UserError: every device failed.
        """
        devices = self.devices(wanted)
        if wanted is None or not devices:
            return function(*arguments)
        with self._counted():
            while True:
                with self._taken(wanted.place, devices) as process:
                    try:
                        value: T = process.call(function, arguments)
                    except DeviceError as error:
                        if self._closed:
                            raise
                        self._lose(wanted.place, devices, process, str(error))
                    else:
                        return value

    def close(self) -> None:
        """Ends every process, for good."""
        with self._changed:
            self._closed = True
            for process in self._processes.values():
                process.end()
            self._processes.clear()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a call, and forgets failures after the last one where no process is left."""
        with self._changed:
            self._calls += 1
        try:
            yield
        finally:
            with self._changed:
                self._calls -= 1
                self._forgive()

    @contextmanager
    def _taken(self, place: str, devices: Sequence[VisibleDevice]) -> Iterator[DeviceProcess]:
        """The process of a free device, which is free again after the block; waits for one."""
        process = self._wait(place, devices)
        try:
            yield process
        finally:
            with self._changed:
                process.calls -= 1
                process.since = time.monotonic()
                self._changed.notify_all()

    def _wait(self, place: str, devices: Sequence[VisibleDevice]) -> DeviceProcess:
        with ExitStack() as seen, self._changed:
            waits = False
            while (process := self._free(place, devices)) is None:
                others = [device for device in self._working(place, devices) if device.number not in self._processes]
                if others and not waits:
                    waits = True
                    seen.enter_context(locks.waiting())
                    self._say(place, devices, others)
                self._changed.wait(LOOK_SECONDS)
            return process

    def _free(self, place: str, devices: Sequence[VisibleDevice]) -> DeviceProcess | None:
        """A process that has nothing to do, a new one on a device that nobody holds, or one that can do more."""
        working = self._working(place, devices)
        own = sorted((self._processes[d.number] for d in working if d.number in self._processes), key=by_calls)
        if own and not own[0].calls:
            process = own[0]
        elif started := self._started(working):
            process = started
        elif own and own[0].calls < AT_ONCE:
            process = own[0]
        else:
            return None
        process.calls += 1
        return process

    def _started(self, devices: Sequence[VisibleDevice]) -> DeviceProcess | None:
        for device in devices:
            if device.number not in self._processes and (lock := locks.take(device.identity)) is not None:
                self._watch()
                return self._processes.setdefault(device.number, DeviceProcess(device, self._provider, lock))
        return None

    def _working(self, place: str, devices: Sequence[VisibleDevice]) -> list[VisibleDevice]:
        """The devices that have not failed; UserError if all have."""
        working = [device for device in devices if device.number not in self._failed]
        if not working:
            told = "; ".join(f"{device}: {self._failed[device.number]}" for device in devices)
            raise UserError(f"{place}: must have a device that works, got none; {told}")
        return working

    def _say(self, place: str, devices: Sequence[VisibleDevice], others: Sequence[VisibleDevice]) -> None:
        """Says, once in a process, that it has to wait, where others hold all devices that it could use."""
        if not self._told and not any(device.number in self._processes for device in devices):
            self._told = True
            held = ", ".join(f"cuda:{device.number} by {locks.holder(device.identity)}" for device in others)
            log.warning("%s: waiting for a device; held are %s", place, held)

    def _say_kinds(self, place: str, devices: Sequence[VisibleDevice]) -> None:
        """Warns, once in a process, that which device a shard gets may show in last digits."""
        kinds = sorted({device.product for device in devices})
        if len(kinds) > 1 and not self._told_kinds:
            self._told_kinds = True
            log.warning(
                "%s: devices of different kinds (%s) give other last digits; cuda:N or %s chooses among them",
                place, ", ".join(kinds), VISIBLE,
            )  # fmt: skip

    def _lose(self, place: str, devices: Sequence[VisibleDevice], process: DeviceProcess, reason: str) -> None:
        """Says what happened to a device, once, and ends its process."""
        number = process.device.number
        with self._changed:
            if self._processes.get(number) is not process:  # another call was told before
                return
            self._failed[number] = reason
            del self._processes[number]
            left = "; its work goes to another" if any(device.number not in self._failed for device in devices) else ""
        log.warning("%s: %s failed: %s%s", place, process.device, reason, left)
        process.end()

    def _forgive(self) -> None:
        if not self._calls and not self._processes:
            self._failed.clear()

    def _watch(self) -> None:
        """Starts the thread that gives up devices, once."""
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._give_up_idle, daemon=True).start()

    def _give_up_idle(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            asked = locks.anybody_waits()
            with self._changed:
                patience, now = HANDOVER_SECONDS if asked else IDLE_SECONDS, time.monotonic()
                idle = [p for p in self._processes.values() if not p.calls and now - p.since > patience]
                for process in idle:
                    process.end()
                    del self._processes[process.device.number]
                self._forgive()
                if not self._processes and not self._calls:
                    self._watched = False
                    return


def by_calls(process: DeviceProcess) -> int:
    """Returns how much a process has taken on, to sort by."""
    return process.calls


shared = DevicePool()
"""The devices of this process, which all its threads share."""


def on_device(wanted: WantedDevice | None, function: Callable[..., T], *arguments: object) -> T:
    """Returns what a function returns, called on a free device that its model wants; see `DevicePool.call`."""
    return shared.call(wanted, function, *arguments)


@atexit.register
def _end() -> None:
    shared.close()
