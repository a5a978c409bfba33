"""What the signatures promise: unbiased estimates with binomial errors, and the recall of the bands on real text."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.kernels.whole import components, true_jaccard

from siftlm_kernels import minhash_reference as reference
from siftlm_kernels.components import bucket_edges
from siftlm_kernels.minhash import minhash, minhash_bands

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CRAWLS = [SHARED / "wiki" / f"wikipedia_english_20240801to202408{day}.json.gz" for day in (15, 31)]
PLANTED = SHARED / "neardup" / "articles_1000.train"


def ragged(texts: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(values, offsets) of texts."""
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])


def shingle_sets(texts: Iterable[str]) -> list[frozenset[str]]:
    """The shingles of five words as strings, by the plain Python reference."""
    return [frozenset(" ".join(shingle) for shingle in reference.shingles(text.encode(), 5)) for text in texts]


def standard_scores(texts: list[str], pairs: NDArray[np.int64], truth: NDArray[np.float64], ngram: int) -> list[float]:
    """(estimate - truth) in binomial standard deviations: for each seed, one score over all pairs."""
    scores = []
    for seed in range(1, 41):
        signatures = minhash(*ragged(texts), ngram=ngram, seed=seed)
        estimates = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
        scores.append(((estimates - truth) / np.sqrt(truth * (1 - truth) / 112)).tolist())
    return list(np.concatenate(scores))


def assert_binomial(scores: list[float], independent: int) -> None:
    """Mean 0 and standard deviation 1, within four standard errors of `independent` scores."""
    assert abs(np.mean(scores)) < 4 / np.sqrt(independent)
    assert abs(np.std(scores) - 1) < 4 / np.sqrt(2 * independent)


def test_estimates_are_unbiased_on_sequential_words() -> None:
    """Documents that are ranges of numbers: the most regular input there is, at nine similarities."""
    texts, truth = [], []
    for tenth in range(1, 10):
        common, only = 40 * tenth, 20 * (10 - tenth)
        first = 1000 * tenth
        texts.append(" ".join(str(k) for k in range(first, first + common + only)))
        texts.append(" ".join(str(k) for k in range(first + only, first + common + 2 * only)))
        truth.append(common / (common + 2 * only))
    pairs = np.arange(18).reshape(9, 2)
    assert true_jaccard(*ragged(texts), pairs, ngram=1).tolist() == pytest.approx(truth)
    scores = standard_scores(texts, pairs, np.array(truth), ngram=1)
    assert_binomial(scores, len(scores))


def test_permutations_are_independent_of_each_other() -> None:
    """Columns that agree by chance do so one by one: no two permutations order a random set alike."""
    texts = [" ".join(f"{row}x{k}" for k in range(20)) for row in range(3000)]
    signatures = minhash(*ragged(texts), ngram=1).astype(np.float64)
    correlations = np.asarray(np.corrcoef(signatures, rowvar=False))[np.triu_indices(112, 1)]
    assert np.abs(correlations).max() < 6 / np.sqrt(3000)
    assert np.std(correlations) == pytest.approx(1 / np.sqrt(3000), rel=0.1)


@pytest.mark.skipif(not CRAWLS[0].exists(), reason=f"needs the real text {CRAWLS[0].name} in ../shared/data/wiki")
def test_estimates_are_unbiased_on_real_text() -> None:
    """Articles against edited copies of themselves, from which stretches of words were cut."""
    articles = json.loads(gzip.decompress(CRAWLS[0].read_bytes()))[:400:10]
    texts: list[str] = []
    for row, article in enumerate(articles):
        words = article.split()
        cut = len(words) * (row % 9 + 1) // 12
        texts += [article, " ".join(words[: len(words) // 3] + words[len(words) // 3 + cut :])]
    pairs = np.arange(len(texts)).reshape(-1, 2)
    sets = shingle_sets(texts)
    truth = np.array([len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs])
    assert true_jaccard(*ragged(texts), pairs) == pytest.approx(truth, abs=1e-12)
    scores = standard_scores(texts, pairs, truth, ngram=5)
    assert_binomial(scores, len(scores))


@pytest.mark.skipif(not PLANTED.exists(), reason="needs ../shared/data/neardup")
def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    """A thousand articles with ten planted pairs."""
    rows = [line.split(" ", 1) for line in PLANTED.read_text().splitlines()]
    names = np.array([name for name, _ in rows])
    a, b = candidates([text for _, text in rows])
    found = {frozenset(pair) for pair in zip(names[a].tolist(), names[b].tolist(), strict=True)}
    truth = {frozenset(line.split()) for line in PLANTED.with_suffix(".truth").read_text().splitlines()}
    assert found == truth


@pytest.mark.skipif(not all(path.exists() for path in CRAWLS), reason="needs the crawls of ../shared/data/wiki")
def test_recall_on_recrawled_pages_is_what_the_bands_promise() -> None:
    """All pairs of Jaccard >= 0.8 by brute force; verification by true Jaccard leaves none below."""
    texts = [text for path in CRAWLS for text in json.loads(gzip.decompress(path.read_bytes()))]
    truth = similar_pairs(shingle_sets(texts), 0.8)
    assert len(truth) > 100
    a, b = candidates(texts)
    labels = dict(zip(*(part.tolist() for part in components((a, b))), strict=True))
    linked = [pair for pair in truth if labels.get(pair[0], -1) == labels.get(pair[1], -2)]
    promised = sum(1 - (1 - similarity**8) ** 14 for similarity in truth.values())  # Mining of Massive Datasets, 3.4.2
    assert len(linked) >= 0.98 * promised
    pairs = np.array(sorted(truth))
    assert true_jaccard(*ragged(texts), pairs) == pytest.approx([truth[(x, y)] for x, y in pairs.tolist()])
    verified = true_jaccard(*ragged(texts), np.stack([a, b], axis=1)) >= 0.8
    assert {(x, y) for x, y in zip(a[verified].tolist(), b[verified].tolist(), strict=True)} <= set(truth)


def candidates(texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges between row numbers that share a band."""
    keys, has_words = minhash_bands(*ragged(texts))
    rows = np.flatnonzero(has_words)
    return bucket_edges(keys[rows].reshape(-1), np.repeat(rows, keys.shape[1]))


def similar_pairs(sets: list[frozenset[str]], least: float) -> dict[tuple[int, int], float]:
    """Every pair of row numbers with a Jaccard similarity of `least` or more, by counting common shingles."""
    holders: dict[str, list[int]] = defaultdict(list)
    for row, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(row)
    common: dict[tuple[int, int], int] = defaultdict(int)
    for rows in holders.values():
        for pair in combinations(rows, 2):
            common[pair] += 1
    found = {(a, b): count / (len(sets[a]) + len(sets[b]) - count) for (a, b), count in common.items()}
    return {pair: similarity for pair, similarity in found.items() if similarity >= least}
