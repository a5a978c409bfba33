"""Sets options of glibc's memory allocator for the whole process; does nothing with other C libraries."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB = -6  # of glibc's malloc.h
_M_ARENA_MAX = -8


def limit_arenas() -> None:
    """Limits malloc to one arena per core, unless the environment variable MALLOC_ARENA_MAX sets a number.

    Threads come and go with the stages, and each takes over an arena that others have cut to pieces, or a new one:
    a process that runs for hours then holds more and more memory that is free (tests/bench/results/limits.md).
    More threads than cores do not work at a time, so more arenas save no waiting.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and hasattr(os, "sched_getaffinity"):  # the cores of this process, as glibc
        _set(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


@contextmanager
def zeroed_allocations() -> Iterator[None]:
    """Makes malloc return zeroed memory inside the block.

    fastText fills a tenth of its input matrix with random numbers per thread, at most ten tenths, and leaves
    the rest as allocated (DenseMatrix::uniform). Its own releases allocate zeros; fasttext-numpy2 0.10.4
    allocates with posix_memalign and then trains on whatever the process left there: models differ from run
    to run, and small ones often end with "Encountered NaN". glibc's M_PERTURB makes new memory zero, as in
    fastText's own releases. It is harmless to other threads.
    """
    _set(_M_PERTURB, 0xFF)  # new memory gets the complement of this byte
    try:
        yield
    finally:
        _set(_M_PERTURB, 0)


def _set(option: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(option, value)
