"""Memory that reads as zero while fastText trains."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_PERTURB = -6  # of glibc's malloc.h


@contextmanager
def zeroed_allocations() -> Iterator[None]:
    """Let malloc hand out zeroed memory inside the block.

    fastText fills a tenth of its input matrix with random numbers per thread, at most ten tenths, and leaves
    the rest as allocated (DenseMatrix::uniform). Its own releases allocate zeros; fasttext-numpy2 0.10.4
    allocates with posix_memalign and then trains on whatever the process left there: models differ from run
    to run, and small ones often end with "Encountered NaN". glibc's M_PERTURB makes new memory zero, as in
    fastText's own releases.

    The option is the whole process's, and harmless to other threads. Other C libraries than glibc do not have
    it; there nothing changes.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None)
    if option is None:
        yield
        return
    option(_M_PERTURB, 0xFF)  # new memory gets the complement of this byte
    try:
        yield
    finally:
        option(_M_PERTURB, 0)
