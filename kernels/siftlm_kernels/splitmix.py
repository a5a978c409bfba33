"""The finaliser of splitmix64 (Steele, Lea, Flood 2014; variant 13 of Stafford's mixers), compiled.

Published and fixed: a kernel of another file that numba cached with it inside never grows stale.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siftlm_kernels.compiling import compiled

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@compiled
def mix(h: Any) -> Any:
    """Mixes every bit of a uint64 into every other."""
    h = (h ^ (h >> _30)) * _FIRST
    h = (h ^ (h >> _27)) * _SECOND
    return h ^ (h >> _31)
