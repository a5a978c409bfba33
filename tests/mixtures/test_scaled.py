"""The law of mixture, size and tokens against runs that follow it; rates against published numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from tests.mixtures.tables import additive, examples, scaled, write

from siftlm.config import validated
from siftlm.errors import UserError
from siftlm.mixtures.laws.additive import Scales, fit_additive
from siftlm.mixtures.methods.data_constrained import DataConstrainedSettings
from siftlm.mixtures.methods.data_filtering import DataFilteringSettings
from siftlm.mixtures.methods.optimal_mixtures import OptimalMixturesSettings, scaled_mixture
from siftlm.mixtures.mix import mix
from siftlm.mixtures.settings import MixConfig
from siftlm.scaling.data_filtering import Pool, predicted_error
from siftlm.selectors.rules.top import Top

LARGE = {"train_parameters": 7_000_000_000, "train_tokens": 200_000_000_000}


def settings(**more: Any) -> OptimalMixturesSettings:
    tokens = dict.fromkeys(("web", "wiki", "code"), 10**12)
    return OptimalMixturesSettings.model_validate({"runs": "r.csv", "tokens": tokens, "resamples": 6, **LARGE, **more})


def test_the_law_predicts_models_that_are_seven_times_as_large() -> None:
    """Losses without noise are predicted within .5 %, others within 1 %."""
    shares = np.random.default_rng(5).dirichlet(np.ones(3), 20)
    large = Scales(shares, np.full(20, 7e9), np.full(20, 2e11))
    for noise, within in ((0.0, 0.005), (0.002, 0.01)):
        runs, scales = scaled(20, noise=noise)
        law = fit_additive(scales, runs.losses[:, 0])
        assert law.predict(large) == pytest.approx(additive(large), rel=within)


@pytest.mark.parametrize("joint", [False, True])
def test_the_slope_of_the_law_is_its_derivative(joint: bool) -> None:
    runs, scales = scaled(8)
    law = fit_additive(scales, runs.losses[:, 0], joint=joint)
    shares, sizes = np.array([0.5, 0.3, 0.2]), (1e9, 1e10)
    value, slope = law.slopes(shares, sizes)
    moved = [law.slopes(shares + 1e-6 * step, sizes)[0] for step in np.eye(3)]
    assert slope == pytest.approx((np.array(moved) - value) / 1e-6, rel=1e-3)


def test_the_mixture_is_that_of_a_solver_on_the_true_law() -> None:
    runs, scales = scaled(30, noise=0.0005)
    made = scaled_mixture(settings(most={"web": 1.0, "wiki": 1.0, "code": 1.0}), runs, scales)

    def loss(shares: np.ndarray) -> float:
        return float(additive(Scales(np.maximum(shares, 1e-9)[None], np.array([7e9]), np.array([2e11])))[0])

    truth = optimize.minimize(
        loss, np.full(3, 1 / 3), method="SLSQP", bounds=[(0, 1)] * 3,
        constraints={"type": "eq", "fun": lambda r: r.sum() - 1},
    )  # fmt: skip
    assert list(made.shares.values()) == pytest.approx(truth.x.tolist(), abs=0.05)
    assert loss(np.array(list(made.shares.values()))) == pytest.approx(truth.fun, rel=1e-3)
    low, high = made.predicted["text"][1:]
    assert low - 0.02 <= truth.fun <= high + 0.02
    assert (made.trust[0].rank_correlation or 0) > 0.95
    assert made.trust[0].runs == 30 * 4  # those of the largest models


def test_runs_of_one_size_have_no_term_in_it() -> None:
    runs, scales = scaled(40)
    one = Scales(scales.shares, np.full(len(runs), 1e8), scales.tokens)
    made = scaled_mixture(settings(), runs, one)
    assert "exponent_parameters" not in made.laws["text"]
    assert any("the law has no term in these" in line for line in made.warnings)


def test_tokens_at_hand_bound_only_where_they_are_given() -> None:
    runs, scales = scaled(12)
    free = scaled_mixture(settings(tokens={}), runs, scales)
    held = scaled_mixture(settings(tokens={"web": 10**12, "wiki": 10**10, "code": 10**12}), runs, scales)
    assert held.shares["wiki"] <= 0.2 + 1e-9 < free.shares["wiki"]
    with pytest.raises(ValueError, match="train_tokens must be set"):
        settings(train_tokens=None)


def test_sizes_and_losses_that_are_none_are_told() -> None:
    runs, scales = scaled(10)
    with pytest.raises(UserError, match=r"mix\.parameters_column: must hold numbers above 0"):
        scaled_mixture(settings(), runs, Scales(scales.shares, np.zeros(len(runs)), scales.tokens))
    few = np.arange(6)
    with pytest.raises(UserError, match="must be 10 or more with the loss 'text'"):
        scaled_mixture(settings(), type(runs)(runs.domains, runs.targets, runs.shares[few], runs.losses[few]),
                       scales.rows(few))  # fmt: skip


@pytest.mark.parametrize("multiplied", [False, True])
def test_the_number_of_pools_grows_with_the_training(at: Path, multiplied: bool) -> None:
    """A short training keeps the best pool alone, a long one all three."""
    kept = []
    for tokens in (12_800_000, 128_000_000, 2_000_000_000):
        tree = {**DataFilteringSettings.example, "train_tokens": tokens, "multiplied": multiplied}
        made = DataFilteringSettings.model_validate(tree).result()
        kept.append(made.keep_rate)
        assert made.epochs * made.keep_rate == pytest.approx(tokens / (3 * 12_800_000))
    assert kept[0] == pytest.approx(1 / 3)
    assert kept == sorted(kept)
    assert kept[2] == pytest.approx(1)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    examples(tmp_path)
    return tmp_path


def test_pools_are_fitted_to_their_curves(at: Path) -> None:
    """Errors that follow the law give its choice and its rate, and predict what was left out."""
    true = [Pool("good", 1e7, -0.2, 2.0), Pool("poor", 1e7, -0.12, 5.0)]
    seen = [2e6, 5e6, 1e7, 2e7, 3e7, 5e7, 8e7, 1.2e8]
    rows = [{"pool": p.name, "seen": n, "error": predicted_error([p], n, 0.03)} for p in true for n in seen]
    write(at / "sizes.csv", [{"pool": p.name, "tokens": p.size} for p in true])
    write(at / "errors.csv", rows)
    tree = {"pools": "sizes.csv", "curves": "errors.csv", "train_tokens": 300_000_000, "scale": 0.03}
    made = DataFilteringSettings.model_validate(tree).result()
    errors = [predicted_error(true[:n], 300_000_000, 0.03) for n in (1, 2)]
    assert [option.predicted for option in made.options] == pytest.approx(errors, abs=1e-4)
    assert made.keep_rate == (0.5, 1.0)[int(np.argmin(errors))]
    assert all(one.error < 1e-3 for one in made.trust)
    with pytest.raises(UserError, match="must be above the floor"):
        DataFilteringSettings.model_validate({**tree, "floor": 0.9}).result()


def test_a_rate_is_taken_by_a_rule(at: Path) -> None:
    """By the path of the file, of tokens; what the rule selects depends on the rate alone."""
    tree = {"method": "data_constrained", "tokens_at_hand": 1000, "train_tokens": 1000}
    mix(validated(MixConfig, {"mix": tree}, [], "test"))
    assert json.loads((at / "rate.json").read_text())["keep_rate"] == 0.25
    rule = Top.model_validate({"kind": "top", "column": "score", "path": "rate.json"})
    assert (rule.rate, rule.by) == (0.25, "tokens")
    given = Top.model_validate({"kind": "top", "column": "score", "rate": 0.25, "by": "tokens"})
    assert rule.content() == given.content()
    (at / "bad.json").write_text('{"keep_rate": 2}')
    for path, message in (("bad.json", "whose keep_rate is above 0"), ("none.json", "must name a file with keep_rate")):
        with pytest.raises(ValueError, match=message):
            Top.model_validate({"kind": "top", "column": "score", "path": path})


def test_a_corpus_that_is_too_small_is_read_more_often() -> None:
    made = DataConstrainedSettings(tokens_at_hand=100, train_tokens=2000, parameters=1_000_000).result()
    assert (made.keep_rate, made.epochs) == (1.0, 20.0)
    assert made.effective_tokens == pytest.approx(100 * (1 + 15.387756 * (1 - np.exp(-19 / 15.387756))))
    assert any("more often than the 4 epochs" in line for line in made.warnings)


def test_operations_give_the_published_allocation() -> None:
    """10^22 operations and 25e9 tokens: 237336955477.55 tokens, 9.4935 epochs."""
    made = DataConstrainedSettings(tokens_at_hand=25_000_000_000, flops=1e22).result()
    assert made.train_tokens == 237336955478
    assert made.epochs == pytest.approx(9.49347821910203)
    assert made.parameters == pytest.approx(7.0224e9, rel=1e-4)
    assert f"a model of {made.parameters:,} parameters" in made.verdict()


def test_operations_and_parameters_give_the_tokens() -> None:
    """Six operations a parameter and token."""
    tree = {"tokens_at_hand": 25_000_000_000, "flops": 1e22, "parameters": 10_000_000_000}
    made = DataConstrainedSettings.model_validate(tree).result()
    assert (made.train_tokens, made.parameters) == (166_666_666_667, 10_000_000_000)
    assert DataConstrainedSettings(tokens_at_hand=100, flops=1e-6).result().train_tokens == 1
