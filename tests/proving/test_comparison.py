"""The noise is that of fresh draws and seeds: coverage by simulation, and the parts against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from siftlm.errors import UserError
from siftlm.proving.comparison import Comparison, Effect, Losses, Measures, Noise, compare
from siftlm.proving.power import smallest_difference

DOCUMENTS = 240
DOMAINS = ("web", "wiki", "peps")


def held_out(documents: int = DOCUMENTS) -> Measures:
    domain = np.arange(documents) % len(DOMAINS)
    return Measures(DOMAINS, domain, np.random.default_rng(1).integers(200, 4000, documents))


def simulated(
    generator: np.random.Generator, effects: dict[str, float], replicates: int, noise: float, within: float = 0.02
) -> dict[str, Losses]:
    """Losses whose replicates differ by `noise` bits per byte as a whole, and by `within` in every document."""
    measured = held_out()
    level = generator.normal(2.0, 0.3, DOCUMENTS)
    arms = {}
    for name, effect in effects.items():
        shift = generator.normal(0, noise, (replicates, 1)) + generator.normal(0, within, (replicates, DOCUMENTS))
        arms[name] = Losses((level - effect + shift) * measured.sizes)
    return arms


def compared(arms: dict[str, Losses], pairs: list[tuple[str, str]], seed: int = 0) -> list[Comparison]:
    return compare(pairs, arms, Noise.of(arms, {null for _, null in pairs}, held_out()), seed=seed)


def test_random_in_disguise_is_a_tie() -> None:
    """With four arms, three replicates each: in 5 of 100 families of comparisons any verdict at most, but for luck."""
    names = [f"arm{n}" for n in range(4)]
    effects = {**dict.fromkeys(names, 0.0), **{f"null of {name}": 0.0 for name in names}}
    pairs = [(name, f"null of {name}") for name in names]
    wrong = 0
    for seed in range(100):
        arms = simulated(np.random.default_rng(seed), effects, 3, 0.02)
        wrong += any(made.overall.verdict != "tie" for made in compared(arms, pairs, seed))
    assert wrong <= stats.binom.ppf(0.999, 100, 0.05)


def test_the_smallest_difference_is_seen_four_times_in_five() -> None:
    names = [f"arm{n}" for n in range(3)]
    least = smallest_difference(0.02, 4, 4, arms=3)
    effects = {**dict.fromkeys(names, least), **{f"null of {name}": 0.0 for name in names}}
    pairs = [(name, f"null of {name}") for name in names]
    seen = [
        made.overall.verdict == "better"
        for seed in range(60)
        for made in compared(simulated(np.random.default_rng(seed), effects, 4, 0.02, 0.001), pairs)
    ]
    assert 0.68 < np.mean(seen) < 0.92


def test_documents_alone_would_call_a_random_draw_better() -> None:
    """Where replicates vary by .044, an interval over held-out documents is narrow and wrong; this one is wide."""
    arms = simulated(np.random.default_rng(3), {"arm": 0.0, "null": 0.0}, 3, 0.044, 0.0)
    (made,) = compared(arms, [("arm", "null")])
    one = (arms["arm"].bits[0] - arms["null"].bits[0]) / held_out().sizes
    assert abs(one.mean()) > 4 * one.std(ddof=1) / np.sqrt(DOCUMENTS)
    assert made.overall.error == pytest.approx(0.044 * np.sqrt(2 / 3), rel=0.6)
    assert made.overall.verdict == "tie"


def test_the_error_is_the_closed_form_of_both_parts() -> None:
    """Replicates: s^2 (1/3 + 1/3), pooled; documents: the variance of the ratio estimate within each domain."""
    measured = held_out()
    generator = np.random.default_rng(7)
    gains = generator.normal(0.1, 0.2, DOCUMENTS)
    shifts = {"arm": generator.normal(0, 0.02, 3), "null": generator.normal(0, 0.02, 3)}
    arms = {
        name: Losses((2 - gains * (name == "arm") + shift[:, None]) * measured.sizes) for name, shift in shifts.items()
    }
    (made,) = compared(arms, [("arm", "null")])
    pooled = np.mean([np.var(shift, ddof=1) for shift in shifts.values()])
    linear = []
    for number in range(3):
        rows = measured.domain == number
        sizes, values = measured.sizes[rows], gains[rows]
        rest = sizes * (values - (sizes * values).sum() / sizes.sum())
        linear.append((rest**2).sum() / sizes.sum() ** 2)
    assert made.overall.error == pytest.approx(np.sqrt(2 * pooled / 3 + np.mean(linear) / 3), rel=0.08)
    assert made.by_domain["wiki"].error == pytest.approx(np.sqrt(2 * pooled / 3 + linear[1]), rel=0.12)


def test_an_arm_that_varies_more_has_its_own_noise_and_no_other_arm_has_it() -> None:
    generator = np.random.default_rng(5)
    nulls = [f"null{n}" for n in range(4)]
    arms = simulated(generator, dict.fromkeys([*nulls, "calm"], 0.0), 5, 0.002, 0.0)
    arms |= simulated(generator, {"wild": 0.0}, 5, 0.2, 0.0)
    noise = Noise.of(arms, nulls, held_out())
    assert (noise.varies_more("wild"), noise.varies_more("null1")) == (True, False)
    assert noise.deviation("wild") == pytest.approx(0.2, rel=0.6)
    assert noise.deviation("calm") < 0.01
    made = compare([("wild", "null0"), ("calm", "null1")], arms, noise)
    assert [one.own_noise for one in made] == [True, noise.varies_more("calm")]


def test_an_arm_that_varies_less_has_the_noise_of_all() -> None:
    generator = np.random.default_rng(6)
    arms = simulated(generator, {"null0": 0.0, "null1": 0.0}, 4, 0.05, 0.0)
    arms |= simulated(generator, {"calm": 0.0}, 4, 0.0001, 0.0)
    noise = Noise.of(arms, ["null0", "null1"], held_out())
    assert noise.deviation("calm") > 0.01
    assert not noise.varies_more("calm")


def test_draws_of_half_a_selection_count_as_fresh_ones() -> None:
    """Means of 100 of 200 fresh values, drawn four times, estimate the variance of means of 100 fresh values."""
    generator = np.random.default_rng(11)
    one = Measures(("all",), np.zeros(1, np.int64), np.ones(1, np.int64))
    variances = []
    for row in generator.normal(size=(1500, 200)):
        halves = np.array([[generator.permutation(row)[:100].mean()] for _ in range(4)])
        variances.append(Noise.of({"arm": Losses(halves, drawn_share=0.5)}, ["arm"], one).deviation("arm") ** 2)
    assert np.mean(variances) == pytest.approx(1 / 100, rel=0.08)


def test_effects_are_signed_and_corrected_for_their_number() -> None:
    arms = simulated(np.random.default_rng(2), {"good": 0.3, "bad": -0.3, "null": 0.0}, 3, 0.01)
    alone = compared(arms, [("good", "null")])[0].overall
    both = compared(arms, [("good", "null"), ("bad", "null")])
    assert [made.overall.verdict for made in both] == ["better", "worse"]
    assert both[0].overall.effect == alone.effect == pytest.approx(0.3, abs=0.05)
    assert both[0].overall.high - both[0].overall.low > alone.high - alone.low
    assert Effect(0.1, -0.1, 0.3, 0.1, 5).verdict == "tie"


def test_one_replicate_knows_no_noise() -> None:
    arms = {"arm": Losses(np.ones((1, DOCUMENTS))), "null": Losses(np.ones((3, DOCUMENTS)))}
    with pytest.raises(UserError, match=r"prove\.replicates: must be 2 or more .* 'arm'"):
        compared(arms, [("arm", "null")])
