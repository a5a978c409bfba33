"""Assesses estimates by intervals over models and by predicting held-out models, beside a trivial baseline.

The baseline is a model's mean rank over all units among the training models. Whether estimates beat it is told by
differences paired by fold: both predict the same models from the same training models.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

from siftlm.correlate.benchmarks import BenchmarkTarget
from siftlm.correlate.clean import family_of
from siftlm.correlate.estimators import (
    BLOCK_UNITS,
    estimate,
    estimate_resampled,
    mean_places,
    model_strength,
    partial_given,
    partial_spearman,
    spearman,
    spearman_with_each,
)
from siftlm.correlate.pages import keyed_uniform
from siftlm.correlate.settings import CorrelateSettings, EstimatorName
from siftlm.errors import UserError
from siftlm.mixing.projection import project_linear
from siftlm.statistics.ranks import average_ranks

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Holds the lower and the upper bound of an interval for each unit: arrays [D]."""

    low: Floats
    high: Floats


def resample_counts(models: int, resamples: int, seed: int) -> Floats:
    """Returns how often each of B bootstrap resamples holds each model, [B, N]; every row adds up to N."""
    return np.random.default_rng(seed).multinomial(models, np.full(models, 1 / models), resamples).astype(np.float64)


def bootstrap(
    X: Floats, y: Floats, estimator: EstimatorName, resamples: int, level: float, seed: int
) -> tuple[Interval, Interval]:
    """Returns bootstrap intervals of the estimates, and of Spearman's rho given the models' strength.

    They are percentile intervals over models.

    All units see the same resamples, so that differences of units keep their meaning. Models are resampled as
    if they were independent; checkpoints of one run are not, and make the intervals too narrow.
    """
    counts = resample_counts(len(y), resamples, seed)
    z = model_strength(X)
    r_yz = estimate_resampled(z[:, None], y, counts, "spearman")

    def of_block(start: int) -> list[Floats]:
        block = X[:, start : start + BLOCK_UNITS]
        r_xy, r_xz = spearman_with_each(block, np.stack([y, z]), counts)
        own = r_xy if estimator == "spearman" else estimate_resampled(block, y, counts, estimator)
        ends = [(1 - level) / 2, (1 + level) / 2]
        return [np.quantile(samples, ends, axis=0) for samples in (own, partial_given(r_xy, r_xz, r_yz))]

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # what it spends its time in are numpy's own loops
        raw, partial = zip(*pool.map(of_block, range(0, X.shape[1], BLOCK_UNITS)), strict=True)
    return Interval(*np.concatenate(raw, axis=1)), Interval(*np.concatenate(partial, axis=1))


def fold_of_models(models: Sequence[str], folds: int, seed: int, hold_out: str = "models") -> npt.NDArray[np.int64]:
    """Returns the cross-validation fold of each model, by a keyed hash of its name, whatever the models' order.

    Groups (single models, or families) go to the emptiest fold, largest group first.
    """
    groups = [family_of(name) if hold_out == "families" else name for name in models]
    sizes = {group: groups.count(group) for group in set(groups)}
    if len(sizes) < folds:
        raise UserError(f"correlate.folds: must be at most the number of {hold_out}, got {folds} for {len(sizes)}")
    filled = [0] * folds
    fold_of: dict[str, int] = {}
    names = sorted(sizes)
    place = dict(zip(names, keyed_uniform(names, seed, "fold"), strict=True))
    for group in sorted(names, key=lambda name: (-sizes[name], place[name])):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return np.array([fold_of[group] for group in groups], np.int64)


@dataclass(frozen=True)
class HeldOut:
    """Holds the scores of predicting benchmark errors of models that the estimates were computed without.

    `rank_r2` and `spearman` are means over folds with at least two models whose errors differ;
    `fold_scores[F, 2]` has both by fold. `predicted[N]` in [0, 1] is the share of the training models of its
    fold that a model is predicted to be worse than, which is comparable across folds; it is NaN for models of
    no fold.
    """

    rank_r2: float
    spearman: float
    fold_scores: Floats
    fold: npt.NDArray[np.int64]
    predicted: Floats


def rank_scores(truth: Floats, predicted: Floats) -> tuple[float, float]:
    """Returns (R2, Spearman correlation) of predicted ranks against true ranks, with average ranks for ties."""
    true_ranks, ranks = average_ranks(truth), average_ranks(predicted)
    residual = float(np.square(true_ranks - ranks).sum())
    r2 = 1 - residual / float(np.square(true_ranks - true_ranks.mean()).sum())
    return r2, float(spearman(predicted[:, None], truth)[0])


def unit_weights(X: Floats, y: Floats, estimator: EstimatorName, top_share: float = 1.0) -> Floats:
    """Returns each unit's weight in a prediction: its estimate, or its projected weight among the top share of units.

    With equal caps of 1 / (share * units) the projection is the mean over the top units; the full estimates come close
    to the mean over all units wherever they are nearly the same for all, as they usually are.
    """
    g = estimate(X, y, estimator)
    return g if top_share == 1 else project_linear(g, np.full(len(g), 1 / max(1.0, top_share * len(g))))


def predict_held_out(
    X: Floats, y: Floats, fold: npt.NDArray[np.int64], estimator: EstimatorName | None, top_share: float = 1.0
) -> HeldOut:
    """Returns scores of predicting each fold's models by X w, with weights w fitted on the models outside it.

    With all units this is the published analysis (perplexity-correlations, held-out R2) with average ranks. The
    weights are those of `unit_weights`. `estimator=None` is the trivial baseline: the mean place among the models
    outside the fold, `mean_places`, which looks at no error.
    """
    scores, predicted = [], np.full(len(y), np.nan)
    for number in range(int(fold.max()) + 1):
        inside, outside = fold == number, fold != number
        if np.ptp(y[outside]) == 0:
            continue
        if estimator is None:
            inside_scores, training_scores = (mean_places(X[part], X[outside]) for part in (inside, outside))
        else:
            w = unit_weights(X[outside], y[outside], estimator, top_share)
            inside_scores, training_scores = X[inside] @ w, X[outside] @ w
        outside_scores = np.sort(training_scores)
        predicted[inside] = np.searchsorted(outside_scores, inside_scores) / len(outside_scores)
        if inside.sum() > 1 and np.ptp(y[inside]) > 0:
            scores.append(rank_scores(y[inside], inside_scores))
    if not scores:
        raise UserError("correlate.folds: some fold must hold two models whose errors differ, got none; take fewer")
    by_fold = np.array(scores)
    r2, rho = by_fold.mean(axis=0)
    return HeldOut(float(r2), float(rho), by_fold, fold, predicted)


@dataclass(frozen=True)
class Gain:
    """Holds by how much a prediction's Spearman exceeds the baseline's, on average over folds, with its interval.

    `low` and `high` are None where fewer than two folds were scored.
    """

    mean: float
    low: float | None
    high: float | None
    folds: int

    @property
    def beats(self) -> bool:
        """Tells whether the interval lies above 0."""
        return self.low is not None and self.low > 0


def paired_gain(held_out: HeldOut, baseline: HeldOut, level: float) -> Gain:
    """Returns the gain of a prediction over a baseline, from the differences of their Spearman fold by fold.

    Folds differ in how hard their models are to tell apart, which is in both and falls out of a difference. The
    interval is Student's over folds, as if these were independent. They share training models, but the noise of the few
    models that a fold tests outweighs that: of 400 comparisons in simulated worlds where units know nothing more than
    strength, one had an interval of 95 % above 0.
    """
    difference = held_out.fold_scores[:, 1] - baseline.fold_scores[:, 1]
    folds, mean = len(difference), float(difference.mean())
    if folds < 2:
        return Gain(mean, None, None, folds)
    half = float(scipy.stats.t.ppf((1 + level) / 2, folds - 1) * difference.std(ddof=1) / np.sqrt(folds))
    return Gain(mean, mean - half, mean + half, folds)


@dataclass(frozen=True)
class Assessment:
    """Holds the results for a benchmark: estimates, their intervals, and held-out predictions beside a baseline."""

    target: BenchmarkTarget
    estimator: EstimatorName
    estimates: Floats
    partial: Floats
    interval: Interval | None
    partial_interval: Interval | None
    strength: Floats
    strength_correlation: float
    held_out: HeldOut
    held_out_top: HeldOut
    baseline: HeldOut
    gain: Gain
    gain_top: Gain


def assess(target: BenchmarkTarget, settings: CorrelateSettings) -> Assessment:
    """Returns the estimates of a target with their intervals, the partial correlation and the held-out test."""
    X, y = target.matrix.values, target.errors
    z = model_strength(X)
    r_yz = float(spearman(z[:, None], y)[0])
    fold = fold_of_models(target.matrix.models, settings.folds, settings.seed, settings.hold_out)
    interval = partial_interval = None
    if settings.resamples:
        interval, partial_interval = bootstrap(
            X, y, settings.estimator, settings.resamples, settings.level, settings.seed
        )
    held_out = predict_held_out(X, y, fold, settings.estimator)
    held_out_top = predict_held_out(X, y, fold, settings.estimator, settings.top_share)
    baseline = predict_held_out(X, y, fold, None)
    return Assessment(
        target=target,
        estimator=settings.estimator,
        estimates=estimate(X, y, settings.estimator),
        partial=partial_spearman(X, y, z),
        interval=interval,
        partial_interval=partial_interval,
        strength=z,
        strength_correlation=r_yz,
        held_out=held_out,
        held_out_top=held_out_top,
        baseline=baseline,
        gain=paired_gain(held_out, baseline, settings.level),
        gain_top=paired_gain(held_out_top, baseline, settings.level),
    )
