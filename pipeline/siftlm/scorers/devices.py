"""Names the devices that models run on, and picks the one that this process uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from siftlm.errors import UserError

if TYPE_CHECKING:
    import torch

_NAME = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]{0,3}))?")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"must be auto, cpu, cuda or cuda:N, got {name!r}")
    return name


DeviceName = Annotated[str, AfterValidator(_checked)]
"""`cpu`, `cuda` (all devices of the machine), `cuda:N` (the one of that number), or `auto` (`cuda` where one is)."""


def number_of(device: str) -> int | None:
    """Returns the number of the device that a name pins, None where it pins none."""
    number = device.partition(":")[2]
    return int(number) if number else None


def without_number(device: str) -> str:
    """Returns the name of a kind of device: results do not depend on which of several equal devices computed them."""
    return device.partition(":")[0]


def check_present(place: str, device: str, devices: int) -> None:
    """Raises UserError at `place` for a device that is not among the `devices` CUDA devices of this machine."""
    number = number_of(device)
    if device in ("auto", "cpu") or devices > (number or 0):
        return
    if not devices:
        raise UserError(f"{place}: must be a device of this machine, got {device!r} without a CUDA device")
    there = "cuda:0, the only one" if devices == 1 else f"one of cuda:0 to cuda:{devices - 1}"
    raise UserError(f"{place}: must be a CUDA device that this process sees, {there}, got {device!r}")


class _Assigned:
    """Holds torch's name of the device that this process was started for, None in all other processes."""

    device: str | None = None


def assign(device: str) -> None:
    """Makes a device the one on which every model of this process runs, whatever its settings say."""
    _Assigned.device = device


def pick_device(place: str, device: str) -> torch.device:
    """Returns the device of a model in this process; `auto` takes CUDA where there is a device.

    Raises:
        UserError: at `place`, for a CUDA device that is not there.
    """
    import torch

    if _Assigned.device is not None:
        return torch.device(_Assigned.device)
    available = device != "cpu" and torch.cuda.is_available()
    if number_of(device) is None:
        check_present(place, device, int(available))
    else:
        check_present(place, device, torch.cuda.device_count() if available else 0)
    if not available:
        return torch.device("cpu")
    return torch.device("cuda" if device == "auto" else device)
