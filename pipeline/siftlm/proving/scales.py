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


def token_multiplier(tokens: Floats, null: Floats, arm: Floats) -> tuple[float | None, str]:
    """Returns how many times the tokens of an arm its null needs for the same loss, and what bounds it.

    Both curves are read where they reach the loss of the worse one at its end, by straight lines between marks over the
    logarithm of tokens. The rate of learning falls to the end of a training, so a curve drops late: the factor is
    nearer to 1 than between trainings of other lengths.

    Args:
        tokens: float64[marks], increasing.
        null: float64[marks], bits per byte of the null.
        arm: float64[marks], bits per byte of the arm.

    Returns:
        The factor, and an empty text; or a bound and `above` or `below` where the better curve starts beyond that loss;
        or None where a curve does not fall.
    """
    if len(tokens) < 2 or null[-1] >= null[0] or arm[-1] >= arm[0]:
        return None, ""
    better = arm[-1] <= null[-1]
    fast, slow = (arm, null) if better else (null, arm)
    reached = _tokens_at(tokens, fast, float(slow[-1]))
    if reached is None:
        return float(tokens[-1] / tokens[0]) if better else float(
            tokens[0] / tokens[-1]
        ), "above" if better else "below"
    return float(tokens[-1] / reached) if better else float(reached / tokens[-1]), ""


def _tokens_at(tokens: Floats, curve: Floats, loss: float) -> float | None:
    """The tokens after which a curve first is at or below a loss; None where it starts there."""
    if curve[0] <= loss:
        return None
    first = int(np.argmax(curve <= loss))
    share = (curve[first - 1] - loss) / (curve[first - 1] - curve[first])
    low, high = np.log(tokens[first - 1 : first + 1])
    return float(np.exp(low + share * (high - low)))
