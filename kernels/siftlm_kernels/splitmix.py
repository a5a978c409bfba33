"""Compiles functions that mix 64-bit hashes: the finaliser of splitmix64 and a similar single round.

The finaliser is variant 13 of Stafford's mixers.
Fixed for ever (Steele, Lea, Flood 2014): a kernel of another file that numba cached with one inside never grows stale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import compiled

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
FACTOR = np.uint64(0xD6E8FEB86659FD93)


@compiled
def mix(h: Any) -> Any:
    """Returns `h`, a uint64, with every bit mixed into every other."""
    h = (h ^ (h >> _30)) * _FIRST
    h = (h ^ (h >> _27)) * _SECOND
    return h ^ (h >> _31)


@compiled
def step(h: Any, value: Any) -> Any:
    """Returns the hash `h` after 64 more bits, `value`, are mixed into it."""
    h = (h ^ value) * FACTOR
    return h ^ (h >> _32)
