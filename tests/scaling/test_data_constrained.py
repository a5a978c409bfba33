"""The data-constrained law against the numbers that its authors publish."""

from __future__ import annotations

import numpy as np
import pytest

from siftlm.errors import UserError
from siftlm.scaling.data_constrained import DataConstrainedLaw
from siftlm.statistics.repetition import effective_copies


def test_losses_and_the_best_allocation_are_the_published_ones() -> None:
    """To the last digit that huggingface/datablations prints."""
    law = DataConstrainedLaw()
    assert law.loss(6.34e9, 242e9, 25e9) == 2.2256440889984477
    assert law.loss(8.67e9, 178e9, 25e9) == 2.2269634075087867
    parameters, tokens, _ = law.best_allocation(1e22, 25e9)
    assert tokens == pytest.approx(237336955477.55075, rel=1e-12)
    assert parameters == pytest.approx(7022364735.879969, rel=1e-12)


def test_effective_tokens_are_those_of_the_reports() -> None:
    """Of a selection as `statistics.repetition` counts them; never more than are read."""
    copies = np.array([0.5, 1.0, 4.0, 40.0])
    assert DataConstrainedLaw().effective_tokens(100 * copies, 100.0) == pytest.approx(100 * effective_copies(copies))


def test_more_different_tokens_than_are_read_are_refused() -> None:
    with pytest.raises(UserError, match="unique tokens must be above 0"):
        DataConstrainedLaw().loss(1e9, 1e9, 2e9)
