"""What the page shows, as plain values: everything is computed before it is written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siftlm.report.composition import Composition
from siftlm.report.excerpt import Excerpt
from siftlm.report.funnel import Funnel
from siftlm.report.mixture import Mixture
from siftlm.report.svg import Chart


@dataclass(frozen=True)
class Document:
    """A document to look at."""

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
    """A rule that looks at a column, and what it cut at, in words."""

    place: str
    text: str
    found: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScoreColumn:
    """A column of numbers: its distribution, the rules that look at it, and documents along it."""

    column: str
    chart: Chart | None
    everything: Mapping[str, Any]
    kept: Mapping[str, Any]
    outside: tuple[int, int]  # documents below and above the drawn range
    cuts: tuple[CutText, ...]
    kept_documents: tuple[Document, ...] = ()
    dropped_documents: tuple[Document, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """Duplicates of each other: how many, and some of them, the representative first."""

    size: int
    cluster_id: str
    members: tuple[Document, ...]


@dataclass(frozen=True)
class Contamination:
    """A benchmark in the corpus: documents that share n-grams with it, its items that they share them with."""

    name: str
    ngram: int
    documents: int
    kept: int
    items: int
    kept_items: int
    worst: tuple[tuple[Document, str], ...]  # with the number of the item


@dataclass(frozen=True)
class StageTime:
    """The work of a stage, summed over its workers."""

    stage: str
    rows: int
    seconds: float
    hour_price: float | None = None

    @property
    def cost(self) -> float | None:
        """In the currency of the configuration's prices; None where it names none."""
        return None if self.hour_price is None else self.seconds / 3600 * self.hour_price

    @property
    def rate(self) -> float | None:
        """Rows a second of work; None where too little was measured."""
        return self.rows / self.seconds if self.seconds >= 0.001 else None


@dataclass(frozen=True)
class Report:
    """The whole report."""

    manifest: Mapping[str, Any]
    funnel: Funnel
    compositions: tuple[Composition, ...]
    scores: tuple[ScoreColumn, ...]
    against: tuple[Chart, ...]
    clusters: tuple[Cluster, ...]
    cluster_sizes: tuple[tuple[int, int], ...]  # size, clusters
    contamination: tuple[Contamination, ...]
    unfindable: tuple[str, ...]  # of the items of benchmarks
    times: tuple[StageTime, ...]
    sampled: int  # documents that pictures of single documents were drawn from
    tokens_column: str | None
    mixtures: tuple[Mixture, ...]  # none where every kept document has weight 1 and is written once
    remarks: tuple[str, ...] = ()  # which end of a column was kept, and budgets above what there was


@dataclass(frozen=True)
class Met:
    """Holds a step on a document's way: what it asks for, what it met, and what came of it."""

    place: str
    text: str
    value: object
    cuts: tuple[float | int | None, ...]
    verdict: str  # passed, dropped, does not apply, not reached
    reason: str | None = None


@dataclass(frozen=True)
class Explanation:
    """Why a document was kept or dropped."""

    doc_id: str
    shard: str
    shard_number: int
    row: int
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
