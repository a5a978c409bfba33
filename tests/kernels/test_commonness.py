"""Commonness against counters of words, and what leaving a document out means."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siftlm_kernels.commonness import Counts, count_ngrams, empty_counts, mean_nll

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "Ba", "éa", "日", "c, d", "--", "A"]), max_size=12).map(" ".join), max_size=6
)
Ragged = tuple[np.ndarray, np.ndarray]


def ragged(texts: Sequence[str]) -> Ragged:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def counted(texts: Sequence[str], bits: int = 30, ngram: int = 4) -> Counts:
    table = empty_counts(bits)
    count_ngrams(*ragged(texts), table, ngram=ngram)
    return table


def by_counters(words: list[str], others: list[list[str]], ngram: int, prior: float) -> float:
    """The formula over counters of tuples of the other documents alone."""
    counts = Counter(
        tuple(other[i : i + k]) for other in others for k in range(1, ngram + 1) for i in range(len(other) - k + 1)
    )
    counts[()] = sum(map(len, others))
    if not words or not counts[()]:
        return math.nan
    logs = []
    for i in range(len(words)):
        probability = 1.0
        for k in range(1, min(ngram, i + 1) + 1):
            run = tuple(words[i - k + 1 : i + 1])
            probability = (counts[run] + prior * probability) / (counts[run[:-1]] + prior)
        logs.append(math.log(probability))
    return -sum(logs) / len(logs)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=15), max_size=6),
    st.integers(1, 5),
    st.sampled_from([0.1, 1.0, 7.0]),
)
def test_a_document_is_measured_by_the_counts_of_the_others(
    documents: list[list[str]], ngram: int, prior: float
) -> None:
    """Where no two runs share a bucket, the formula holds with plain counters."""
    texts = [" ".join(words) for words in documents]
    found = mean_nll(*ragged(texts), counted(texts, 18, ngram), ngram=ngram, prior=prior)
    for row, words in enumerate(documents):
        expected = by_counters(words, documents[:row] + documents[row + 1 :], ngram, prior)
        assert found[row] == pytest.approx(expected, rel=1e-12, nan_ok=True)


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 5), st.sampled_from([1, 3, 16]), st.sampled_from([0.1, 1.0]))
def test_the_kernel_equals_the_docstring(texts: list[str], ngram: int, bits: int, prior: float) -> None:
    """Buckets that nearly all runs share included."""
    table, slow = counted(texts, bits, ngram), empty_counts(bits)
    count_ngrams(*ragged(texts), slow, ngram=ngram, impl="reference")
    assert np.array_equal(table, slow)
    fast = mean_nll(*ragged(texts), table, ngram=ngram, prior=prior)
    expected = mean_nll(*ragged(texts), table, ngram=ngram, prior=prior, impl="reference")
    np.testing.assert_allclose(fast, expected, rtol=1e-12, atol=1e-15)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.text("ab 日", max_size=20), st.integers(1, 8), st.randoms(use_true_random=False))
def test_the_order_and_grouping_of_documents_change_no_bit(
    texts: list[str], text: str, bits: int, random: object
) -> None:
    """Tables of shards add up to the table of all, and a document has one value beside whatever is asked with it."""
    every = [*texts, text]
    table = counted(every, bits)
    shuffled = list(every)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert np.array_equal(table, sum((counted([one], bits) for one in shuffled), empty_counts(bits)))
    alone = mean_nll(*ragged([text]), table)
    assert alone.tobytes() == mean_nll(*ragged(every), table)[-1:].tobytes()


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.text("abc ", max_size=30), st.integers(1, 8))
def test_a_text_in_the_table_counts_as_one_that_is_not(texts: list[str], text: str, bits: int) -> None:
    """Measured in a table with itself, or with itself twice in one without the second: shared buckets included."""
    once, twice = mean_nll(*ragged([text]), counted([*texts, text], bits)), counted([*texts, text, text], bits)
    assert mean_nll(*ragged([text]), twice - counted([text], bits)).tobytes() == once.tobytes()


def test_copies_are_common_and_length_is_not() -> None:
    """A copy more makes a text more common; a text that nobody shares stays rare however long it is."""
    draw = np.random.default_rng(0).integers
    short, long, others = (" ".join(f"w{n}" for n in draw(0, 10**9, size)) for size in (50, 20_000, 200_000))
    copied = " ".join(f"c{n}" for n in draw(0, 10**9, 50))
    table = counted([short, long, others], 22)
    found = [mean_nll(*ragged([copied]), table + counted([copied] * n, 22))[0] for n in (1, 2, 3, 5)]
    assert found == sorted(found, reverse=True)
    assert found[1] < 0.2 * found[0]
    rare = mean_nll(*ragged([short, long]), table)
    assert rare[1] == pytest.approx(rare[0], rel=0.05)


def test_a_long_improbable_document_does_not_vanish() -> None:
    """The product of 200,000 probabilities is far below the smallest float."""
    texts = [" ".join(f"w{n}" for n in range(200_000)), "one"]
    found, _ = mean_nll(*ragged(texts), counted(texts, 26))
    assert found == pytest.approx(math.log(2), rel=0.01)


def test_arguments_are_checked() -> None:
    for bad in (lambda: empty_counts(0), lambda: mean_nll(*ragged(["a"]), empty_counts(3), prior=0.0)):
        with pytest.raises(ValueError, match=r"bits|prior"):
            bad()
    with pytest.raises(ValueError, match="empty_counts"):
        mean_nll(*ragged(["a"]), np.zeros(8, np.int64))
    with pytest.raises(ValueError, match="ngram"):
        count_ngrams(*ragged(["a"]), empty_counts(3), ngram=0)
