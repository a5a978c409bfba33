"""What CUDA says of devices and of errors, imitated: no device is needed, and torch is the real one."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

from siftlm.engine.devices import granted, listing
from siftlm.engine.devices.listing import CudaDevices, VisibleDevice, visible
from siftlm.errors import NoRoomError, UserError
from siftlm.scorers import devices
from siftlm.scorers.devices import pick_device

FOUR = [(f"GPU-{n}", "NVIDIA H200") for n in range(4)]
MIG = "MIG-3f3c0a6e-52d0-5f3b-9d0c-0d8a6d4c7a10"


@pytest.mark.parametrize(
    ("setting", "told", "addresses", "identities"),
    [
        (None, FOUR, ["0", "1", "2", "3"], ["GPU-0", "GPU-1", "GPU-2", "GPU-3"]),
        ("2, 3", FOUR[2:], ["2", "3"], ["GPU-2", "GPU-3"]),
        ("GPU-3,GPU-1", [FOUR[3], FOUR[1]], ["GPU-3", "GPU-1"], ["GPU-3", "GPU-1"]),
        ("1,9,2", FOUR[1:2], ["1"], ["GPU-1"]),  # CUDA stops at the first that is not there
        (MIG, FOUR[:1], [MIG], [MIG]),
        ("", [], [], []),
    ],
)
def test_devices_are_those_that_the_process_may_see(
    setting: str | None, told: list[tuple[str, str]], addresses: list[str], identities: list[str]
) -> None:
    """By index, UUID or name of an instance, in the order of CUDA_VISIBLE_DEVICES; a lock is of the device itself."""
    found = visible(told, setting)
    assert [device.number for device in found] == list(range(len(found)))
    assert [device.address for device in found] == addresses
    assert [device.identity for device in found] == identities
    for device in found:
        assert CudaDevices().environment(device) == {"CUDA_VISIBLE_DEVICES": device.address}


def test_a_machine_without_a_driver_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch is not even asked."""
    monkeypatch.setattr(listing, "DRIVER", "libnothing_there.so.1")
    monkeypatch.setattr(subprocess, "run", None)
    assert CudaDevices().listed() == []


def test_torch_is_asked_where_there_is_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, so that this one has not asked CUDA; here it sees no device."""
    monkeypatch.setattr(listing, "DRIVER", "libc.so.6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert CudaDevices().listed() == []


def test_what_torch_says_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A module in torch's place says what torch does on a machine with two devices."""
    (tmp_path / "torch.py").write_text(
        "from types import SimpleNamespace as N\nprint('a warning')\n"
        "cuda = N(is_available=lambda: True, device_count=lambda: 2,"
        " get_device_properties=lambda n: N(uuid=f'00-{n}', name='NVIDIA L4'))\n"
    )
    monkeypatch.setattr(listing, "DRIVER", "libc.so.6")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    first, second = CudaDevices().listed()
    assert first == VisibleDevice(0, "5", "GPU-00-0", "NVIDIA L4")
    assert str(second) == "cuda:1 (NVIDIA L4, GPU-00-1)"
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart is not there')\n")
    with pytest.raises(UserError, match=r"must tell the CUDA devices .*, got ImportError: libcudart is not there"):
        CudaDevices().listed()


def raised(outer: Exception, inner: Exception | None = None) -> Exception:
    """An error as it is where it is caught, with the one that it comes from."""
    try:
        raise outer from inner
    except type(outer) as error:
        return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore"), "CUDA out of memory. Tried to"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel"), "CUDA error: uncorr"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"), "CUDA error: CUBLAS"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "Triton Error [CUDA]: an i"),
        (
            raised(UserError("annotate.models.edu.model: must rate a text"), RuntimeError("CUDA error: misaligned")),
            "CUDA error: misaligned",
        ),
        (UserError("score.lm.model: must be a folder"), None),
        (RuntimeError("The size of tensor a (5) must match the size of tensor b (6)"), None),
        (raised(ValueError("a defect"), KeyError("CUDA")), None),
    ],
)
def test_an_error_of_cuda_is_told_from_others(error: Exception, reason: str | None) -> None:
    """The first line says how a device failed; mistakes of the user's and defects are none of its failures."""
    found = CudaDevices().failure(error)
    assert found is None if reason is None else found is not None and found.startswith(reason)
    assert found is None or "\n" not in found


@pytest.mark.parametrize(("free", "own", "taken"), [(1, 19, True), (1, 78, False), (71, 8, False)])
def test_a_device_that_others_fill_has_failed(
    monkeypatch: pytest.MonkeyPatch, free: int, own: int, taken: bool
) -> None:
    """What has no room beside its own memory alone is too large; where another process has the memory it is not."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free << 30, 80 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: own << 30)
    found = CudaDevices().failure(NoRoomError("score.lm.context_tokens: must fit"))
    assert found == ("out of memory: other processes have 60.0 of its 80.0 GiB" if taken else None)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1:2", "CUDA", "cpu:0", ""])
def test_other_names_are_refused(name: str) -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N, got"):
        devices._checked(name)


def test_a_process_without_device_of_its_own_picks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python and in `validate`: `cuda:1` is the second that torch sees."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    found = [str(pick_device("a", name)) for name in ("auto", "cpu", "cuda", "cuda:1")]
    assert found == ["cuda", "cpu", "cuda", "cuda:1"]
    with pytest.raises(UserError, match=r"a: must be .*, one of cuda:0 to cuda:1, got 'cuda:2'"):
        pick_device("a", "cuda:2")


def test_an_executor_of_spark_says_what_it_was_granted(tmp_path: Path) -> None:
    """In the file that its command line names, as Spark 3.5 writes it; any other parent grants nothing."""
    file = tmp_path / "resource-executor-1.json"

    def of(*words: str, **written: list[str]) -> Any:
        resources = [
            {"id": {"componentName": "spark.executor", "resourceName": name}, "addresses": addresses}
            for name, addresses in written.items()
        ]
        file.write_bytes(orjson.dumps(resources))
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *words]) as process:
            try:
                while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # just started, it has no words yet
                    time.sleep(0.01)
                return granted.granted(process.pid)
            finally:
                process.kill()

    assert of("--resourcesFile", str(file), fpga=["f"], gpu=["2", "3"]) == {
        "CUDA_VISIBLE_DEVICES": "2,3",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert of("--resourcesFile", str(file), fpga=["f"]) == {}
    assert of("--executor-id", "0") == {}
    assert granted.granted(2**22 + 1) == {}
