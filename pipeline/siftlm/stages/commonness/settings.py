"""Defines the settings for measuring how common a document's n-grams are."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from siftlm.scorers.protocol import Cost
from siftlm.settings import Settings


class CommonnessSettings(Settings):
    """Measures how common a document is: the geometric mean of its words' probabilities, each given the words before.

    The probabilities come from the n-gram counts of the other documents of the corpus.
    """

    paper: ClassVar = "He et al. 2024 (arXiv 2407.06654), SoftDedup"
    cost: ClassVar[Cost] = "reads"
    unchecked: ClassVar[str] = "how n-grams that no other document has are smoothed"
    ngram: int = Field(4, ge=1, le=16, description="Words of the longest run counted; SoftDedup takes 4.")
    bits: int = Field(
        24,
        ge=10,
        le=32,
        description="The table has 2^bits counts of 8 bytes; fewer than the corpus has different n-grams blur them.",
    )
    prior: float = Field(
        1.0, ge=1e-3, le=1e3, description="Occurrences that what shorter n-grams say counts as, at every length."
    )
