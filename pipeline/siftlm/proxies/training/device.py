"""Prepares a CPU or a GPU for training, and puts everything back afterwards."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from siftlm.errors import UserError
from siftlm.proxies.training.settings import Optimisation

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = (1 << 30, 1 << 30)  # bytes: what is freed stays with the process, whose steps all need as much again
_USUAL = (1 << 26, 1 << 25)  # what glibc's own rule reaches at most


def opened_device(settings: Optimisation) -> torch.device:
    """Returns the device to train on; raises UserError where it is not there."""
    if settings.device == "cpu":
        return torch.device("cpu")
    number = int(settings.device.partition(":")[2] or 0)
    if not torch.cuda.is_available() or number >= torch.cuda.device_count():
        raise UserError(f"device: must be cpu or a GPU that torch sees, got {settings.device!r}")
    return torch.device("cuda", number)


def threads(settings: Optimisation) -> int:
    """Returns how many threads train on a CPU: those asked for, or one a core of this process."""
    return settings.threads or len(os.sched_getaffinity(0))


@contextmanager
def lanes(settings: Optimisation) -> Iterator[ThreadPoolExecutor]:
    """Yields a pool of threads with single-threaded operations; the caller's have one thread meanwhile.

    Windows in parallel beat operations in parallel, whose threads wait for each other at the end of every operation:
    with other work on the machine, two threads an operation were a third as fast as one (tests/bench/results).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads(settings), "train", torch.set_num_threads, (1,)) as pool, _fast_products():
            yield pool
    finally:
        torch.set_num_threads(before)


@contextmanager
def _fast_products() -> Iterator[None]:
    """Has oneDNN compute float32 products where it does so exactly, and keeps freed memory for the next step.

    MKL uses half of a vector on other makers' processors than Intel's: oneDNN was 2.4 times as fast on an AMD EPYC.
    """
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    if onednn_is_exact():
        products.fp32_precision = "bf16"
    _keep_memory(*_KEPT)
    try:
        yield
    finally:
        products.fp32_precision = before
        _keep_memory(*_USUAL)


@cache
def onednn_is_exact() -> bool:
    """Tells whether oneDNN, when it is asked for float32 products, rounds no operand on this processor.

    The only setting of torch that sends them there lets oneDNN round to bfloat16, which it does on processors with
    units for that (AMX) alone; there MKL is fast. So one product is tried: rounded operands are off by up to 0.004.
    """
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.rand((64, 256), generator=generator) for _ in range(2))
    before = products.fp32_precision
    try:
        products.fp32_precision = "bf16"
        made = left @ right.T
    finally:
        products.fp32_precision = before
    truth = left.double() @ right.double().T
    return bool(((made - truth).abs() <= 1e-5 * truth).all())


def _keep_memory(trim: int, mmap: int) -> None:
    """Sets from how many bytes on freed memory goes back to the system; nothing with other C libraries."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, trim)
        mallopt(_M_MMAP_THRESHOLD, mmap)
