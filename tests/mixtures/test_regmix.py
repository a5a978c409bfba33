"""Laws against tables that they made and published ones; mixtures against optima that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.mixtures.tables import rows_of, simulated, write

from siftlm.errors import UserError
from siftlm.mixtures.laws.exponential import Exponential
from siftlm.mixtures.laws.linear import Log, Roots
from siftlm.mixtures.methods.regmix import RegmixSettings, regmix
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs, RunsSettings, read_runs
from siftlm.mixtures.simplex import best_mixtures, bounded, drawn

REGMIX = Path(__file__).resolve().parents[3] / "shared" / "data" / "perfcorr" / "regmix"
NO_TABLES = "the tables of RegMix are not beside the repository"
COLUMNS = {"share_columns": "train_the_pile_*", "loss_columns": "metric/the_pile_*_val_loss"}


def published(part: str, size: str) -> Runs:
    names = {"runs": f"{part}_mixture_{size}.csv", "losses": f"{part}_pile_loss_{size}.csv"}
    paths = {key: str(REGMIX / name) for key, name in names.items()}
    return read_runs(RunsSettings.model_validate({**paths, **COLUMNS}))


@pytest.mark.skipif(not REGMIX.is_dir(), reason=NO_TABLES)
def test_the_default_law_ranks_held_out_runs_as_published() -> None:
    """Mean Spearman over 13 losses: .97 at the size that was fitted, .96 at sixty times that size."""
    runs = published("train", "1m")
    law = Roots().fit(runs.shares, runs.losses)
    for size, least in (("1m", 0.97), ("60m", 0.96)):
        held_out = published("test", size)
        found = [
            stats.spearmanr(predicted, losses).statistic
            for predicted, losses in zip(law.predict(held_out.shares).T, held_out.losses.T, strict=True)
        ]
        assert np.mean(found) >= least


@pytest.mark.skipif(not REGMIX.is_dir(), reason=NO_TABLES)
def test_the_mixture_for_pile_cc_is_mostly_pile_cc() -> None:
    """As published (.89 by LightGBM); only domains of general English have shares beside it."""
    settings = RegmixSettings.model_validate(
        {
            "runs": str(REGMIX / "train_mixture_1m.csv"),
            "losses": str(REGMIX / "train_pile_loss_1m.csv"),
            **COLUMNS,
            "targets": {"pile_cc": 1.0},
            "parameters": 1_000_000,
        }
    )
    made = settings.result()
    assert made.shares["pile_cc"] > 0.6
    assert made.shares["dm_mathematics"] < 0.01
    assert made.gain[1] > 0
    assert made.trust[0].rank_correlation == pytest.approx(0.982, abs=0.01)
    assert "15,000,000" in made.warnings[0]


def test_the_exponential_law_is_found_again() -> None:
    runs, others = simulated(), simulated(50, seed=2)
    law = Exponential().fit(runs.shares, runs.losses)
    assert law.predict(others.shares) == pytest.approx(others.losses, abs=1e-4)


@pytest.mark.parametrize("unit", [1e-3, 1000.0])
@pytest.mark.parametrize("huber", [None, 0.02])
def test_the_exponential_law_is_found_in_any_unit(unit: float, huber: float | None) -> None:
    """Perplexities in the hundreds have it as well as nats: no ridge holds the level."""
    runs, others = simulated(), simulated(50, seed=2)
    law = Exponential(huber=huber).fit(runs.shares, unit * runs.losses)
    assert law.predict(others.shares) == pytest.approx(unit * others.losses, abs=1e-4 * unit)


@pytest.mark.parametrize("law", [Roots(), Log()])
def test_linear_laws_are_least_squares(law: Any) -> None:
    runs = simulated(noise=0.05)
    fitted = law.fit(runs.shares, runs.losses)
    features = np.column_stack([np.ones(len(runs)), fitted.features(runs.shares)])
    truth, *_ = np.linalg.lstsq(features, runs.losses, rcond=None)
    assert fitted.predict(runs.shares) == pytest.approx(features @ truth, abs=1e-5)


def result(runs: Runs, **settings: Any) -> MixResult:
    return regmix(RegmixSettings.model_validate({"runs": "runs.csv", **settings}), runs)


def test_the_best_domain_of_a_target_gets_what_it_may_have() -> None:
    """Wiki lowers the one loss most, code the other; a bound holds; the mean of both is between."""
    runs = simulated(noise=0.01)
    text, programs = (result(runs, targets={name: 1.0}, law="exponential") for name in runs.targets)
    assert max(text.shares, key=text.shares.__getitem__) == "wiki"
    assert max(programs.shares, key=programs.shares.__getitem__) == "code"
    assert text.gain[1] > 0
    held = result(runs, targets={"text": 1.0}, most={"wiki": 0.3}, least={"web": 0.2})
    assert held.shares["wiki"] == pytest.approx(0.3, abs=0.02)
    assert held.shares["web"] >= 0.2 - 1e-9
    assert sum(held.shares.values()) == pytest.approx(1)


def test_tokens_at_hand_bound_the_shares() -> None:
    """A domain of 10 tokens, read at most twice, has at most a fifth of 100."""
    tokens = {"web": 1000, "wiki": 10, "code": 1000}
    made = result(simulated(noise=0.01), targets={"text": 1.0}, tokens=tokens, train_tokens=100, epochs=2)
    assert made.shares["wiki"] <= 0.2 + 1e-9
    assert made.prior["wiki"] == pytest.approx(10 / 2010)


def test_losses_without_signal_are_told() -> None:
    runs = simulated()
    noise = np.random.default_rng(5).normal(3, 0.1, runs.losses.shape)
    made = result(Runs(runs.domains, runs.targets, runs.shares, noise))
    assert any("ranks held-out runs badly" in line for line in made.warnings)
    assert any("does not surely beat the prior" in line for line in made.warnings)


def test_drawn_mixtures_are_around_the_prior() -> None:
    prior = np.array([0.7, 0.2, 0.1, 0.0])
    made = drawn(prior, 20_000, np.random.default_rng(3))
    assert made.sum(axis=1) == pytest.approx(1)
    assert made.mean(axis=0) == pytest.approx(prior, abs=0.01)
    assert (made[:, 3] == 0).all()
    truth = np.random.default_rng(4).dirichlet(prior[:3], 20_000)
    assert made[:, :3].std(axis=0) == pytest.approx(truth.std(axis=0), rel=0.03)
    assert drawn(prior, 500, np.random.default_rng(3), 1e5).std(axis=0).max() < 0.01


def test_the_nearest_mixture_within_bounds_is_that_of_a_solver() -> None:
    from scipy import optimize

    least, most = np.array([0.1, 0.0, 0.0, 0.05]), np.array([0.5, 0.3, 1.0, 0.4])
    points = np.random.default_rng(6).dirichlet(np.full(4, 0.3), 20)
    for point, found in zip(points, bounded(points, least, most), strict=True):
        truth = optimize.minimize(
            lambda r, point=point: ((r - point) ** 2).sum(), np.clip(point, least, most), method="SLSQP",
            bounds=list(zip(least, most, strict=True)), constraints={"type": "eq", "fun": lambda r: r.sum() - 1},
        )  # fmt: skip
        assert ((found - point) ** 2).sum() <= truth.fun + 1e-9
        assert found.sum() == pytest.approx(1)
        assert ((found >= least - 1e-9) & (found <= most + 1e-9)).all()


def test_a_linear_loss_has_its_optimum_at_the_bounds() -> None:
    cost = np.array([3.0, 1.0, 2.0])
    most = np.array([1.0, 0.4, 1.0])
    made = best_mixtures(lambda shares: (shares @ cost)[:, None], np.full(3, 1 / 3), np.zeros(3), most, 0)[0]
    assert made @ cost == pytest.approx(0.4 + 0.6 * 2, abs=0.05)


def test_the_command_writes_shares_that_a_mixture_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from siftlm import cli
    from siftlm.selectors.factors.mixture import MixtureFactor

    table = write(tmp_path / "runs.csv", rows_of(simulated(noise=0.01)))
    output = tmp_path / "mixture.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv", ["siftlm", "mix", "regmix", "--set", f"mix.runs={table}", "--set", f"output={output}"]
        )
        cli.main()
    told = capsys.readouterr().out
    assert "predicted loss lower than the prior's by" in told
    assert str(output) in told
    written = json.loads(output.read_text())
    assert written["method"] == "regmix"
    factor = MixtureFactor.model_validate({"kind": "mixture", "column": "source", "path": str(output)})
    assert factor.shares == written["shares"]
    assert factor.origin["read"] == written["read"]


def test_two_tables_are_joined_by_their_runs(tmp_path: Path) -> None:
    runs = simulated(10)
    rows = rows_of(runs)
    shares = write(tmp_path / "s.csv", [{k: v for k, v in row.items() if not k.startswith("loss")} for row in rows])
    losses = [{k: v for k, v in row.items() if not k.startswith("share")} for row in rows][::-1]
    read = read_runs(RunsSettings(runs=shares, losses=write(tmp_path / "l.csv", losses)))
    assert read.losses == pytest.approx(runs.losses)
    assert (read.domains, read.targets) == (runs.domains, runs.targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share_web": -0.1}, "shares must be numbers from 0, got -0.1 of 'web' in run 'r0'"),
        ({"share_web": "nan"}, "shares must be numbers from 0, got nan of 'web' in run 'r0'"),
        ({"share_web": 5.0}, "the shares of a run must add up to 1, got"),
        ({"share_web": "much"}, "column 'share_web' must hold numbers, got 'much' in row 1"),
    ],
)
def test_wrong_shares_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows = rows_of(simulated(5))
    rows[0].update(change)
    with pytest.raises(UserError) as caught:
        read_runs(RunsSettings(runs=write(tmp_path / "runs.csv", rows)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": {"txet": 1.0}}, "mix.targets: must name what the runs have, got 'txet'"),
        ({"most": {"web": 0.1, "wiki": 0.1, "code": 0.1}}, "must add up to 1 or more, got 0.3"),
        ({"least": {"web": 0.6, "code": 0.6}}, "least shares that add up to 1.2"),
        ({"least": {"web": 0.6}, "most": {"web": 0.5}}, "must be below what a domain may have"),
        ({"targets": {"text": 0.0}}, "must have a weight above 0"),
        ({"tokens": {"web": 5, "wiki": -5}, "train_tokens": 10}, "mix.tokens: must be 0 or more, got -5 of 'wiki'"),
    ],
)
def test_bounds_and_names_that_cannot_be_are_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        result(simulated(), **settings)
    assert message in str(caught.value)


def test_too_few_runs_are_told() -> None:
    with pytest.raises(UserError, match=r"must be 11 or more with the loss 'text' for the law 'roots' of 3 domains"):
        result(simulated(8))


def test_the_result_is_never_predicted_worse_than_the_prior() -> None:
    """Many domains, of which each is needed: draws are far from the prior, and it is the best mixture."""
    prior = np.full(40, 1 / 40)
    made = best_mixtures(
        lambda shares: ((shares - prior) ** 2).sum(axis=1)[:, None], prior, 0 * prior, 0 * prior + 1, 0
    )
    assert ((made[0] - prior) ** 2).sum() <= 1e-12
