"""One way to compile a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., object])


def compiled(function: Kernel) -> Kernel:
    """The function compiled by numba at its first call: releases the GIL, cached on disk where that is possible.

    numba caches in `NUMBA_CACHE_DIR`, beside the source file or in the user's cache directory, by what it can
    write; where it can write nowhere it refuses to decorate, and every process compiles for itself.
    """
    try:
        return cast(Kernel, njit(nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(Kernel, njit(nogil=True)(function))
