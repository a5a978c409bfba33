"""The same on CUDA devices that are there; what needs two of them is skipped on a machine with one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engine.devices.test_pool import ALL
from tests.runs.conftest import Bench

from siftlm.engine.devices.listing import VISIBLE, CudaDevices
from siftlm.engine.devices.pool import DevicePool, WantedDevice
from siftlm.errors import UserError
from siftlm.scorers.devices import pick_device

COUNT = torch.cuda.device_count() if torch.cuda.is_available() else 0
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not COUNT, reason="needs a CUDA device")]
two = pytest.mark.skipif(COUNT < 2, reason="needs two CUDA devices")


@pytest.fixture
def devices() -> Iterator[DevicePool]:
    pool = DevicePool()
    yield pool
    pool.close()


def seen() -> tuple[str | None, int, str, str]:
    """What the process of a device sees: the variable, how many devices, the UUID of its own, and what models use."""
    own = torch.cuda.get_device_properties(0)
    return os.environ.get(VISIBLE), torch.cuda.device_count(), f"GPU-{own.uuid}", str(pick_device("a", "cuda:7"))


def assertion() -> None:
    """Breaks the context of this process, which then fails for good."""
    table, far = torch.zeros(2, device="cuda"), torch.tensor([5], device="cuda")
    table[far].sum().item()


def test_devices_are_listed_as_torch_has_them() -> None:
    """In torch's order, with the UUIDs that locks are named after."""
    found = CudaDevices().listed()
    assert len(found) == COUNT
    assert [device.product for device in found] == [torch.cuda.get_device_name(n) for n in range(COUNT)]
    assert len({device.identity for device in found}) == COUNT


def test_a_process_sees_its_device_alone(devices: DevicePool) -> None:
    """Whatever the settings of a model call it there."""
    for device in devices.devices(ALL):
        told = devices.call(WantedDevice("a", f"cuda:{device.number}"), seen)
        assert told == (device.address, 1, device.identity, "cuda")


def test_a_broken_context_is_the_failure_of_a_device(devices: DevicePool, caplog: pytest.LogCaptureFixture) -> None:
    """Its process is replaced, so that the next call works."""
    with pytest.raises(UserError, match=r"must have a device that works, got none; cuda:0 .*CUDA error: device-side"):
        devices.call(WantedDevice("a", "cuda:0"), assertion)
    assert "cuda:0 (" in caplog.text
    assert devices.call(WantedDevice("a", "cuda:0"), seen)[1] == 1


@two
def test_all_devices_work(devices: DevicePool) -> None:
    """Two calls for each, at the same time."""
    with ThreadPoolExecutor(2 * COUNT) as threads:
        calls = [threads.submit(devices.call, ALL, seen) for _ in range(2 * COUNT)]
        assert len({call.result()[2] for call in calls}) == COUNT


@two
def test_one_and_all_devices_give_the_same_bytes(bench: Bench, tiny_model: Any, tmp_path: Path) -> None:
    """Of equal devices, in half precision and compiled."""
    for shard in range(4 * COUNT):
        rows = [{"id": f"{shard}-{n}", "text": "rain in the north " * (1 + shard + n)} for n in range(40)]
        bench.shard(f"{shard}.jsonl", rows)
    score = {"name": "tiny", "model": str(tiny_model.kept(n_embd=64, n_head=2)), "dtype": "bf16"}
    for out, device in (("one", "cuda:0"), ("other", "cuda:1"), ("all", "cuda")):
        bench.run(out, score=[{**score, "device": device}])
    assert bench.content("one") == bench.content("other") == bench.content("all")
