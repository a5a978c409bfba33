"""DSIR against its definitions by brute force, and a corpus whose answer is known."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from siftlm.errors import UserError
from siftlm.scorers.ngrams import (
    ImportanceWeights,
    NgramCounts,
    NgramSettings,
    bucket_of,
    gumbel_noise,
    mean_log_weight,
    ngram_buckets,
    word_count,
    words_of,
)

SMALL = NgramSettings(buckets=97)


def brute_buckets(text: str, ngrams: int, buckets: int) -> Counter[int]:
    """The definition with the hexadecimal digest as a number."""
    words = words_of(text)
    grams = [" ".join(words[i : i + n]) for n in range(1, ngrams + 1) for i in range(len(words) - n + 1)]
    return Counter(int(hashlib.sha256(gram.encode("utf-8")).hexdigest(), 16) % buckets for gram in grams)


def test_words_are_runs_of_letters_or_of_signs() -> None:
    """NLTK's WordPunctTokenizer on lower case."""
    assert words_of("Good muffins cost $3.88\nin New York. can't äß_1 --!") == [
        *["good", "muffins", "cost", "$", "3", ".", "88", "in", "new", "york", "."],
        *["can", "'", "t", "äß_1", "--!"],
    ]


@pytest.mark.parametrize("ngrams", [1, 2, 3])
@pytest.mark.parametrize("text", ["", "one", "a b c a b ! d", "Grüße, 語 und 🙂"])
def test_buckets_are_as_defined(text: str, ngrams: int) -> None:
    """int(sha256, 16) mod B over all orders, and as many words as the public code counts."""
    found = ngram_buckets(text, ngrams, 10_000)
    assert Counter(found.tolist()) == brute_buckets(text, ngrams, 10_000)
    if len(words_of(text)) >= ngrams:
        assert word_count(np.array([len(found)]), ngrams)[0] == len(words_of(text))


def test_a_bucket_of_known_digest() -> None:
    """sha256("abc") is a published test vector (FIPS 180-4)."""
    digest = 0xBA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD
    assert bucket_of("abc", 10_000) == digest % 10_000


RAW = ["the cat sat on the mat", "stocks fell as rates rose", "the dog and the cat", "rates and stocks"]
TARGET = ["the cat sat", "a cat and a dog"]


def test_log_weights_equal_the_formula_by_brute_force() -> None:
    """log(target + 1e-8) - log(raw + 1e-8), summed over n-grams."""
    smoothed = NgramSettings(buckets=97, smoothing=0.5)
    for configured in (SMALL, smoothed):
        weights = ImportanceWeights.fit(NgramCounts.of(RAW, configured), NgramCounts.of(TARGET, configured), configured)
        raw = sum((brute_buckets(text, 2, 97) for text in RAW), Counter())
        target = sum((brute_buckets(text, 2, 97) for text in TARGET), Counter())
        target_total = sum(target.values()) + 97 * configured.smoothing
        expected = [
            sum(
                n
                * (
                    np.log((target[b] + configured.smoothing) / target_total + 1e-8)
                    - np.log(raw[b] / sum(raw.values()) + 1e-8)
                )
                for b, n in brute_buckets(text, 2, 97).items()
            )
            for text in RAW
        ]
        scores, sizes = weights.score(RAW)
        np.testing.assert_allclose(scores, expected, atol=1e-10)
        assert sizes.tolist() == [11, 9, 9, 5]
        np.testing.assert_allclose(mean_log_weight(scores, sizes), np.array(expected) / sizes)


def test_counts_of_parts_add_up_to_the_counts_of_all() -> None:
    """In any order of shards."""
    whole = NgramCounts.of(RAW, SMALL)
    parts = [NgramCounts.of([text], SMALL) for text in RAW]
    np.testing.assert_array_equal((parts[3] + parts[1] + parts[0] + parts[2]).counts, whole.counts)


def test_weights_read_back_and_score_the_same(tmp_path: Path) -> None:
    """One file."""
    weights = ImportanceWeights.fit(NgramCounts.of(RAW, SMALL), NgramCounts.of(TARGET, SMALL), SMALL)
    weights.save(str(tmp_path / "w.npz"))
    again = ImportanceWeights.load(str(tmp_path / "w.npz"))
    np.testing.assert_array_equal(again.score(RAW)[0], weights.score(RAW)[0])


def test_the_pages_like_the_target_are_chosen() -> None:
    """Half the raw pages are cats, half stocks; a target of cats picks the cats, with noise or without."""
    rng = np.random.default_rng(0)
    cats, stocks = (["cat", "dog", "mat", "paw", "fur", "tail"], ["rate", "bond", "fell", "rose", "yield", "fund"])
    pages = [" ".join(rng.choice(cats if i % 2 else stocks, 20)) for i in range(200)]
    target = [" ".join(rng.choice(cats, 20)) for _ in range(50)]
    counted = NgramSettings()
    weights = ImportanceWeights.fit(NgramCounts.of(pages, counted), NgramCounts.of(target, counted), counted)
    scores, _ = weights.score(pages)
    for noise in (0, gumbel_noise(pa.array(pages), 0)):
        assert sorted(np.argsort(-(scores + noise))[:100].tolist()) == list(range(1, 200, 2))


def test_gumbel_noise_draws_in_proportion_to_the_weights() -> None:
    """One of three pages drawn with weights 1 : 2 : 5, over 4,000 seeds; each draw the same on every run."""
    texts, weights = pa.array(["a", "b", "c"]), np.log([1.0, 2.0, 5.0])
    drawn = [int(np.argmax(weights + gumbel_noise(texts, seed))) for seed in range(4000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4000, [1 / 8, 2 / 8, 5 / 8], atol=0.025)
    turned = gumbel_noise(texts.take(pa.array([2, 0, 1])), 7)
    np.testing.assert_array_equal(turned[[1, 2, 0]], gumbel_noise(texts, 7))


def test_an_empty_corpus_is_an_error() -> None:
    """Raw or target, by name."""
    some, none = NgramCounts.of(RAW, SMALL), NgramCounts.of([" "], SMALL)
    with pytest.raises(UserError, match=r"dsir\.raw"):
        ImportanceWeights.fit(none, some, SMALL)
    with pytest.raises(UserError, match=r"dsir\.target"):
        ImportanceWeights.fit(some, none, SMALL)
