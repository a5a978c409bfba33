"""Soups: partitions of the pool, the shares of draws, and how far predictions agree with trained arms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from tests.proving.test_draws import documents

from siftlm.errors import UserError
from siftlm.proving.partitions import Partitions, _joined
from siftlm.proving.soups import checked, difference_error, mixture_shares, rank_correlation_by_chance
from siftlm.proving.values import OTHERS, _crossed
from siftlm.report.proof import ProofSoup, ProofSoups


def soup(name: str, predicted: float, trained: float | None) -> ProofSoup:
    return ProofSoup(name, {"a": 1.0}, 0.0, predicted, {"all": predicted}, trained)


def made(predicted: list[float], trained: list[float], noise: float = 0.01) -> ProofSoups:
    soups = [soup(str(n), *pair) for n, pair in enumerate(zip(predicted, trained, strict=True))]
    return checked([*soups, soup("nobody's", 1.0, None)], ["a"], "random 0", noise)


def test_the_check_is_that_of_scipy_and_the_pairs() -> None:
    """Rank and linear correlation, pairs in order, and errors of differences, over trained arms alone."""
    generator = np.random.default_rng(0)
    trained = generator.normal(2, 0.1, 9)
    predicted = trained + generator.normal(0.5, 0.05, 9)
    told = made(predicted.tolist(), trained.tolist())
    pairs = [(i, j) for i in range(9) for j in range(i)]
    assert told.rank_correlation == pytest.approx(stats.spearmanr(predicted, trained).statistic)
    assert told.correlation == pytest.approx(np.corrcoef(predicted, trained)[0, 1])
    same = [(predicted[i] > predicted[j]) == (trained[i] > trained[j]) for i, j in pairs]
    assert told.agreement == pytest.approx(np.mean(same))
    errors = [(predicted[i] - predicted[j]) - (trained[i] - trained[j]) for i, j in pairs]
    assert told.error == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert len(told.soups) == 10


def test_the_words_follow_the_check() -> None:
    trained = [2.0, 2.1, 2.2, 2.3, 2.4, 2.5]
    assert made([x + 0.3 for x in trained], trained).verdict.startswith("soups order the arms as trained models do")
    assert "do not choose by them" in made(trained[::-1], trained).verdict
    assert "5 trained arms are too few to trust soups by" in made(trained[:5], trained[:5]).verdict
    assert "cannot tell the arms apart" in made([2.0] * 6, trained).verdict
    assert "all trained arms are equal" in made(trained, [2.0] * 6).verdict


def test_a_constant_between_predicted_and_trained_is_no_error() -> None:
    values = np.array([1.0, 1.2, 1.5])
    assert difference_error(values + 0.7, values) == pytest.approx(0.0)


@pytest.mark.parametrize("number", [4, 5, 6])
def test_chance_is_counted_over_all_orders(number: int) -> None:
    """The least correlation that at most one order in twenty reaches."""
    told = rank_correlation_by_chance(number)
    ranks = np.arange(number)
    all_of = [stats.spearmanr(ranks, order).statistic for order in permutations(ranks.tolist())]
    assert np.mean(np.array(all_of) >= told - 1e-9) <= 0.05
    below = max((value for value in all_of if value < told - 1e-9), default=-1.0)
    assert np.mean(np.array(all_of) >= below - 1e-9) > 0.05


def test_chance_of_many_arms_is_that_of_tables() -> None:
    """Zar's table of critical values, one-sided at 5 %: .600 for 9, .447 for 14; and no order of 3 is so rare."""
    assert rank_correlation_by_chance(9) == pytest.approx(0.600, abs=0.02)
    assert rank_correlation_by_chance(14) == pytest.approx(0.464, abs=0.02)
    assert rank_correlation_by_chance(3) > 1


def test_shares_are_those_of_the_drawn_tokens_and_strangers_are_in_none() -> None:
    """Against a loop over documents."""
    pool = documents(500, seed=1)
    numbers = np.random.default_rng(2).integers(0, 3, 500).astype(np.int16)
    order = np.argsort(pool.hashes)
    divided = Partitions(("a", "b", "c"), numbers, pool.hashes[order], order)
    rows = np.array([3, 3, 10, 400, 77])
    by_hand = np.zeros(3)
    for row in rows.tolist():
        by_hand[numbers[row]] += pool.sizes(np.array([row]))[0]
    shares, outside = divided.shares(pool, rows)
    assert shares == pytest.approx(by_hand / by_hand.sum())
    assert outside == 0.0
    assert divided.shares(documents(500, seed=9), rows)[1] == 1.0
    only = divided.only(pool, 1)
    assert (only.weight > 0).tolist() == (numbers == 1).tolist()


def test_small_and_surplus_partitions_are_joined() -> None:
    names, numbers, sizes = ["a", "b", "c", "d"], np.array([0, 1, 2, 3, 3]), np.array([50.0, 5.0, 70.0, 60.0])
    left, of_left = _joined(names, numbers, sizes, 10.0, 9)
    assert (left, of_left.tolist()) == (["a", "c", "d"], [0, -1, 1, 2, 2])
    assert _joined(names, numbers, np.array([50.0, 5.0, 6.0, 60.0]), 10.0, 9)[0] == ["a", "d", OTHERS]
    joined, placed = _joined(names, numbers, sizes, 1.0, 3)
    assert joined == ["c", "d", OTHERS]
    assert placed.tolist() == [2, 2, 0, 1, 1]
    assert _joined(names, numbers, sizes, 1.0, 4)[0] == names


def test_columns_cross() -> None:
    """Only combinations that there are have a name."""
    first, second = (["x", "y"], np.array([0, 0, 1, 1])), (["1", "2", "3"], np.array([0, 2, 2, 2]))
    names, numbers = _crossed([first, second], ["one", "other"], "prove.soups.by")
    assert [names[n] for n in numbers] == ["x, 1", "x, 3", "y, 3", "y, 3"]
    assert len(names) == 3


def test_mixtures_name_partitions() -> None:
    assert mixture_shares({"half": {"b": 2, "a": 2}}, ["a", "b", "c"])["half"].tolist() == [0.5, 0.5, 0.0]
    with pytest.raises(
        UserError, match=r"prove\.soups\.mixtures\.half: must name partitions, got 'z'; known here: a, b"
    ):
        mixture_shares({"half": {"z": 1}}, ["a", "b"])
    with pytest.raises(UserError, match=r"must have shares of 0 or more and not all 0"):
        mixture_shares({"half": {"a": 0.0}}, ["a", "b"])
