"""Measures whether small experiments decide as large ones would, by decision accuracy, signal and noise.

Magnusson et al. 2025 (DataDecide, arXiv 2504.11393) and Heineman et al. 2025 (Signal and Noise).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siftlm.errors import UserError

Floats = npt.NDArray[np.float64]


def decision_accuracy(small: Floats, large: Floats) -> float:
    """Returns the share of pairs of corpora that both scales order the same way.

    Pairs i<j count where (small_i > small_j) == (large_i > large_j), as published: a tie counts as "not
    greater".
    """
    if small.shape != large.shape or small.ndim != 1 or len(small) < 2:
        raise UserError(
            f"proving: both scales must score the same corpora, two or more, got {small.shape} and {large.shape}"
        )
    first, second = np.triu_indices(len(small), k=1)
    return float(((small[first] > small[second]) == (large[first] > large[second])).mean())


def signal_to_noise(scores: Floats, last: int = 5) -> tuple[float, float, float]:
    """Returns the signal, the noise and their ratio for `scores[corpora, checkpoints]`.

    Both are relative to the mean score.

    signal = (highest - lowest corpus mean over the last checkpoints) / mean; noise = sqrt(mean over corpora
    of the variance over the last checkpoints) / mean. The published code pools all corpora in the noise,
    which then holds the signal too; this is the noise of a single run. Infinite where the runs do not vary.
    """
    if scores.ndim != 2 or scores.shape[0] < 2 or scores.shape[1] < last or last < 2:
        raise UserError(f"proving: there must be two corpora and {last} checkpoints (at least 2), got {scores.shape}")
    tail = scores[:, -last:]
    means = tail.mean(axis=1)
    signal = float(np.ptp(means) / means.mean())
    noise = float(np.sqrt(tail.var(axis=1).mean()) / means.mean())
    return signal, noise, signal / noise if noise else float("inf")
