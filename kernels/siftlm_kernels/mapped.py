"""Makes files that are mapped into memory."""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def mapped(path: str, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint32]]:
    """Returns a new file of zeros as an array of 32-bit numbers.

    Its blocks are reserved at once, for a process that writes to a mapped file when the disk is full is killed without
    a word.

    Raises:
        OSError: the disk has no room for all of it.
    """
    size = 4 * int(np.prod(shape))
    with open(path, "wb") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.truncate(size)
    return np.memmap(path, np.uint32, "r+", shape=shape)
