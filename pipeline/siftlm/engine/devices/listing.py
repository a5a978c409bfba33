"""Lists the CUDA devices that a process may use, opens one, and tells when one has failed."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from siftlm.errors import NoRoomError, UserError, reason_of

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = "libcuda.so.1"
TELL = """
import json, torch
number = torch.cuda.device_count() if torch.cuda.is_available() else 0
told = [torch.cuda.get_device_properties(index) for index in range(number)]
print(json.dumps([[f"GPU-{one.uuid}", one.name] for one in told]))
"""
"""What a process of its own says of the devices: one that has asked CUDA keeps what it was told, and may not fork."""

FAILURES = re.compile(
    r"CUDA (error|driver error|out of memory)|Triton Error \[CUDA\]|CUBLAS_STATUS_|CUDNN_STATUS_|cuDNN error"
)
"""What torch and Triton say where CUDA itself gives an error."""

TAKEN_BYTES = 2 << 30  # of a device's memory that is neither free nor ours: a context of CUDA takes less


@dataclass(frozen=True)
class VisibleDevice:
    """Describes a device that this process may use."""

    number: int  # in the order of this process
    address: str  # an index, a UUID or the name of a MIG instance, as CUDA_VISIBLE_DEVICES has it
    identity: str  # the same in every process of the machine
    product: str

    def __str__(self) -> str:
        return f"cuda:{self.number} ({self.product}, {self.identity})"


class DeviceProvider(Protocol):
    """Knows the devices of a machine; it is pickled and sent to the process of each device."""

    def listed(self) -> Sequence[VisibleDevice]:
        """Returns the devices that this process may use, in its order."""
        ...

    def environment(self, device: VisibleDevice) -> dict[str, str]:
        """Returns the environment variables by which a new process sees this device and no other."""
        ...

    def open(self) -> str:
        """Opens the device that this process sees, and returns torch's name of it; raises an error where it fails."""
        ...

    def failure(self, error: BaseException) -> str | None:
        """Returns in words how the device failed, None for an error of the work that it did."""
        ...


@dataclass(frozen=True)
class CudaDevices:
    """Knows the CUDA devices of this machine, as far as CUDA_VISIBLE_DEVICES lets this process see them."""

    def listed(self) -> list[VisibleDevice]:
        if not _has_driver():
            return []
        done = subprocess.run([sys.executable, "-P", "-c", TELL], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise UserError(f"device: torch must tell the CUDA devices of this machine, got {reason}")
        return visible(json.loads(done.stdout.splitlines()[-1]), os.environ.get(VISIBLE))

    def environment(self, device: VisibleDevice) -> dict[str, str]:
        return {VISIBLE: device.address}

    def open(self) -> str:
        import torch

        torch.zeros(1, device="cuda")  # what is broken shows here
        return "cuda"

    def failure(self, error: BaseException) -> str | None:
        import torch

        if isinstance(error, NoRoomError):
            return _taken_by_others()
        of_torch = (torch.OutOfMemoryError, torch.AcceleratorError)
        broken = (one for one in chain(error) if isinstance(one, of_torch) or FAILURES.search(str(one)))
        return next(map(reason_of, broken), None)


def visible(told: Sequence[tuple[str, str]], setting: str | None) -> list[VisibleDevice]:
    """Returns the devices from their (UUID, product) as CUDA gives them, and the value of CUDA_VISIBLE_DEVICES.

    An instance of MIG is known by its name, for the UUID may be that of the whole device.
    """
    count = len(told)
    addresses = [str(n) for n in range(count)] if setting is None else [one.strip() for one in setting.split(",")]
    return [
        VisibleDevice(number, address, address if address.startswith("MIG-") else uuid, product)
        for number, ((uuid, product), address) in enumerate(zip(told, addresses, strict=False))
    ]


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and those behind it, the latest first."""
    now: BaseException | None = error
    while now is not None:
        yield now
        now = now.__cause__ or (None if now.__suppress_context__ else now.__context__)


def _has_driver() -> bool:
    """Whether this machine has a driver of CUDA: torch, which takes seconds to load, is asked only then."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


def _taken_by_others() -> str | None:
    """How much of the device's memory other processes have, where that is why nothing fits."""
    import torch

    free, total = torch.cuda.mem_get_info()
    taken = total - free - torch.cuda.memory_reserved()
    if taken < TAKEN_BYTES:
        return None
    return f"out of memory: other processes have {taken / (1 << 30):.1f} of its {total / (1 << 30):.1f} GiB"
