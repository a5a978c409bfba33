"""Computes the learning rate of a step."""

from __future__ import annotations

import math


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the rate of a step: a linear start, then half a cosine down to a tenth of the peak.

    The start is the first twentieth. The shape is GPT-3's (appendix B), whose warm-up is given in tokens.
    """
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))))
