"""Compiles all kernels by numba with the same options and the same cache."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar, cast

from numba import config as numba_config
from numba import njit

from siftlm_kernels.caching import cache_folder

Integer = Any  # an integer of whatever type numba infers
Kernel = TypeVar("Kernel", bound=Callable[..., object])
config: Any = numba_config  # its variables have no types
_decorating = Lock()


def compiled_for(signature: Any) -> Callable[[Kernel], Kernel]:
    """Returns a decorator that compiles a function for one signature at once, or reads it from the cache."""
    return lambda function: compiled(function, signature)


def compiled(function: Kernel, signature: Any = None) -> Kernel:
    """Compiles a function by numba at its first call, to release the GIL and to be cached where possible."""
    folder = cache_folder()
    if folder is not None:
        with _decorating:  # what others decorate is kept where it was
            before, config.CACHE_DIR = config.CACHE_DIR, folder
            try:
                return cast(Kernel, njit(signature, nogil=True, cache=True)(function))
            except RuntimeError:  # there is no source file beside which a cache could grow stale, in a zip archive say
                pass
            finally:
                config.CACHE_DIR = before
    return cast(Kernel, njit(signature, nogil=True)(function))
