"""Holds what the pages show, as plain values: everything is computed before it is written down."""

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
    """Holds a document to look at."""

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
    """Tells of a rule that looks at a column, and what it cut at, in words."""

    place: str
    text: str
    cuts: tuple[str, ...]


@dataclass(frozen=True)
class ScoreColumn:
    """Shows a column of numbers: its distribution, the rules that look at it, and documents along it."""

    column: str
    chart: Chart | None
    everything: Mapping[str, Any]
    kept: Mapping[str, Any]
    outside: tuple[int, int]  # documents below and above the drawn range
    cuts: tuple[CutText, ...]
    kept_documents: tuple[Document, ...]
    dropped_documents: tuple[Document, ...]


@dataclass(frozen=True)
class Contamination:
    """Counts documents that share n-grams with a benchmark, and its items that they share them with."""

    name: str
    ngram: int
    documents: int
    kept: int
    items: int
    kept_items: int
    worst: tuple[tuple[Document, str], ...]  # with the number of the item


@dataclass(frozen=True)
class Report:
    """Holds all that the report shows, beside what it reads in the manifest."""

    manifest: Mapping[str, Any]
    funnel: Funnel
    compositions: tuple[Composition, ...]
    scores: tuple[ScoreColumn, ...]
    against: tuple[Chart, ...]
    clusters: tuple[tuple[int, str, tuple[Document, ...]], ...]  # size, id, first members: the representative first
    cluster_sizes: tuple[tuple[int, int], ...]  # size, clusters
    contamination: tuple[Contamination, ...]
    sampled: int  # documents that pictures of single documents were drawn from
    tokens_column: str | None
    mixtures: tuple[Mixture, ...]  # none where every kept document has weight 1 and is written once


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
    """Says why a document was kept or dropped."""

    doc_id: str
    shard: str
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
