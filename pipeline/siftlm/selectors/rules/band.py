"""Defines the rule `band`, which keeps documents in a band of percentiles of a score."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from siftlm.selectors.ranked import RankedRule, Ranking, Within, exact
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops
from siftlm.statistics.cuts import POOL, Target
from siftlm.statistics.ordered import UInt64Array


class Band(RankedRule):
    """Keeps documents whose percentile of a score lies in the low, medium or high band of a given width.

    For a percentile p and a rate r, low is p in [0, r); medium: p in [1/2 - r/2, 1/2 + r/2); high: p in [1 - r, 1]
    (Ankner et al. 2024, arXiv 2405.20541; Marion et al. 2023, arXiv 2309.04564, where low is bottom and high is top). A
    document's percentile is the middle of its own share of the mass below it and its own (Hazen 1914), so of n
    documents r * n are kept to within one, and adjacent bands share none. Documents of equal score are ranked by a
    keyed hash of doc_id. By tokens, each end of the band lies within half a document of its place. Within groups,
    those of fewer than 1 / rate documents are ranked together, and the run says how many documents these have.
    Reason: <column>_outside_<criterion>_band.

    A mean over tokens depends on a document's length (the first tokens are the hardest). With `length_bins`, ranks are
    among documents of like token count: [100, 1000] gives three bins, below 100, 100 to 999, 1000 and more.
    """

    paper: ClassVar[str] = "Ankner et al. 2024, arXiv 2405.20541; Marion et al. 2023, arXiv 2309.04564"
    unchecked: ClassVar[str] = "the edges of the bands, which agree with the figures of the paper"
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "band", "column": "perplexity", "criterion": "medium", "rate": 0.5, "within": "domain", "min_group": 20,
    }  # fmt: skip

    kind: Literal["band"] = "band"
    column: str = Field(description="The column ranked, lowest value first.")
    criterion: Literal["low", "medium", "high"] = Field(description="Which end of the ranks, or their middle.")
    rate: float = Field(gt=0, le=1, description="The share kept.")
    by: Literal["documents", "tokens"] = Field("documents", description="What the share is of.")
    within: Within = "global"
    min_group: int | None = Field(
        None,
        ge=1,
        description="Groups with fewer documents, and documents without one, are ranked as one. Default 1 / rate: "
        "smaller groups keep none or too many by themselves; 1 ranks each by itself.",
    )
    length_bins: list[int] = Field(
        default_factory=list, max_length=15, description="Token counts between which documents are ranked apart."
    )

    @field_validator("length_bins")
    @classmethod
    def _bins_ascend(cls, edges: list[int]) -> list[int]:
        if edges != sorted(set(edges)) or any(edge < 1 for edge in edges):
            raise ValueError("length bins must be positive and ascend")
        return edges

    @property
    def unit(self) -> str:
        return self.by

    @property
    def fewest(self) -> int:
        if self.min_group is not None:
            return self.min_group
        return ceil(1 / exact(self.rate)) if self.within_column is not None else 1

    @property
    def counts_tokens(self) -> bool:
        return self.by == "tokens" or bool(self.length_bins)

    def words(self) -> str:
        return f"{self.column} in the {self.criterion} {self.rate:.6g} of {self.by}{self.within_words()}"

    def default_reasons(self) -> tuple[str, ...]:
        return (f"{self.column}_outside_{self.criterion}_band",)

    def targets(self, number: int) -> tuple[Target, ...]:  # noqa: ARG002
        """Returns the two ends of the band as exact shares of the mass."""
        rate = exact(self.rate)
        low = {"low": Fraction(0), "medium": (1 - rate) / 2, "high": 1 - rate}[self.criterion]
        return Target(share=low, midpoint=True), Target(share=low + rate, midpoint=True)

    def group(self, rows: Rows) -> UInt64Array:
        """Returns each row's group: a hash of its value of `within`, with its length bin in the lowest bits."""
        group = super().group(rows)
        if not self.length_bins:
            return group
        return group + np.searchsorted(self.length_bins, rows.tokens(), side="right").astype(np.uint64)

    def group_name(self, group: int, known: dict[int, str]) -> str | None:
        name = super().group_name(group, known)
        if not self.length_bins:
            return name
        edges, position = [0, *self.length_bins, None], group & ~int(POOL)
        low, high = edges[position], edges[position + 1]
        length = f"{low} tokens and more" if high is None else f"{low} to {high - 1} tokens"
        return length if name is None else f"{name}, {length}"

    def drops(self, rows: Rows, state: Ranking) -> Drops:
        """Returns the reason and a mask of the rows that rank before the band or after it."""
        ranked, (cuts,) = self.ranked(rows, 0, ()), state.cuts
        inside = ~cuts.before(0, ranked) & cuts.before(1, ranked)
        return [(self.default_reasons()[0], ~inside)]
