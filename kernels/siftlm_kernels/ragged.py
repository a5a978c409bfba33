"""Places in runs of elements that lie one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def within(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Returns 0, 1, ... count - 1 for every count, one run after the other."""
    ends = np.cumsum(counts)
    places: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return places
