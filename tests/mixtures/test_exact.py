"""Optima against a general solver and a worked example; Olmix and mixing laws against planted optima."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import optimize
from tests.mixtures.tables import simulated

from siftlm.errors import UserError
from siftlm.mixtures.exact import Exponentials, minimised
from siftlm.mixtures.laws.exponential import Exponential
from siftlm.mixtures.methods.mixing_laws import MixingLawsSettings
from siftlm.mixtures.methods.olmix import OlmixSettings, optimum
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs
from siftlm.mixtures.simplex import bounded


def test_the_optimum_of_the_worked_example() -> None:
    """Two laws, prior (.7, .3), strength .1, equal weights: p = (.738115, .261885), objective .724449."""
    of = Exponentials(np.array([[[-1, 0.2], [0.1, -0.5]]]), np.array([0.5, 0.5]), np.array([0.7, 0.3]), 0.1)
    made = minimised(of, np.zeros(2), np.ones(2))
    assert made[0] == pytest.approx([0.738115, 0.261885], abs=1e-6)
    assert of.value(made)[0] == pytest.approx(0.724449, abs=1e-6)


@pytest.mark.parametrize("kl", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(("domains", "targets"), [(2, 1), (5, 3), (17, 13), (40, 20)])
def test_the_optimum_is_no_worse_than_a_solvers(kl: float, domains: int, targets: int) -> None:
    """Within bounds from both sides, of three problems at once."""
    generator = np.random.default_rng(domains)
    exponents, prior = generator.normal(size=(3, targets, domains)), generator.dirichlet(np.ones(domains))
    weights, least, most = np.full(targets, 1 / targets), np.zeros(domains), np.full(domains, max(0.3, 1.2 / domains))
    least[0] = 0.02
    most[:] = np.maximum(most, 0.6) if domains == 2 else most
    made = minimised(Exponentials(exponents, weights, prior, kl), least, most)
    assert made.sum(axis=1) == pytest.approx(1)
    assert ((made >= least - 1e-12) & (made <= most + 1e-12)).all()
    for number in range(3):
        one = Exponentials(exponents[number : number + 1], weights, prior, kl)

        def value(p: np.ndarray, one: Exponentials = one) -> float:
            return float(one.value(np.maximum(p, 0)[None])[0])

        truth = optimize.minimize(
            value, bounded(prior[None], least, most)[0], method="SLSQP", bounds=list(zip(least, most, strict=True)),
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1}, options={"ftol": 1e-12, "maxiter": 500},
        )  # fmt: skip
        assert value(made[number]) <= truth.fun + 1e-8


def test_a_domain_without_prior_has_no_share_and_bounds_may_leave_one_mixture() -> None:
    of = Exponentials(np.array([[[0.0, -5.0, 0.0]]]), np.ones(1), np.array([0.5, 0.0, 0.5]), 0.1)
    assert minimised(of, np.zeros(3), np.ones(3))[0] == pytest.approx([0.5, 0, 0.5])
    assert minimised(of, np.array([0.3, 0, 0.7]), np.array([0.3, 0, 0.7]))[0] == pytest.approx([0.3, 0, 0.7])


def result(runs: Runs, kl: float | None = None, **settings: Any) -> MixResult:
    if kl is None:
        return optimum(MixingLawsSettings.model_validate({"runs": "r.csv", **settings}), runs, Exponential(), 0.0)
    return optimum(OlmixSettings.model_validate({"runs": "r.csv", **settings}), runs, Exponential(huber=0.02), kl)


def test_the_more_strength_the_nearer_to_the_prior() -> None:
    runs, prior = simulated(noise=0.01), {"web": 0.6, "wiki": 0.2, "code": 0.2}
    far = [
        sum(abs(made.shares[name] - share) for name, share in prior.items())
        for made in (result(runs, kl, targets={"text": 1.0}, prior=prior) for kl in (0.01, 0.1, 10.0))
    ]
    assert far[0] > far[1] > far[2]
    assert far[2] < 0.1


def test_mixing_laws_find_the_planted_optimum() -> None:
    """Of exp(-.5, -2, .1) and exp(.2, -.3, -3), equally weighed; it beats the prior in all resamples."""
    made = result(simulated(noise=0.005))
    weights = np.array([[-0.5, -2.0, 0.1], [0.2, -0.3, -3.0]])
    grid = np.array([(0.0, s, 1 - s) for s in np.linspace(0, 1, 2001)])
    best = grid[np.exp(grid @ weights.T).mean(axis=1).argmin()]
    assert list(made.shares.values()) == pytest.approx(best.tolist(), abs=0.03)
    assert made.gain is not None
    assert made.gain[1] > 0


def test_caps_by_tokens_hold_for_olmix() -> None:
    tokens = {"web": 1000, "wiki": 10, "code": 1000}
    made = result(simulated(noise=0.01), 0.0, targets={"text": 1.0}, tokens=tokens, train_tokens=100, epochs=2)
    assert made.shares["wiki"] == pytest.approx(0.2, abs=1e-9)
    with pytest.raises(UserError, match="must add up to 1 or more"):
        result(simulated(), 0.05, tokens={"web": 10, "wiki": 10, "code": 10}, train_tokens=1000)


def test_hundreds_of_domains_have_a_law_of_the_same_form() -> None:
    """Losses that follow it, with noise, are predicted for other mixtures with the noise alone."""
    generator = np.random.default_rng(3)
    shares, weights = generator.dirichlet(np.full(150, 0.3), 1500), generator.normal(-0.3, 0.6, 150)
    losses = 2 + np.exp(shares @ weights)[:, None]
    fitted = Exponential().fit(shares[:1200], losses[:1200] + generator.normal(0, 0.003, (1200, 1)))
    errors = fitted.predict(shares[1200:]) - losses[1200:]
    assert np.sqrt((errors**2).mean()) < 0.003
    assert losses.std() > 0.05
