"""Computes how frequent the tokens of documents are in a corpus: means and deviations of their priors.

The prior of a token is the probability that counts over a corpus give it (Seo et al. 2025, arXiv 2509.18577). All
functions release the GIL and have no state.
"""

from __future__ import annotations

import math
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_kernel = partial(import_module, "siftlm_kernels.token_prior_kernel")  # numba is imported by the first call


class TokenCounts(NamedTuple):
    """Holds how often tokens stand in documents, by their ids.

    Attributes:
        tokens: int64[vocabulary], how often each stands in all documents.
        documents: int64[vocabulary], in how many documents each stands.
    """

    tokens: NDArray[np.int64]
    documents: NDArray[np.int64]

    @classmethod
    def empty(cls, vocabulary: int) -> TokenCounts:
        """Returns counts of no document."""
        return cls(np.zeros(vocabulary, np.int64), np.zeros(vocabulary, np.int64))

    def add(self, ids: NDArray[Any], offsets: NDArray[Any]) -> None:
        """Counts the tokens of documents, in place: int32 `ids` [T], of document i those from offsets[i] on."""
        _kernel().count(ids.astype(np.int32, copy=False), offsets.astype(np.int64, copy=False), *self)

    def priors(self, *, by_documents: bool = False) -> NDArray[np.float64]:
        """Returns the share of every token, float64[vocabulary].

        They sum to 1, or are all 0 where nothing was counted. With `by_documents`, shares are in proportion to the
        tokens times the documents that hold them, as the published code has it.
        """
        mass = self.tokens.astype(np.float64)
        if by_documents:
            mass = mass * self.documents
        return mass / max(math.fsum(mass), 1.0)


class PriorNumbers(NamedTuple):
    """Holds three numbers of every document, float64[documents]; NaN for a document without tokens.

    Attributes:
        mean: Mean of the logarithms of its tokens' priors, in nats.
        log_deviation: Their standard deviation, with the divisor n - 1; 0 for a single token.
        deviation: Standard deviation of the priors themselves, with the same divisor.
    """

    mean: NDArray[np.float64]
    log_deviation: NDArray[np.float64]
    deviation: NDArray[np.float64]


def prior_numbers(ids: NDArray[Any], offsets: NDArray[Any], priors: NDArray[np.float64]) -> PriorNumbers:
    """Returns the numbers of documents whose tokens all have a prior above 0.

    Args:
        ids: Integers [T], the tokens of all documents.
        offsets: Integers [documents + 1], where those of each begin.
        priors: float64[vocabulary], see `TokenCounts.priors`.
    """
    made = PriorNumbers(*np.full((3, len(offsets) - 1), np.nan))
    kernel = _kernel()
    kernel.measure(
        ids.astype(np.int32, copy=False), offsets.astype(np.int64, copy=False), priors, kernel.logarithms(priors), *made
    )
    return made
