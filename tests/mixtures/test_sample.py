"""Mixtures for small models against the published sampler's promises, and tables of awkward shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scipy import stats
from tests.mixtures.tables import simulated, write

from siftlm.config import validated
from siftlm.errors import UserError
from siftlm.mixtures.methods.meta_rater import MetaRaterSettings, meta_rater
from siftlm.mixtures.methods.regmix import RegmixSettings, regmix
from siftlm.mixtures.methods.sample import SampleMixturesSettings, rounded, sampled
from siftlm.mixtures.mix import mix
from siftlm.mixtures.protocol import MixResult
from siftlm.mixtures.runs import Runs, RunsSettings, read_runs
from siftlm.mixtures.settings import MixConfig

PILE = np.array([
    0.113285273, 0.079608651, 0.003913491, 0.185375901, 0.051081359, 0.015962925, 0.101750772, 0.003707518, 0.066529351,
    0.001750772, 0.027085479, 0.236869207, 0.01184346, 0.007929969, 0.008032956, 0.038825953, 0.046446962,
])  # fmt: skip
"""Shares of tokens of the Pile's domains (sail-sg/regmix, synthesize_mixture.py)."""


def upstream(prior: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """The published loop: Dirichlet draws of 15 strengths, rejected above 15 times the prior, the same ones once."""
    generator = np.random.default_rng(seed)
    tempered = prior**0.5 / (prior**0.5).sum()
    made = []
    for _ in range(draws):
        shares = generator.dirichlet(tempered * np.logspace(np.log10(0.1), np.log10(5.0), 15)[generator.integers(15)])
        if (shares <= np.minimum(15 * prior, 1)).all():
            shares = np.where(shares < 2e-4, 0.0, shares)
            made.append(np.round(shares / shares.sum() / 2e-4) * 2e-4)
    return np.unique(np.array(made).round(6), axis=0)


def test_mixtures_are_distributed_as_those_of_the_published_sampler() -> None:
    """Of every domain, by the test of Kolmogorov and Smirnov; a wrong temperature fails it."""
    truth = upstream(PILE, 40_000, 1)
    made, moved = sampled(PILE, 400, 2, 0.5, 15.0, 2e-4)
    other, _ = sampled(PILE, 400, 2, 1.0, 15.0, 2e-4)
    assert not moved
    levels = [stats.ks_2samp(made[:, d], truth[:, d]).pvalue for d in range(len(PILE))]
    assert min(levels) > 1e-4
    assert min(stats.ks_2samp(other[:, d], truth[:, d]).pvalue for d in range(len(PILE))) < 1e-8


def test_mixtures_are_different_multiples_that_add_up_to_one() -> None:
    made, _ = sampled(PILE, 300, 3, 0.5, 15.0, 2e-4)
    assert made.sum(axis=1) == pytest.approx(1, abs=1e-12)
    assert made / 2e-4 == pytest.approx(np.round(made / 2e-4), abs=1e-6)
    assert (made <= np.minimum(15 * PILE, 1) + 2e-4 + 1e-12).all()
    assert len(np.unique(made.round(9), axis=0)) == 300
    assert sampled(PILE, 300, 3, 0.5, 15.0, 2e-4)[0] == pytest.approx(made)


def test_a_thousand_domains_have_mixtures() -> None:
    prior = np.random.default_rng(0).dirichlet(np.ones(1000))
    made, moved = sampled(prior, 50, 0, 0.5, 15.0, 2e-4)
    assert made.shape == (50, 1000)
    assert moved == 50
    assert made.sum(axis=1) == pytest.approx(1)


def test_rounding_keeps_the_sum() -> None:
    assert rounded(np.array([[1 / 3, 1 / 3, 1 / 3], [0.5, 0.49995, 0.00005]]), 2e-4).sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "mix.tokens: must hold the tokens of every domain"),
        ({"tokens": {"a": 1}, "count": 2}, "mix.count: must be at most the 1 different mixtures"),
        ({"tokens": {"a": 1, "b": 1}, "times": 0.5}, "mix.times: must let the shares add up to 1"),
        ({"tokens": {"a": 1, "b": 1, "c": 1}, "smallest": 0.4}, "mix.smallest: must leave 3 domains room"),
        ({"prior": {"a": -1.0, "b": 1.0}}, "mix.tokens: must hold the tokens"),
    ],
)
def test_settings_that_leave_too_few_mixtures_are_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        SampleMixturesSettings.model_validate({"seed": 0, **settings}).result()
    assert message in str(caught.value)


def test_the_table_of_mixtures_is_one_of_runs(tmp_path: Path) -> None:
    """Losses added to it, `regmix` reads it."""
    made = SampleMixturesSettings(count=40, tokens={"web": 60, "wiki": 20, "code": 20}).result()
    made.write(str(tmp_path / "runs.csv"), {"method": "sample"})
    table = pyarrow.csv.read_csv(tmp_path / "runs.csv")
    table = table.append_column("loss_text", [np.random.default_rng(0).normal(3, 1, 40)])
    pyarrow.csv.write_csv(table, tmp_path / "losses.csv")
    runs = read_runs(RunsSettings(runs=str(tmp_path / "losses.csv")))
    assert runs.domains == ("web", "wiki", "code")
    assert runs.shares == pytest.approx(made.shares)
    assert json.loads((tmp_path / "runs.csv.json").read_text()) == {"method": "sample"}


def test_no_table_is_written_over_losses_or_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tree = {"mix": {"method": "sample", "count": 5, "prior": {"a": 0.5, "b": 0.5}}}
    for _ in range(2):  # drawn mixtures alone may be replaced
        mix(validated(MixConfig, tree, [], "test"))
    filled = "run,share_a,share_b,loss_x\nr0,0.5,0.5,3.0\n"
    (tmp_path / "runs.csv").write_text(filled)
    with pytest.raises(UserError, match=r"^runs\.csv: must hold mixtures alone .* got the column 'loss_x' too"):
        mix(validated(MixConfig, tree, [], "test"))
    tree = {"mix": {"method": "regmix", "runs": "runs.csv"}, "output": "./runs.csv"}
    with pytest.raises(UserError, match=r"^output: must not be a file that the method reads, got '\./runs\.csv'"):
        mix(validated(MixConfig, tree, [], "test"))
    assert (tmp_path / "runs.csv").read_text() == filled


def test_the_layout_of_olmix_is_read(tmp_path: Path) -> None:
    """Ratios and metrics in two files, joined by `run_id`, with `name`, `index` and an unnamed column between."""
    runs = simulated(12)
    ratios = [
        {"": n, "run_id": f"x{n}", "name": "swarm", "index": n, **dict(zip(runs.domains, row, strict=True))}
        for n, row in enumerate(runs.shares.tolist())
    ]
    metrics = [
        {"": 0, "run_id": f"x{n}", "name": "swarm", "index": 5, **dict(zip(runs.targets, row, strict=True))}
        for n, row in enumerate(runs.losses.tolist())
    ]
    settings = RunsSettings(runs=write(tmp_path / "r.csv", ratios), losses=write(tmp_path / "m.csv", metrics[::-1]))
    read = read_runs(settings)
    assert (read.domains, read.targets) == (runs.domains, runs.targets)
    assert read.losses == pytest.approx(runs.losses)
    assert read.shares == pytest.approx(runs.shares)


def test_a_table_without_runs_is_told(tmp_path: Path) -> None:
    for end in ("\n", ""):
        (tmp_path / "r.csv").write_text(f"run,share_a,share_b,loss_x{end}")
        with pytest.raises(UserError, match="must have a row a run, got none"):
            read_runs(RunsSettings(runs=str(tmp_path / "r.csv")))


def test_columns_of_parquet_have_names_of_their_own(tmp_path: Path) -> None:
    path = str(tmp_path / "r.parquet")
    pq.write_table(pa.table([[1.0], [1.0], [2.0]], names=["share_a", "share_a", "loss_x"]), path)
    with pytest.raises(UserError, match=r"r\.parquet: every column must have a name of its own, got 'share_a'"):
        read_runs(RunsSettings(runs=path))


def test_a_single_small_share_is_shown_by_its_name() -> None:
    made = MixResult((), {"web": 0.9999, "code": 0.0001}, {}, {}, None, ())
    assert [row[0] for row in next(made.tables()).rows] == ["web", "code"]
    made = MixResult((), {"web": 0.9998, "code": 0.0001, "wiki": 0.0001}, {}, {}, None, ())
    assert [row[0] for row in next(made.tables()).rows] == ["web", "2 others"]


def test_one_domain_has_all() -> None:
    runs = Runs(("web",), ("text",), np.ones((60, 1)), np.random.default_rng(0).normal(3, 0.1, (60, 1)))
    made = regmix(RegmixSettings(runs="r.csv"), runs)
    assert (made.shares, made.prior, made.gain) == ({"web": 1.0}, {"web": 1.0}, None)
    assert "there is one domain" in made.warnings[0]
    with pytest.raises(UserError, match="must add up to 1 or more"):
        regmix(RegmixSettings(runs="r.csv", most={"web": 0.5}), runs)


def test_runs_of_one_mixture_alone_say_nothing() -> None:
    runs = Runs(("web", "code"), ("text",), np.full((60, 2), 0.5), np.full((60, 1), 3.0))
    with pytest.raises(UserError, match=r"must be 9 or more with the loss 'text'.*got 1 of different mixtures"):
        regmix(RegmixSettings(runs="r.csv"), runs)


def test_runs_of_one_mixture_are_in_one_fold() -> None:
    """Noise that repeats with the mixture is not predicted: five copies of every run do not make a law trusted."""
    runs = simulated(30, noise=0.0)
    noise = np.random.default_rng(1).normal(3, 0.1, runs.losses.shape)
    copied = Runs(runs.domains, runs.targets, np.tile(runs.shares, (5, 1)), np.tile(noise, (5, 1)))
    made = regmix(RegmixSettings(runs="r.csv"), copied)
    assert max(one.rank_correlation or 0.0 for one in made.trust) < 0.5
    assert any("does not surely beat the prior" in line for line in made.warnings)


def test_losses_that_are_missing_are_left_out_and_others_count() -> None:
    """Of two targets with gaps in different runs; the result is near that without gaps."""
    runs = simulated(200, noise=0.005)
    holes = runs.losses.copy()
    holes[::3, 0] = np.nan
    holes[1::4, 1] = np.inf * 0
    whole, gaps = (regmix(RegmixSettings(runs="r.csv"), Runs(*of)) for of in (
        (runs.domains, runs.targets, runs.shares, runs.losses), (runs.domains, runs.targets, runs.shares, holes)
    ))  # fmt: skip
    assert [one.runs for one in gaps.trust] == [133, 150]
    assert list(gaps.shares.values()) == pytest.approx(list(whole.shares.values()), abs=0.05)


def test_more_domains_than_runs_are_held_by_a_ridge() -> None:
    """The rank correlation over held-out runs says what that is worth, and a warning says so."""
    generator = np.random.default_rng(2)
    shares = generator.dirichlet(np.full(120, 0.2), 100)
    losses = 3 - shares[:, :60].sum(axis=1, keepdims=True) + generator.normal(0, 0.01, (100, 1))
    made = regmix(RegmixSettings(runs="r.csv", resamples=4), Runs(tuple(map(str, range(120))), ("x",), shares, losses))
    assert (made.trust[0].rank_correlation or 0) > 0.5
    assert any("fits 240 numbers to 100 runs" in line for line in made.warnings)
    assert sum(made.shares.values()) == pytest.approx(1)


def test_lightgbm_ranks_held_out_runs() -> None:
    pytest.importorskip("lightgbm")
    runs = simulated(150, noise=0.01)
    made = regmix(RegmixSettings(runs="r.csv", law="lightgbm", resamples=2, targets={"text": 1.0}), runs)
    assert (made.trust[0].rank_correlation or 0) > 0.9
    assert max(made.shares, key=made.shares.__getitem__) == "wiki"


def test_weights_of_scores_favour_the_one_that_lowers_losses() -> None:
    runs = simulated(120, noise=0.01)
    made = meta_rater(MetaRaterSettings(runs="r.csv", targets={"text": 1.0}), runs)
    assert made.shares["wiki"] > 0.8
    assert made.gain is not None
    assert made.gain[1] > 0
