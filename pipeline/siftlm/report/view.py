"""Defines the values that report pages show, all computed before a page is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siftlm.report.composition import Composition
from siftlm.report.excerpt import Excerpt
from siftlm.report.funnel import Funnel
from siftlm.report.mixture import Mixture
from siftlm.report.svg import Chart

FOLLOWS_LENGTH = 0.5
"""From this rank correlation with length on, a report says of a score that it follows length."""


@dataclass(frozen=True)
class Document:
    """Holds one document as pages show it: its id, source, excerpt, decision and value."""

    doc_id: str
    source: str | None
    domain: str | None
    excerpt: Excerpt
    kept: bool = True
    reason: str | None = None
    value: float | None = None
    percentile: float | None = None
    duplicate: str | None = None  # exact or near, null for the representative


@dataclass(frozen=True)
class CutText:
    """Holds the description of a rule on a column, and the values at which it cut, in words."""

    place: str
    text: str
    cuts: tuple[str, ...]


@dataclass(frozen=True)
class ScoreColumn:
    """Holds a column of numbers: its distribution, the rules that read it, and documents at several percentiles."""

    column: str
    chart: Chart | None
    everything: Mapping[str, Any]
    kept: Mapping[str, Any]
    outside: tuple[int, int]  # documents below and above the drawn range
    cuts: tuple[CutText, ...]
    kept_documents: tuple[Document, ...]
    dropped_documents: tuple[Document, ...]
    with_length: float | None  # Spearman's rank correlation with bytes over the sample, of what judges documents
    decides: bool  # whether a rule or a weight looks at it

    @property
    def follows_length(self) -> bool:
        """Tells whether ranking documents by the column is, to a large part, ranking them by their length."""
        return self.with_length is not None and abs(self.with_length) >= FOLLOWS_LENGTH

    def length_warning(self) -> str:
        """Returns a sentence that says how a score which follows length does so, and what to do."""
        rho = self.with_length or 0.0
        more = "longer" if rho > 0 else "shorter"
        return (
            f"{self.column} decides what is kept, and it follows length: {more} documents have more of it (Spearman "
            f"{rho:.2f} with bytes); a band within classes of length depends on length less"
        )


@dataclass(frozen=True)
class Disagreement:
    """Holds documents that two columns rank differently, each with its place by either, from 0 (lowest) to 1."""

    first: str
    second: str
    opposite: bool  # whether the columns rank in opposite directions, so that places alike are the disagreement
    documents: tuple[tuple[Document, float, float], ...]


@dataclass(frozen=True)
class Agreement:
    """Holds the rank correlations of all that judges documents, and where they disagree.

    `correlations[i][j]` is Spearman's of columns i and j over the sample; None where it is unknown, and for i = j.
    """

    columns: tuple[str, ...]
    correlations: tuple[tuple[float | None, ...], ...]
    disagreements: tuple[Disagreement, ...]
    left_out: tuple[str, ...] = ()  # other columns that judge documents


@dataclass(frozen=True)
class Contamination:
    """Holds counts of the documents that share n-grams with a benchmark, and of the items that they share them with."""

    name: str
    ngram: int
    documents: int
    kept: int
    items: int
    kept_items: int
    worst: tuple[tuple[Document, str], ...]  # with the number of the item


@dataclass(frozen=True)
class Report:
    """Holds everything that the report of a run shows, with the run's manifest."""

    manifest: Mapping[str, Any]
    funnel: Funnel
    compositions: tuple[Composition, ...]
    scores: tuple[ScoreColumn, ...]
    against: tuple[Chart, ...]
    agreement: Agreement | None  # None where fewer than two columns judge documents
    clusters: tuple[tuple[int, str, tuple[Document, ...]], ...]  # size, id, first members: the representative first
    cluster_sizes: tuple[tuple[int, int], ...]  # size, clusters
    contamination: tuple[Contamination, ...]
    sampled: int  # documents that pictures of single documents were drawn from
    tokens_column: str | None
    mixtures: tuple[Mixture, ...]  # none where every kept document has weight 1 and is written once

    @property
    def to_look_at(self) -> tuple[str, ...]:
        """Returns the warnings of the run, and one for each deciding score that follows length."""
        following = [score for score in self.scores if score.decides and score.follows_length]
        return (*self.manifest.get("warnings", ()), *(score.length_warning() for score in following))


@dataclass(frozen=True)
class Met:
    """Holds what one step required of a document, the value that it compared, and its verdict."""

    place: str
    text: str
    value: object
    cuts: tuple[float | int | None, ...]
    verdict: str  # passed, dropped, does not apply, not reached
    reason: str | None = None
    parts: tuple[Met, ...] = ()  # the rules inside it, each by itself


@dataclass(frozen=True)
class Explanation:
    """Holds why a document was kept or dropped, with its columns, its cluster and its text."""

    doc_id: str
    path: str  # of the file that the document is from
    record: int  # its number there, from 0
    same_id: int  # documents of the run with this id, itself included
    kept: bool
    reason: str | None
    weight: float
    copies: int
    met: tuple[Met, ...]
    columns: Mapping[str, Any]
    cluster: tuple[Mapping[str, Any], ...]  # the first members of its cluster, the representative first
    cluster_size: int
    text: str
    cut: tuple[str, ...] = ()  # the first spans that were cut of it
