"""Coefficients are scikit-learn's, effects that made the losses are found again, and mistakes are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from sklearn.linear_model import Lasso

import siftlm
from siftlm.errors import UserError
from siftlm.scaling.datamodel import fit_datamodel, lasso

NAMES = [f"g{number}" for number in range(8)]


def runs(number: int, noise: float = 0.01, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indicators, losses, effects): two groups help, one harms, the others do nothing."""
    drawn = np.random.default_rng(seed)
    effects = np.array([-0.5, -0.2, 0.3, 0, 0, 0, 0, 0])
    seen = (drawn.random((number, 8)) < 0.5).astype(float)
    return seen, 3 + seen @ effects + noise * drawn.normal(size=number), effects


@pytest.mark.parametrize("penalty", [0.001, 0.02, 0.5])
def test_the_lasso_is_scikit_learns(penalty: float) -> None:
    seen, losses, _ = runs(60, 0.3)
    for features in (seen, seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)):
        truth = Lasso(alpha=penalty, tol=1e-12, max_iter=100_000).fit(features, losses)
        weights, intercept = lasso(features, losses, penalty)
        np.testing.assert_allclose(features @ weights + intercept, truth.predict(features), atol=1e-7)
        assert np.abs(weights).sum() == pytest.approx(np.abs(truth.coef_).sum(), abs=1e-6)
    weights, _ = lasso(seen, losses, penalty)  # of shares that add up to 1 there may be several
    np.testing.assert_allclose(weights, Lasso(alpha=penalty, tol=1e-12).fit(seen, losses).coef_, atol=1e-7)


def test_effects_that_made_the_losses_are_found() -> None:
    seen, losses, effects = runs(80)
    losses[3] = np.nan
    made = fit_datamodel(seen, losses, NAMES)
    assert made.runs == 79
    np.testing.assert_allclose(made.effects, effects, atol=0.02)
    assert made.order()[:2] == ["g0", "g1"]
    assert made.order()[-1] == "g2"
    assert made.rank_correlation is not None
    assert made.rank_correlation > 0.9
    assert (made.intervals[:, 0] <= made.effects).mean() > 0.7
    np.testing.assert_allclose(made.predict(seen), seen @ made.effects + made.intercept)
    squares = fit_datamodel(seen, losses, NAMES, method="least_squares", resamples=0)
    known = np.isfinite(losses)
    truth = np.linalg.lstsq(np.column_stack([seen[known], np.ones(79)]), losses[known], rcond=None)[0]
    np.testing.assert_allclose(squares.effects, truth[:-1], atol=1e-9)


def test_losses_of_chance_are_not_predicted() -> None:
    seen, _, _ = runs(60)
    made = fit_datamodel(seen, np.random.default_rng(5).normal(size=60), NAMES, resamples=0)
    assert made.rank_correlation is None or made.rank_correlation < 0.4


def test_shares_give_effects_up_to_one_number() -> None:
    """What one group has more than another is what made the losses."""
    drawn = np.random.default_rng(2)
    shares, effects = drawn.dirichlet(np.ones(4), 50), np.array([0.4, -0.3, 0.1, 0.0])
    made = fit_datamodel(shares, 2 + shares @ effects, list("abcd"), method="least_squares", resamples=0)
    np.testing.assert_allclose(made.effects - made.effects.mean(), effects - effects.mean(), atol=1e-9)
    assert made.order() == ["b", "d", "c", "a"]


def test_runs_are_read_from_a_table_or_a_file(tmp_path: Path) -> None:
    seen, losses, _ = runs(30)
    table = pa.table({**{name: seen[:, n] for n, name in enumerate(NAMES)}, "loss": losses, "run": ["r"] * 30})
    pa.csv.write_csv(table, tmp_path / "runs.csv")
    made = siftlm.datamodel(table, NAMES, "loss")
    np.testing.assert_allclose(siftlm.datamodel(str(tmp_path / "runs.csv"), NAMES, "loss").effects, made.effects)
    with pytest.raises(UserError, match="datamodel: must name columns of the runs, got 'nll'"):
        siftlm.datamodel(table, NAMES, "nll")
    with pytest.raises(UserError, match="datamodel: 'run' must hold numbers, got string"):
        siftlm.datamodel(table, NAMES, "run")


def test_mistakes_are_one_line() -> None:
    seen, losses, _ = runs(12)
    for features, values, names, told in [
        (seen, losses[:5], NAMES, "must have a loss for each run and a name for each group"),
        (seen, losses, NAMES[:3], "must have a loss for each run and a name for each group"),
        (seen[:4], losses[:4], NAMES, "must have 6 runs with finite losses and shares, got 4"),
        (seen * np.nan, losses, NAMES, "must have 6 runs with finite losses and shares, got 0"),
        (seen, np.ones(12), NAMES, "must have losses that differ, got 1 of all 12 runs"),
        (np.ones((12, 8)), losses, NAMES, "must have groups whose share varies between runs"),
    ]:
        with pytest.raises(UserError, match=f"^datamodel: {told}"):
            fit_datamodel(features, values, names)
    for names in ([], ["a", "a"]):
        with pytest.raises(UserError, match=r"^datamodel: must name every group once"):
            fit_datamodel(seen[:, : len(names)], losses, names)
    with pytest.raises(UserError, match=r"^datamodel: method must be one of lasso, least_squares, got 'ridge'"):
        fit_datamodel(seen, losses, NAMES, method="ridge")  # type: ignore[arg-type]
    one = fit_datamodel(seen[:, :1], losses, ["only"])
    assert one.order() == ["only"]
