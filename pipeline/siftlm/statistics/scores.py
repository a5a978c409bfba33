"""Summarises many columns at once, with exact quantiles, for the manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa

from siftlm.statistics import ordered
from siftlm.statistics.columns import numbers
from siftlm.statistics.cuts import ENTRY_LIMIT, Ranked, Search, Target, advance, histogram
from siftlm.statistics.radix import RankHistogram
from siftlm.statistics.stored import stored
from siftlm.statistics.summary import Summary

PERCENTILES = ("1", "5", "10", "25", "50", "75", "90", "95", "99")


@stored
@dataclass(frozen=True)
class ScoreStatistics:
    """Holds what one pass finds: a summary of each column, and a histogram for quantiles not yet known."""

    summaries: Mapping[str, Summary] = field(default_factory=dict)
    histograms: Mapping[str, RankHistogram] = field(default_factory=dict)
    integral: frozenset[str] = frozenset()

    @classmethod
    def merged(cls, parts: Iterable[ScoreStatistics]) -> ScoreStatistics:
        """Returns the statistics of all shards in `parts`, whatever their order."""
        every = list(parts)
        summarised = sorted({name for part in every for name in part.summaries})
        counted = sorted({name for part in every for name in part.histograms})
        return cls(
            {n: Summary.merged(p.summaries[n] for p in every if n in p.summaries) for n in summarised},
            {n: RankHistogram.merged(p.histograms[n] for p in every if n in p.histograms) for n in counted},
            frozenset().union(*(part.integral for part in every)),
        )


@stored
@dataclass(frozen=True)
class ScoreSearch:
    """Computes the exact quantiles of `columns` in several passes.

    Call `start`, then `observe` and `settle` until `done`.
    """

    columns: tuple[str, ...]
    percentiles: tuple[str, ...]
    summaries: Mapping[str, Summary]
    searches: Mapping[str, Search]
    integral: frozenset[str] = frozenset()

    @classmethod
    def start(
        cls, columns: Iterable[str], percentiles: tuple[str, ...] = PERCENTILES, entry_limit: int = ENTRY_LIMIT
    ) -> ScoreSearch:
        """Returns the search before its first pass over `columns`.

        Percentiles are decimal numbers between 0 and 100, exclusive.
        """
        names = tuple(columns)
        targets = tuple(Target(share=Fraction(Decimal(p)) / 100) for p in percentiles)
        return cls(names, percentiles, {}, {name: Search(targets, entry_limit=entry_limit) for name in names})

    @property
    def done(self) -> bool:
        """Tells whether every quantile is exact."""
        return all(search.done for search in self.searches.values())

    def observe(self, columns: pa.RecordBatch | pa.Table, names: Collection[str] | None = None) -> ScoreStatistics:
        """Returns the summaries and histograms of these rows that the current pass needs.

        The rows hold the columns `names`, by default every column.
        """
        summaries: dict[str, Summary] = {}
        histograms: dict[str, RankHistogram] = {}
        integral = set()
        for name, search in self.searches.items():
            if search.done or (names is not None and name not in names):
                continue
            values, missing = numbers(columns, name)
            present = values[~missing]
            keys, counts = np.unique(ordered.from_number(present), return_counts=True)
            zero = np.zeros(len(keys), np.uint64)
            histograms[name] = histogram(search, Ranked(zero, keys, zero, counts))
            if search.passes == 0:
                summaries[name] = Summary.of(present, int(missing.sum()))
            if values.dtype == np.int64:
                integral.add(name)
        return ScoreStatistics(summaries, histograms, frozenset(integral))

    def settle(self, merged: ScoreStatistics) -> ScoreSearch:
        """Returns the search after a pass, given the merged statistics of all shards."""
        histograms = {name: [merged.histograms[name]] if name in merged.histograms else [] for name in self.searches}
        searches = {n: search if search.done else advance(search, histograms[n]) for n, search in self.searches.items()}
        summaries = {name: merged.summaries.get(name, self.summaries.get(name, Summary())) for name in self.columns}
        return replace(self, searches=searches, summaries=summaries, integral=self.integral | merged.integral)

    def table(self) -> dict[str, dict[str, float | int | None]]:
        """Returns the statistics of each column, by the column's name.

        They are count, missing, infinite, sum, mean, min, max, and `p<percentile>` for each percentile. A quantile is
        the least value that at least that share of the values do not exceed (`inverted_cdf`).
        """
        return {name: self._row(name) for name in self.columns}

    def _row(self, name: str) -> dict[str, float | int | None]:
        known = self.summaries[name]
        row: dict[str, float | int | None] = {
            "count": known.count,
            "missing": known.missing,
            "infinite": known.infinite,
            "sum": known.sum,
            "mean": known.mean,
            "min": known.least if known.count else None,
            "max": known.greatest if known.count else None,
        }
        cuts = self.searches[name].found
        assert cuts is not None, f"the quantiles of {name} are still open"
        dtype = np.dtype(np.int64 if name in self.integral else np.float64)
        values = ordered.to_number(cuts.key[0], dtype).tolist() if known.count else [None] * len(self.percentiles)
        return row | {f"p{percentile}": v for percentile, v in zip(self.percentiles, values, strict=True)}
