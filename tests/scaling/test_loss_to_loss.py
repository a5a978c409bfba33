"""Laws that made the losses are found again, and the published law predicts the published loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import siftlm
from siftlm.errors import UserError
from siftlm.scaling.loss_to_loss import LossToLoss, fit_loss_to_loss

TRUE = LossToLoss(0.6, 1.07, 1.9, 1.3, 1.0, 12)
SOURCE = np.linspace(2.1, 4.0, 12)
TARGET = TRUE.predict(SOURCE)


def test_the_published_law_predicts_the_published_loss() -> None:
    """FineWeb-Edu to Proof-Pile 2, the model of 3.3B: 1.404455, where 1.403241 was measured."""
    law = LossToLoss(0.604887, 1.066258, 1.966905, 1.319106, 0.99904, 83)
    assert law.predict(2.126264) == pytest.approx(1.404455, abs=2e-6)


def test_with_both_floors_the_law_is_found_exactly() -> None:
    law = fit_loss_to_loss(SOURCE, TARGET, source_floor=1.9, target_floor=1.3)
    assert (law.scale, law.exponent) == pytest.approx((0.6, 1.07), rel=1e-9)
    assert law.r2 == pytest.approx(1)
    assert law.pairs == 12


def test_with_the_floor_of_the_source_the_rest_is_found() -> None:
    law = fit_loss_to_loss(SOURCE, TARGET, source_floor=1.9)
    assert (law.scale, law.exponent, law.target_floor) == pytest.approx((0.6, 1.07, 1.3), rel=1e-3)


def test_without_floors_a_larger_model_is_predicted() -> None:
    """From the nine worst to the best three, to a hundredth of a nat."""
    law = fit_loss_to_loss(SOURCE[3:], TARGET[3:])
    assert law.predict(SOURCE[:3]) == pytest.approx(TARGET[:3], abs=0.01)


def test_at_the_floor_there_is_no_prediction() -> None:
    assert np.isnan(TRUE.predict([1.9, 1.0])).all()


def test_missing_losses_are_left_out() -> None:
    source, target = np.append(SOURCE, [np.nan, 3.0]), np.append(TARGET, [2.0, np.nan])
    assert fit_loss_to_loss(source, target, source_floor=1.9, target_floor=1.3).pairs == 12


@pytest.mark.parametrize(
    ("source", "target", "floors", "message"),
    [
        ([2.0, 3.0], [1.0, 2.0], {}, "3 models with different losses above the floors, got 2"),
        ([2.0, 2.0, 2.0], [1.0, 2.0, 3.0], {}, "3 models with different losses above the floors, got 3"),
        ([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], {"source_floor": 5.0}, "above the floors, got 0"),
        ([2.0, 3.0], [1.0], {}, "a loss a model each, got (2,) and (1,)"),
        ([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], {"target_floor": 0.5}, "target_floor must come with source_floor"),
    ],
)
def test_mistakes_are_one_line(
    source: list[float], target: list[float], floors: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        fit_loss_to_loss(source, target, **floors)
    assert message in str(caught.value)


def test_units_of_a_matrix_are_named(tmp_path: Path) -> None:
    """A long table and its file give one law, and a unit that is not there is told."""
    rows = [("fineweb", SOURCE), ("code", TARGET)]
    names = [f"m{n:02d}" for n in range(len(SOURCE))]
    table = pa.table(
        {
            "model": names * 2,
            "unit": [unit for unit, values in rows for _ in values],
            "bits_per_byte": np.concatenate([values for _, values in rows]),
        }
    )
    pq.write_table(table, tmp_path / "matrix.parquet")
    floors = {"source_floor": 1.9, "target_floor": 1.3}
    law = siftlm.loss_to_loss(table, "fineweb", "code", **floors)
    assert law.exponent == pytest.approx(1.07)
    assert siftlm.loss_to_loss(str(tmp_path / "matrix.parquet"), "fineweb", "code", **floors) == law
    with pytest.raises(UserError, match=r"must name units of the matrix, got 'wiki'"):
        siftlm.loss_to_loss(table, "wiki", "code")
