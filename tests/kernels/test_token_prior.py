"""Priors and their numbers against the worked example of the method, numpy and Fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siftlm_kernels.token_prior import TokenCounts, prior_numbers

DOCUMENTS = [[0, 1, 0, 2], [0, 0, 0, 0], [3, 4, 5, 6], [0, 1, 2, 3], [0, 1, 0, 1], [2, 3, 4, 5]]


def ragged(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array([token for document in documents for token in document], np.int32)
    return ids, np.cumsum([0, *map(len, documents)])


def counted(documents: list[list[int]], vocabulary: int = 7) -> TokenCounts:
    made = TokenCounts.empty(vocabulary)
    made.add(*ragged(documents))
    return made


def test_the_worked_example() -> None:
    """Six documents over seven tokens, computed by hand from the paper's formulas and from the published code's."""
    counts = counted(DOCUMENTS)
    assert counts.priors() == pytest.approx([0.375, 4 / 24, 0.125, 0.125, 2 / 24, 2 / 24, 1 / 24])
    numbers = prior_numbers(*ragged(DOCUMENTS), counts.priors())
    assert numbers.mean == pytest.approx([-1.458215, -0.980829, -2.556827, -1.732868, -1.386294, -2.282174], abs=1e-6)
    assert numbers.deviation == pytest.approx([0.133398, 0, 0.034021, 0.119678, 0.120281, 0.024056], abs=1e-6)
    by_documents = counts.priors(by_documents=True)
    assert by_documents == pytest.approx([0.48, 0.16, 0.12, 0.12, 0.16 / 3, 0.16 / 3, 0.04 / 3])
    first = prior_numbers(*ragged(DOCUMENTS[:1]), by_documents)
    assert (first.mean[0], first.deviation[0]) == pytest.approx((-1.355196, 0.196977), abs=1e-6)


@given(st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=12))
def test_numbers_are_those_of_numpy(documents: list[list[int]]) -> None:
    counts = counted(documents, 12)
    total = sum(map(len, documents))
    assert counts.tokens.tolist() == [sum(d.count(token) for d in documents) for token in range(12)]
    assert counts.documents.tolist() == [sum(token in d for d in documents) for token in range(12)]
    priors = counts.priors()
    assert [Fraction(round(p * total), total or 1) for p in priors] == [Fraction(int(n), total or 1) for n in counts[0]]
    numbers = prior_numbers(*ragged(documents), priors)
    for row, document in enumerate(documents):
        if not document:
            assert np.isnan([part[row] for part in numbers]).all()
            continue
        of_tokens = priors[document]
        deviations = [0.0, 0.0] if len(document) == 1 else [np.log(of_tokens).std(ddof=1), of_tokens.std(ddof=1)]
        assert numbers.mean[row] == pytest.approx(np.log(of_tokens).mean(), abs=1e-12)
        assert [numbers.log_deviation[row], numbers.deviation[row]] == pytest.approx(deviations, abs=1e-9)


@pytest.mark.parametrize("tokens", [1, 2, 3, 1000, 12345])
def test_equal_tokens_deviate_by_nothing_at_all(tokens: int) -> None:
    """Not by what rounding leaves of a long sum; and their mean is their own logarithm."""
    counts = TokenCounts(np.array([3, 4], np.int64), np.array([1, 1], np.int64))
    numbers = prior_numbers(np.ones(tokens, np.int32), np.array([0, tokens]), counts.priors())
    assert (numbers.log_deviation[0], numbers.deviation[0]) == (0.0, 0.0)
    assert numbers.mean[0] == pytest.approx(np.log(4 / 7), rel=1e-14)


def test_counts_of_parts_add_up() -> None:
    whole, parts = counted(DOCUMENTS), [counted(DOCUMENTS[:2]), counted(DOCUMENTS[2:])]
    assert all((parts[0][n] + parts[1][n] == whole[n]).all() for n in range(2))


def test_nothing_counted_has_no_prior() -> None:
    assert not TokenCounts.empty(3).priors().any()
    assert not TokenCounts.empty(3).priors(by_documents=True).any()
