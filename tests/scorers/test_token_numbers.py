"""Numbers of a document from the values of its tokens, against numpy, and their names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from siftlm.scorers.token_numbers import (
    NUMBERS,
    TOKEN_VALUES,
    DocumentNumbers,
    OfDocument,
    find_number,
    percentile,
    worst_window,
)

VALUES = st.lists(st.floats(0, 30, width=32), min_size=1, max_size=80)


def numbers_of(documents: list[list[float]], *names: str, window: int = 10, **more: list[list[float]]) -> Any:
    """The columns of documents that lie in one array, with a value before each that no token was scored for."""
    spans = {"nll": documents, **more}
    values = {name: np.array([v for of in every for v in (99.0, *of)], np.float32) for name, every in spans.items()}
    stops = np.cumsum([len(document) + 1 for document in documents])
    starts = stops - [len(document) for document in documents]
    found = DocumentNumbers(tuple(find_number(name, tuple(TOKEN_VALUES)) for name in names), window)
    return [column.to_pylist() for column in found.columns(values, starts, stops, np.zeros(len(stops), bool))]


@given(st.lists(VALUES, max_size=8), st.sampled_from(range(101)))
def test_means_deviations_and_percentiles_are_numpys(documents: list[list[float]], percent: int) -> None:
    """To the bit, in float64, whatever documents are beside one; equal values deviate by nothing, in numpy by a bit."""
    found = numbers_of(documents, "nll_mean", "nll_std", f"nll_p{percent}")
    deviation = lambda v: np.std(v) if len(set(v)) > 1 else 0.0  # noqa: E731
    for truth, column in zip((np.mean, deviation, lambda v: np.percentile(v, percent)), found, strict=True):
        assert column == [truth(np.array(document, np.float64)) for document in documents]


@pytest.mark.parametrize("tokens", [1, 3, 1000, 12345])
def test_equal_values_deviate_by_nothing_at_all(tokens: int) -> None:
    """Not by what rounding leaves of a long sum."""
    assert NUMBERS["nll_std"].compute(OfDocument(np.full(tokens, 0.1)), 10) == 0.0


@given(VALUES, st.integers(1, 100))
def test_the_worst_window_is_the_highest_mean_of_consecutive_tokens(values: list[float], window: int) -> None:
    """By brute force; a document shorter than the window is one."""
    truth = sliding_window_view(np.array(values), min(window, len(values))).mean(1).max()
    assert worst_window(OfDocument(np.array(values)), window) == pytest.approx(truth, rel=1e-12, abs=1e-12)


def test_the_worst_window_of_a_worked_example() -> None:
    """Perplexities of the windows are 2.718, 10.312, 54.598, 54.598, and that of the document is 12.182."""
    nats = OfDocument(np.array([1.0, 1, 1, 5, 6, 1]))
    assert math.exp(worst_window(nats, 3)) == pytest.approx(54.598, abs=5e-4)
    assert math.exp(worst_window(nats, 10)) == pytest.approx(12.182, abs=5e-4)
    assert percentile(90, nats, 0) == np.percentile(nats.values, 90) == 5.5


def test_a_number_is_null_where_there_is_nothing_finite_to_compute_it_from() -> None:
    """No token, or an entropy that is not a number; the numbers of other values stay."""
    found = numbers_of([[], [1.0, 3.0]], "nll_mean", "entropy_p50", entropy=[[], [math.nan, 1.0]])
    assert found == [[None, 2.0], [None, None]]
    assert DocumentNumbers().columns({}, np.zeros(3, int), np.zeros(3, int), np.zeros(3, bool)) == []


def test_every_number_says_what_it_is() -> None:
    assert len(NUMBERS) == 6 * 103 + 1
    assert len({number.meaning for number in NUMBERS.values()}) == len(NUMBERS)
    assert NUMBERS["el2n_mean"].meaning == "mean of the tokens' EL2N norm"
    assert [NUMBERS[name].low_is_good for name in ("nll_p90", "worst_window", "nll_std", "el2n_mean")] == [1, 1, 0, 0]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("el2n_maen", ("nll", "el2n"), "must be numbers of a document, got 'el2n_maen'; did you mean 'el2n_mean'?"),
        ("nll_p101", ("nll",), "must be numbers of a document, got 'nll_p101'; did you mean 'nll_p11'?"),
        ("nll_p05", ("nll",), "must be numbers of a document, got 'nll_p05'; did you mean 'nll_p5'?"),
        ("?", ("nll",), "must be numbers of a document, got '?'; such as nll_mean, nll_p90 or worst_window"),
        ("el2n_mean", ("nll",), "must be numbers of nll, all that this model gives, got 'el2n_mean'"),
    ],
)
def test_a_name_that_is_no_number_of_this_model_is_refused(name: str, values: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match="must be numbers") as refused:
        find_number(name, values)
    assert str(refused.value) == message
