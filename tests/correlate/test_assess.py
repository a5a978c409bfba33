"""Intervals, the trivial baseline, held-out prediction, and the tables for the report."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import r2_score

from siftlm.correlate.assess import (
    assess,
    bootstrap,
    fold_of_models,
    paired_gain,
    predict_held_out,
    rank_scores,
    resample_counts,
    unit_weights,
)
from siftlm.correlate.benchmarks import BenchmarkTarget
from siftlm.correlate.estimators import estimate, mean_places, model_strength, partial_spearman, spearman
from siftlm.correlate.matrix import LossMatrix
from siftlm.correlate.results import comparison_table, estimates_table, held_out_table, weights_table
from siftlm.correlate.settings import CorrelateSettings
from siftlm.errors import UserError
from siftlm.proving.scales import decision_accuracy, signal_to_noise


def synthetic(models: int = 60, units: int = 30, seed: int = 0) -> BenchmarkTarget:
    """Models with one strength each; only the first ten units say more about the benchmark than strength does."""
    rng = np.random.default_rng(seed)
    strength, skill = rng.normal(size=models), rng.normal(size=models)
    X = 2 + 0.2 * strength[:, None] + 0.05 * rng.normal(size=(models, units))
    X[:, :10] += 0.2 * skill[:, None]
    names = [f"org{k % 6}/m{k:02d}" for k in range(models)]
    matrix = LossMatrix(names, [f"u{j:02d}" for j in range(units)], X)
    return BenchmarkTarget("t", ["b"], matrix, strength + 2 * skill + 0.1 * rng.normal(size=models))


def settings_of(**changes: object) -> CorrelateSettings:
    """Settings for an assessment in memory."""
    return CorrelateSettings.model_validate({"matrix": {"path": "-"}, "benchmarks": {"path": "-"}, **changes})


def test_intervals_are_quantiles_of_plain_resampling() -> None:
    """Against a loop that repeats rows and calls the estimator, for the estimate and the partial correlation."""
    target = synthetic(25, 4)
    X, y = target.matrix.values, target.errors
    counts = resample_counts(25, 40, 3).astype(int)
    assert (counts.sum(axis=1) == 25).all()
    z = model_strength(X)
    raw, partial = [], []
    for drawn in counts:
        rows = np.repeat(np.arange(25), drawn)
        raw.append(estimate(X[rows], y[rows], "sign_sign"))
        partial.append(partial_spearman(X[rows], y[rows], z[rows]))
    interval, partial_interval = bootstrap(X, y, "sign_sign", 40, 0.9, 3)
    np.testing.assert_allclose(interval.low, np.quantile(raw, 0.05, axis=0))
    np.testing.assert_allclose(interval.high, np.quantile(raw, 0.95, axis=0))
    np.testing.assert_allclose(partial_interval.low, np.quantile(partial, 0.05, axis=0), atol=1e-12)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Spearman of bivariate normal data with correlation 0.5: 6/pi asin(0.25), 90 % intervals, 200 units."""
    rng = np.random.default_rng(1)
    y = rng.normal(size=80)
    truth = 6 / np.pi * np.arcsin(0.25)
    covered = []
    for _ in range(10):
        y = rng.normal(size=80)
        X = 0.5 * y[:, None] + np.sqrt(0.75) * rng.normal(size=(80, 20))
        interval, _ = bootstrap(X, y, "spearman", 200, 0.9, 0)
        covered += ((interval.low <= truth) & (truth <= interval.high)).tolist()
    assert 0.8 <= np.mean(covered) <= 0.97


def test_folds_are_balanced_and_depend_on_no_order() -> None:
    """12 models in 5 folds; with families, no family is on both sides."""
    names = [f"f{k % 7}/m{k}" for k in range(12)]
    fold = fold_of_models(names, 5, 0)
    assert sorted(np.bincount(fold).tolist()) == [2, 2, 2, 3, 3]
    np.testing.assert_array_equal(fold_of_models(names[::-1], 5, 0)[::-1], fold)
    by_family = fold_of_models(names, 5, 0, "families")
    for family in range(7):
        assert len({by_family[k] for k in range(12) if k % 7 == family}) == 1
    with pytest.raises(UserError, match="at most the number of families, got 8 for 7"):
        fold_of_models(names, 8, 0, "families")


def test_held_out_scores_are_those_of_fitting_fold_by_fold() -> None:
    """Against sklearn's R2 of scipy's ranks, and scipy's Spearman."""
    target = synthetic()
    X, y = target.matrix.values, target.errors
    fold = fold_of_models(target.matrix.models, 5, 0)
    result = predict_held_out(X, y, fold, "spearman")
    expected = []
    for number in range(5):
        inside = fold == number
        predicted = X[inside] @ spearman(X[~inside], y[~inside])
        ranks = scipy.stats.rankdata(predicted), scipy.stats.rankdata(y[inside])
        expected.append([r2_score(ranks[1], ranks[0]), scipy.stats.spearmanr(*ranks).statistic])
    np.testing.assert_allclose(result.fold_scores, expected)
    assert result.rank_r2 == pytest.approx(np.mean(expected, axis=0)[0])
    assert rank_scores(y, y) == pytest.approx((1.0, 1.0))


def test_held_out_models_are_not_seen_by_the_fit() -> None:
    """Changing a held-out error changes no prediction in its fold."""
    target = synthetic()
    X, y = target.matrix.values, target.errors.copy()
    fold = fold_of_models(target.matrix.models, 5, 0)
    before = predict_held_out(X, y, fold, "sign").predicted
    y[fold == 2] += 100
    after = predict_held_out(X, y, fold, "sign").predicted
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])


def test_an_informative_matrix_beats_the_baseline_and_the_partial_correlation_finds_why() -> None:
    """The first ten units carry the skill; given the models' strength, only they correlate positively."""
    result = assess(synthetic(), settings_of(resamples=60))
    assert result.held_out.spearman > result.baseline.spearman
    assert result.partial[:10].min() > result.partial[10:].max()
    assert result.interval is not None
    assert (result.interval.low <= result.interval.high).all()


def test_estimates_do_not_depend_on_the_order_of_models() -> None:
    """Nor do folds and held-out scores."""
    target = synthetic()
    order = np.random.default_rng(1).permutation(60)
    turned = BenchmarkTarget("t", ["b"], target.matrix.select(order.tolist()), target.errors[order])
    one, two = (assess(case, settings_of(resamples=0)) for case in (target, turned))
    np.testing.assert_allclose(one.estimates, two.estimates, atol=1e-14)
    np.testing.assert_allclose(one.held_out.predicted[order], two.held_out.predicted)
    assert one.held_out.rank_r2 == pytest.approx(two.held_out.rank_r2)


def test_tables_for_the_report_hold_one_row_a_unit_and_a_model() -> None:
    """Best unit first; ranks from 1; two predictors side by side."""
    target = synthetic()
    result = assess(target, settings_of(resamples=20))
    estimates = estimates_table(result)
    assert estimates.num_rows == 30
    values = estimates["estimate"].to_pylist()
    assert values == sorted(values, reverse=True)
    assert estimates["rank"].to_pylist() == list(range(1, 31))
    models = held_out_table(result).to_pydict()
    assert sorted(models["true_rank"]) == sorted(scipy.stats.rankdata(target.errors).tolist())
    overall = scipy.stats.spearmanr(models["true_rank"], models["predicted_rank"]).statistic
    assert overall == pytest.approx(result.held_out.spearman, abs=0.2)
    assert comparison_table(result)["predictor"].to_pylist() == ["spearman", "spearman_top", "mean_rank"]
    without = estimates_table(assess(target, settings_of(resamples=0)))
    assert without["low"].null_count == 30
    weights = weights_table(
        "t", ["a", "b"], np.array([1.0, 2]), np.array([5, 6]), np.array([0.5, 0.6]), np.array([0, 0.6])
    )
    assert weights["unit"].to_pylist() == ["b", "a"]
    assert weights["included"].to_pylist() == [True, False]


def test_decision_accuracy_counts_pairs_ordered_alike() -> None:
    """Against 1/2 (1 + Kendall's tau) without ties; a tie is "not greater"."""
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=25), rng.normal(size=25)
    tau = scipy.stats.kendalltau(small, large).statistic
    assert decision_accuracy(small, large) == pytest.approx((1 + tau) / 2)
    assert decision_accuracy(np.array([1.0, 1, 2]), np.array([1.0, 2, 3])) == 1.0
    assert decision_accuracy(np.array([1.0, 1, 2]), np.array([2.0, 1, 3])) == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="proving"):
        decision_accuracy(small, large[:3])


def test_signal_over_noise_of_known_runs() -> None:
    """Two corpora that differ by 1 around 1.5, each with checkpoints of standard deviation 0.1."""
    wobble = np.array([0.1, -0.1, 0.1, -0.1])
    scores = np.vstack([np.r_[9.0, 1 + wobble], np.r_[9.0, 2 + wobble]])
    signal, noise, ratio = signal_to_noise(scores, last=4)
    assert (signal, noise, ratio) == pytest.approx((1 / 1.5, 0.1 / 1.5, 10))
    assert signal_to_noise(np.array([[1.0, 1], [2.0, 2]]), last=2)[2] == float("inf")
    with pytest.raises(UserError, match="checkpoints"):
        signal_to_noise(scores, last=9)


def test_the_held_out_test_of_the_top_units_is_their_mean() -> None:
    """A share of a third of 30 units: the prediction is the mean over the ten units with the largest estimates."""
    target = synthetic()
    X, y = target.matrix.values, target.errors
    w = unit_weights(X, y, "spearman", 1 / 3)
    top = np.argsort(-spearman(X, y))[:10]
    np.testing.assert_allclose(X @ w, X[:, top].mean(axis=1))
    result = assess(target, settings_of(resamples=0, top_share=1 / 3))
    assert result.held_out_top.spearman > result.held_out.spearman > result.baseline.spearman


def test_the_baseline_is_the_mean_rank_among_the_training_models() -> None:
    """Against plain counts, unit by unit, of each held-out model by itself among the training models; with ties."""
    rng = np.random.default_rng(4)
    X, y = rng.integers(0, 9, (23, 700)).astype(float), rng.normal(size=23)
    fold = fold_of_models([f"m{k}" for k in range(23)], 4, 0)
    result = predict_held_out(X, y, fold, None)
    expected = []
    for number in range(4):
        training = X[fold != number]
        places = [
            np.mean([(np.sum(t < x) + np.sum(t == x) / 2) / len(t) for x, t in zip(row, training.T, strict=True)])
            for row in X[fold == number]
        ]
        np.testing.assert_allclose(mean_places(X[fold == number], training), places)
        expected.append(scipy.stats.spearmanr(places, y[fold == number]).statistic)
    np.testing.assert_allclose(result.fold_scores[:, 1], expected)
    np.testing.assert_allclose(model_strength(X), scipy.stats.rankdata(X, axis=0).mean(axis=1))


def test_no_held_out_model_moves_the_baseline_of_another() -> None:
    """Nor does any error, nor any monotone change of a unit's bits, which a mean of bits would follow."""
    target = synthetic()
    X, y = target.matrix.values, target.errors
    fold = fold_of_models(target.matrix.models, 5, 0)
    before = predict_held_out(X, y, fold, None).predicted
    one, *others = np.flatnonzero(fold == 2)
    changed = X.copy()
    changed[one] += 7
    np.testing.assert_array_equal(predict_held_out(changed, -y, fold, None).predicted[others], before[others])
    stretched = X.copy()
    stretched[:, 3] = np.exp(9 * X[:, 3])
    np.testing.assert_array_equal(predict_held_out(stretched, y, fold, None).predicted, before)


def test_a_unit_with_loud_bits_does_not_rule_the_baseline() -> None:
    """Strength decides the errors; one unit of large bits at random drowned it in a mean of bits, not in ranks."""
    rng = np.random.default_rng(6)
    strength = rng.normal(size=40)
    X = 2 + 0.2 * strength[:, None] + 0.02 * rng.normal(size=(40, 50))
    X[:, 0] = 100 * rng.random(40)
    fold = fold_of_models([f"m{k}" for k in range(40)], 5, 0)
    assert predict_held_out(X, strength, fold, None).spearman > 0.95
    assert abs(float(spearman(X.mean(axis=1)[:, None], strength)[0])) < 0.5


def test_the_gain_over_the_baseline_is_paired_by_fold() -> None:
    """Student's interval of the differences, by scipy."""
    result = assess(synthetic(), settings_of(resamples=0, level=0.9))
    difference = result.held_out.fold_scores[:, 1] - result.baseline.fold_scores[:, 1]
    low, high = scipy.stats.t.interval(0.9, 4, difference.mean(), scipy.stats.sem(difference))
    assert (result.gain.mean, result.gain.low, result.gain.high) == pytest.approx((difference.mean(), low, high))
    assert result.gain.beats == (low > 0)
    assert result.gain_top.beats
    rows = comparison_table(result).to_pylist()
    assert [row["gain"] for row in rows] == [result.gain.mean, result.gain_top.mean, None]
    same = paired_gain(result.baseline, result.baseline, 0.9)
    assert (same.mean, same.low, same.high, same.beats) == (0.0, 0.0, 0.0, False)


@pytest.mark.parametrize("skill", [0.0, 2.0])
def test_the_verdict_follows_the_truth(skill: float) -> None:
    """Where no unit knows more than strength, at most two of twenty worlds beat it; where units do, most do."""
    beaten = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        strength, own = rng.normal(size=60), rng.normal(size=60)
        X = 2 + 0.2 * strength[:, None] + 0.05 * rng.normal(size=(60, 30))
        X[:, :10] += 0.1 * skill * own[:, None]
        matrix = LossMatrix([f"m{k}" for k in range(60)], [f"u{j}" for j in range(30)], X)
        errors = strength + skill * own + 0.1 * rng.normal(size=60)
        beaten += assess(BenchmarkTarget("t", ["b"], matrix, errors), settings_of(resamples=0)).gain_top.beats
    assert (beaten >= 14) if skill else (beaten <= 2)
