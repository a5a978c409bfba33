"""Defines the factor `segments`, which weighs documents less the higher their segment of a column, as in SoftDedup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.ranked import Within
from siftlm.selectors.rows import Rows
from siftlm.statistics.cuts import Ranked, Search, Target, advance, histogram
from siftlm.statistics.exact import as_fraction, exact_sum
from siftlm.statistics.ordered import Float64Array, Int64Array, from_float
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored

MOST = 1 << 17  # segments of all groups: an exact sum of each is some 300 bytes


@stored
@dataclass(frozen=True)
class SegmentSums:
    """Holds the number of documents in every segment, and the sum of their values in units of 2^-1074.

    The segments of one group stand after those of the other.
    """

    documents: tuple[int, ...]
    sums: tuple[int, ...]

    @classmethod
    def merged(cls, parts: Iterable[SegmentSums]) -> SegmentSums:
        """Returns the sums over all shards whose sums are in `parts`."""
        every = list(parts)
        documents = zip(*(part.documents for part in every), strict=True)
        sums = zip(*(part.sums for part in every), strict=True)
        return cls(tuple(map(sum, documents)), tuple(map(sum, sums)))


@stored
@dataclass(frozen=True, eq=False)
class Segments:
    """Holds the borders of the segments, and the documents, mean value and weight of each, group after group."""

    borders: Search
    documents: tuple[int, ...] = ()
    means: tuple[float, ...] = ()
    weights: tuple[float, ...] | None = None

    @property
    def done(self) -> bool:
        """Tells whether the weights of the segments are known."""
        return self.weights is not None


class SegmentsFactor(FactorSettings):
    """Divides a document's weight by the mean value of its segment of a column, within bounds (SoftDedup).

    The documents in order of the column, equal values together, make segments of about equal numbers. A document of
    segment k has the factor W_k = T / max(p_k, p / ratio), with p_k the mean value of the segment and p the largest
    of these means; T makes the mean factor 1, so that the expected number of documents stays. The bound is on the rare
    side: one segment of texts that look like no other cannot take what all others lose. The defaults are this
    project's; the paper tries ratios from 10 to 20. With `within` every value of a column, a topic for instance, has
    segments of its own and the mean factor 1.
    """

    paper: ClassVar[str] = "He et al. 2024 (SoftDedup), arXiv 2407.06654"
    unchecked: ClassVar[str] = "how a segment's mean becomes its weight, and how many segments there are"
    example: ClassVar[Mapping[str, Any]] = {"kind": "segments", "column": "commonness", "segments": 4}

    kind: Literal["segments"] = "segments"
    column: str = Field(description="A column of finite numbers >= 0, commonness for instance.")
    segments: int = Field(20, ge=2, le=1000, description="How many segments of equal numbers of documents.")
    ratio: float = Field(10.0, ge=1, le=1e9, description="The largest factor over the smallest, at most.")
    missing: float = Field(1.0, ge=0, description="The factor of a document without a value.")
    within: Within = "global"
    min_group: int | None = Field(
        None, ge=1, description="Groups with fewer documents, and documents without one, have segments as one group; "
        "by default fewer than there are segments.",
    )  # fmt: skip

    def words(self) -> str:
        within = f" within each {self.within_column}" if self.within_column else ""
        return f"weight 1 / the mean {self.column} of its segment, of {self.segments} segments{within}"

    @property
    def passes(self) -> int:
        return 2  # borders, then sums

    @property
    def within_column(self) -> str | None:
        """Returns the column whose values have segments of their own; None where all documents have the same."""
        return None if self.within == "global" else self.within

    @property
    def grouped_by(self) -> tuple[str, str] | None:
        return ("within", self.within_column) if self.within_column else None

    @property
    def score_column(self) -> str:
        return self.column

    def columns(self) -> set[str]:
        return super().columns() | ({self.within_column} if self.within_column else set())

    def rehearse(self, rows: Rows) -> None:
        self._ranked(rows)

    def begin(self, entry_limit: int) -> Segments:
        targets = tuple(Target(share=Fraction(k, self.segments)) for k in range(1, self.segments))
        return Segments(Search(targets, self.min_group or self.segments, entry_limit))

    def observe(self, rows: Rows, state: Segments) -> RankHistogram | SegmentSums:
        """Returns a histogram of the rows' ranks or, once the borders are known, the sums of the segments."""
        if not state.borders.done:
            return histogram(state.borders, self._ranked(rows))
        values, segment = self._known(rows), self._segment(rows, state)
        order = np.argsort(segment, kind="stable")
        edges = np.searchsorted(segment[order], np.arange(self.segments * _groups(state) + 1)).tolist()
        parts = [values[order[start:stop]] for start, stop in pairwise(edges)]
        return SegmentSums(tuple(map(len, parts)), tuple(map(exact_sum, parts)))

    def settle(self, state: Segments, partial: Any) -> Segments:
        if not state.borders.done:
            return self._bordered(advance(state.borders, [partial] if partial is not None else []))
        documents, sums = (partial.documents, partial.sums) if partial else ((), ())
        means: list[Fraction] = []
        weights: list[float] = []
        for start in range(0, len(documents), self.segments):
            of_group = slice(start, start + self.segments)
            means_here = [
                as_fraction(part) / max(count, 1)
                for part, count in zip(sums[of_group], documents[of_group], strict=True)
            ]
            means += means_here
            weights += self._weights(documents[of_group], means_here)
        return replace(state, documents=documents, means=tuple(map(float, means)), weights=tuple(weights))

    def _bordered(self, borders: Search) -> Segments:
        """The state after a pass for borders; raises UserError where there are more groups than sums are kept for."""
        groups = len(borders.cuts.groups) if borders.cuts is not None else 0
        if groups * self.segments > MOST:
            raise UserError(
                f"within: must name a column of at most {MOST // self.segments:,} values that have segments of their "
                f"own, got {groups:,} of {self.within!r}; raise min_group"
            )
        return Segments(borders)

    def _weights(self, documents: Sequence[int], means: Sequence[Fraction]) -> list[float]:
        """The weights of the segments of one group; an empty one, which no document has, has 0."""
        least = max(means) / Fraction(self.ratio)
        raw = [1 / max(mean, least) if least else Fraction(1) for mean in means]
        sum_of_raw = sum(count * w for count, w in zip(documents, raw, strict=True))
        scale = Fraction(sum(documents)) / sum_of_raw if sum_of_raw else Fraction(0)
        return [float(scale * w) if count else 0.0 for count, w in zip(documents, raw, strict=True)]

    def values(self, rows: Rows, state: Segments) -> Float64Array:
        factor = np.full(len(rows), self.missing)
        if len(self._known(rows)):
            factor[~rows.missing(self.column)] = np.asarray(state.weights)[self._segment(rows, state)]
        return factor

    def _ranked(self, rows: Rows) -> Ranked:
        """The rows that have a value, by group and value, equal ones as one rank."""
        values = self._known(rows)
        zero = np.zeros(len(values), np.uint64)
        known = rows.where(~rows.missing(self.column))
        group = known.group(self.within_column) if self.within_column else zero
        return Ranked(group, from_float(values), zero, np.ones(len(values), np.int64))

    def _segment(self, rows: Rows, state: Segments) -> Int64Array:
        """The segment of every row that has a value, numbered group after group."""
        cuts, ranked = state.borders.found, self._ranked(rows)
        assert cuts is not None, "the borders come first"
        if not len(ranked.key):
            return np.zeros(0, np.int64)
        beyond = [~cuts.before(k, ranked) for k in range(self.segments - 1)]
        return cuts.rows(ranked.group) * self.segments + np.sum(beyond, axis=0, dtype=np.int64)

    def _known(self, rows: Rows) -> Float64Array:
        values = rows.real(self.column)[~rows.missing(self.column)]
        refused = ~(np.isfinite(values) & (values >= 0))
        if refused.any():
            raise UserError(f"column: must be finite and at least 0, got {values[refused][0]} in {self.column!r}")
        return values


def _groups(state: Segments) -> int:
    """The number of groups that have segments."""
    assert state.borders.found is not None, "the borders come first"
    return len(state.borders.found.groups)
