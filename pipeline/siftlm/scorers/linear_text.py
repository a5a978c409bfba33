"""Predicts a number of a text by a linear model over hashed n-grams of its words.

The features of a text are log(1 + count) of each hash bucket of its n-grams, scaled to the norm 1, and log(1 +
n-grams), a number for how long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from siftlm import filesystem
from siftlm.scorers.ngrams import ngram_buckets, read_npz

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LinearText:
    """Holds the weights of a linear model of texts.

    Attributes:
        ngrams: All orders from 1 to this are features.
        weights: float64[buckets + 1], of the buckets and of the length.
        intercept: The prediction of a text without words.
    """

    ngrams: int
    weights: Floats
    intercept: float

    def predict(self, texts: Sequence[str]) -> Floats:
        """Returns the predicted number of each text, float64."""
        return np.asarray(features(texts, self.ngrams, len(self.weights) - 1) @ self.weights + self.intercept)

    def save(self, path: str) -> None:
        """Writes the model to one .npz file."""
        ngrams, intercept = np.int64(self.ngrams), np.float64(self.intercept)
        with filesystem.open_write(path) as file:
            np.savez(file, linear_text_ngrams=ngrams, weights=self.weights, intercept=intercept)

    @classmethod
    def load(cls, path: str) -> LinearText:
        """Returns the model in a file; raises ValueError or KeyError for any other file."""
        with filesystem.open_read(path) as file:
            stored = read_npz(file)
        return cls(int(stored["linear_text_ngrams"]), stored["weights"], float(stored["intercept"]))


def features(texts: Sequence[str], ngrams: int, buckets: int) -> sparse.csr_array:
    """Returns the features of N texts, a sparse array [N, buckets + 1]."""
    columns, values, ends = [], [], [0]
    for text in texts:
        found, counts = np.unique(ngram_buckets(text, ngrams, buckets), return_counts=True)
        logs = np.log1p(counts)
        columns += [found, np.array([buckets])]
        values += [logs / max(float(np.sqrt(logs @ logs)), 1.0), np.log1p(counts.sum(keepdims=True))]
        ends.append(ends[-1] + len(found) + 1)
    shape = (len(texts), buckets + 1)
    if not len(texts):
        return sparse.csr_array(shape, dtype=np.float64)
    return sparse.csr_array((np.concatenate(values), np.concatenate(columns), np.array(ends)), shape=shape)
