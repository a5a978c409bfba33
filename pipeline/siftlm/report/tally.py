"""Counts documents by the columns of a run for its report, shard by shard, and merges the counts.

A tally is a tree of dicts, tuples, numbers and arrays, so that it can be told from worker to driver. Sums are
integers, so they do not depend on the order of the shards. Memory grows with distinct domains (about 200 bytes each)
and with the sample, never with documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.statistics.columns import numbers
from siftlm.statistics.hashing import hash_strings, keyed, uniform
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array

GROUPS = ("source", "language", "domain")
FIXED = frozenset({"doc_id", "domain", "source", "byte_count", "kept", "reason", "weight", "copies", "dropped_by"})
CLUSTER = frozenset({"cluster_id", "cluster_size", "duplicate"})
WEIGHT_BITS = 32
WEIGHT_UNIT = 1 << WEIGHT_BITS  # parts of 1 in which weights are added up: whole numbers, whose sum has no order
LARGEST_CLUSTERS = 10

WORST = 10  # documents shown of a benchmark

Overlap = tuple[float, int, int, str, bool, str | None, str]
"""(minus the overlap, shard, row, doc_id, kept, reason, item): the largest overlap sorts first, ties as in the run."""
Counts = tuple[int, ...]
"""documents, bytes, tokens; of the kept ones the same; copies; weight, weight * bytes and weight * tokens in parts of
WEIGHT_UNIT; copies * bytes, copies * tokens."""
NOTHING: Counts = (0,) * 12


class DrawnDocuments(TypedDict):
    """Holds a sample of documents drawn by a keyed hash of doc_id; every list has one element per document."""

    draw: Float64Array
    shard: Float64Array
    row: Float64Array
    kept: BoolArray
    numbers: dict[str, Float64Array]  # NaN where missing
    names: dict[str, tuple[str | None, ...]]


class Touched(TypedDict):
    """Holds counts of the documents that share n-grams with a benchmark, and the items that they share them with."""

    documents: int
    kept: int
    items: frozenset[str]
    kept_items: frozenset[str]
    worst: tuple[Overlap, ...]


class Tally(TypedDict):
    """Holds the counts of the documents of some shards, or of all."""

    reasons: dict[str, Counts]  # the empty name stands for kept documents
    losses: dict[str, dict[str, Counts]]  # by step, then by reason, for rules may share one
    groups: dict[str, dict[str | None, Counts]]
    histograms: dict[str, np.ndarray]  # int64[2, bins + 2]: all and kept; the first and last bin are outside
    cluster_sizes: dict[int, int]
    clusters: tuple[tuple[int, str], ...]  # (size, cluster_id) of the largest
    benchmarks: dict[str, Touched]
    sample: DrawnDocuments


@dataclass(frozen=True)
class Asked:
    """Configures which columns a tally counts and how; it is the same for every shard."""

    columns: frozenset[str]  # those that the run has
    tokens: str | None = None
    edges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    scores: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    rate: float = 1.0
    seed: int = 0

    def wanted(self) -> set[str]:
        """Returns the names of the columns that the tally reads."""
        asked = FIXED | CLUSTER | {"language"} | set(self.scores) | set(self.edges) | ({self.tokens} - {None})
        asked |= {f"{name}_{column}" for name in self.benchmarks for column in ("overlap", "item")}
        return {name for name in asked if name in self.columns and name is not None}


def tally(table: pa.Table, shard: Int64Array, row: Int64Array, asked: Asked) -> Tally:
    """Returns the tally of a table whose i-th row is row `row[i]` of shard `shard[i]`."""
    sums = _summed(table, asked.tokens)
    reason, steps = pc.fill_null(table["reason"], ""), table["dropped_by"]
    sizes, clusters = _clusters(table)
    return Tally(
        reasons=_by(sums, reason),
        losses={
            step: _by(sums.filter(lost := pc.equal(steps, step)), reason.filter(lost))
            for step in steps.unique().to_pylist()
            if step
        },
        groups={n: _by(sums, table[n]) for n in GROUPS if n in table.schema.names},
        histograms={name: _histogram(table, name, edges) for name, edges in asked.edges.items()},
        cluster_sizes=sizes,
        clusters=largest(clusters),
        benchmarks={name: _touched(table, shard, row, name) for name in asked.benchmarks},
        sample=_sample(table, shard, row, asked),
    )


def merged(parts: Iterable[Tally]) -> Tally:
    """Returns the sum of several tallies, whatever their order."""
    every = list(parts)
    groups = [name for name in GROUPS if any(name in part["groups"] for part in every)]
    steps = sorted({step for part in every for step in part["losses"]})
    columns = every[0]["histograms"] if every else {}
    benchmarks = every[0]["benchmarks"] if every else {}
    return Tally(
        reasons=_added(part["reasons"] for part in every),
        losses={step: _added(part["losses"].get(step, {}) for part in every) for step in steps},
        groups={name: _added(part["groups"].get(name, {}) for part in every) for name in groups},
        histograms={name: sum(part["histograms"][name] for part in every) for name in columns},  # type: ignore[misc]
        cluster_sizes=dict(sum((Counter(part["cluster_sizes"]) for part in every), Counter())),
        clusters=largest([cluster for part in every for cluster in part["clusters"]]),
        benchmarks={name: _all_touched([p["benchmarks"][name] for p in every]) for name in benchmarks},
        sample=_joined([part["sample"] for part in every]),
    )


def largest(clusters: Iterable[tuple[int, str]]) -> tuple[tuple[int, str], ...]:
    """Returns the largest clusters of more than one document, ties by their id."""
    return tuple(sorted({c for c in clusters if c[0] > 1}, key=lambda c: (-c[0], c[1]))[:LARGEST_CLUSTERS])


def edges_of(statistics: Mapping[str, Any], lines: Sequence[float], bins: int = 48) -> tuple[float, ...]:
    """Returns histogram bin edges that span the middle 98 % of a column and the cuts in its range.

    Logarithmic where values spread over more than a factor of 20, whole numbers where integers are few.
    """
    if not statistics.get("count") or statistics.get("p1") is None:
        return ()
    within = [line for line in lines if statistics["min"] <= line <= statistics["max"]]
    low, high = min([statistics["p1"], *within]), max([statistics["p99"], *within])
    if not (np.isfinite(low) and np.isfinite(high)):
        return ()
    if low == high:
        return (low - 0.5, low + 0.5)
    if isinstance(statistics["p1"], int) and high - low < bins:
        return tuple(np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0).tolist())
    made = np.geomspace(low, high, bins + 1) if low > 0 and high / low > 20 else np.linspace(low, high, bins + 1)
    if isinstance(statistics["p1"], int):  # a bin between two whole numbers would be a gap
        return tuple((np.unique(np.append(np.floor(made[:-1]), np.floor(high) + 1)) - 0.5).tolist())
    made[0], made[-1] = low, np.nextafter(high, np.inf)
    return tuple(np.unique(made).tolist())


def _summed(table: pa.Table, tokens: str | None) -> pa.Table:
    """The counts of every row, a column each; weights as two, of whole numbers and of parts of WEIGHT_UNIT."""
    one = pa.chunked_array([np.ones(table.num_rows, np.int64)])
    counted = pc.fill_null(table[tokens].cast(pa.int64()), 0) if tokens else pc.multiply(one, 0)
    sizes = [one, table["byte_count"], counted]
    kept = [pc.if_else(table["kept"], size, 0) for size in sizes]
    copies = pc.if_else(table["kept"], pc.cast(table["copies"], pa.int64()), 0)
    weight = np.where(table["kept"], table["weight"], 0.0)
    weighted = [column for size in sizes for column in _parts(weight * size.to_numpy())]
    columns = [*sizes, *kept, copies, *weighted, *(pc.multiply(copies, size) for size in sizes[1:])]
    return pa.table({f"c{i}": c for i, c in enumerate(columns)})


def _parts(values: Float64Array) -> tuple[Int64Array, Int64Array]:
    """The whole part of each value, and the rest in parts of WEIGHT_UNIT, rounded."""
    floor = np.floor(values)
    return floor.astype(np.int64), np.rint((values - floor) * WEIGHT_UNIT).astype(np.int64)


def _by(sums: pa.Table, key: pa.ChunkedArray) -> dict[Any, Counts]:
    """The sums of all rows with the same key, by it."""
    grouped = sums.append_column("key", key).group_by("key").aggregate([(name, "sum") for name in sums.schema.names])
    rows = zip(*(grouped[f"{name}_sum"].to_pylist() for name in sums.schema.names), strict=True)
    return dict(zip(grouped["key"].to_pylist(), map(_counts, rows), strict=True))


def _counts(sums: tuple[int, ...]) -> Counts:
    """The sums of the columns of `_summed`, each pair of a weight put together."""
    weights = [(ones << WEIGHT_BITS) + rest for ones, rest in zip(sums[7:13:2], sums[8:13:2], strict=True)]
    return (*sums[:7], *weights, *sums[13:])


def _added(parts: Iterable[Mapping[Any, Counts]]) -> dict[Any, Counts]:
    total: dict[Any, Counts] = {}
    for part in parts:
        for name, counts in part.items():
            total[name] = tuple(a + b for a, b in zip(total.get(name, NOTHING), counts, strict=True))
    return total


def _histogram(table: pa.Table, name: str, edges: Sequence[float]) -> np.ndarray:
    values, missing = numbers(table, name)
    bins = np.searchsorted(np.asarray(edges), values, side="right")
    kept = table["kept"].to_numpy()
    counted = [np.bincount(bins[mask], minlength=len(edges) + 1) for mask in (~missing, ~missing & kept)]
    return np.stack(counted).astype(np.int64)


def _clusters(table: pa.Table) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """How many clusters of each size have their representative in this shard; (size, cluster_id) of the larger ones."""
    if "cluster_id" not in table.schema.names:
        return {}, []
    clusters = table.select(["cluster_size", "cluster_id"]).filter(pc.is_null(table["duplicate"]))
    sizes = pc.value_counts(clusters["cluster_size"]).to_pylist()
    several = clusters.filter(pc.greater(clusters["cluster_size"], 1)).to_pydict()
    larger = zip(several["cluster_size"], several["cluster_id"], strict=True)
    return {int(row["values"]): int(row["counts"]) for row in sizes}, list(larger)


def _touched(table: pa.Table, shard: Int64Array, row: Int64Array, name: str) -> Touched:
    rows = np.flatnonzero(pc.is_valid(table[f"{name}_item"]).to_numpy())
    columns = ("doc_id", "kept", "reason", f"{name}_item")
    ids, kept, reasons, items = (table[column].take(pa.array(rows)).to_pylist() for column in columns)
    overlap = -table[f"{name}_overlap"].to_numpy()[rows]
    places = zip(overlap.tolist(), shard[rows].tolist(), row[rows].tolist(), ids, kept, reasons, items, strict=True)
    return Touched(
        documents=len(rows),
        kept=sum(kept),
        items=frozenset(items),
        kept_items=frozenset(item for item, stays in zip(items, kept, strict=True) if stays),
        worst=tuple(sorted(places)[:WORST]),
    )


def _all_touched(parts: Sequence[Touched]) -> Touched:
    return Touched(
        documents=sum(part["documents"] for part in parts),
        kept=sum(part["kept"] for part in parts),
        items=frozenset().union(*(part["items"] for part in parts)),
        kept_items=frozenset().union(*(part["kept_items"] for part in parts)),
        worst=tuple(sorted(place for part in parts for place in part["worst"])[:WORST]),
    )


def _sample(table: pa.Table, shard: Int64Array, row: Int64Array, asked: Asked) -> DrawnDocuments:
    draw = uniform(keyed(hash_strings(table["doc_id"].combine_chunks()), asked.seed, "report"))
    rows = np.flatnonzero(draw < asked.rate)
    drawn = table.take(pa.array(rows))
    names = [n for n in ("doc_id", "reason", *GROUPS) if n in table.schema.names]
    return DrawnDocuments(
        draw=draw[rows],
        shard=shard[rows].astype(np.float64),
        row=row[rows].astype(np.float64),
        kept=np.asarray(drawn["kept"].to_numpy(), np.bool_),
        numbers={name: with_nan(drawn, name) for name in asked.scores},
        names={name: tuple(drawn[name].to_pylist()) for name in names},
    )


def with_nan(table: pa.Table, name: str) -> Float64Array:
    """Returns a column of numbers, NaN where missing."""
    values, missing = numbers(table, name)
    return np.where(missing, np.nan, values.astype(np.float64))


def _joined(parts: Sequence[DrawnDocuments]) -> DrawnDocuments:
    """All samples in the order of the run."""
    if not parts:
        none = np.empty(0)
        return DrawnDocuments(draw=none, shard=none, row=none, kept=none.astype(np.bool_), numbers={}, names={})
    shard, row = np.concatenate([p["shard"] for p in parts]), np.concatenate([p["row"] for p in parts])
    order = np.lexsort((row, shard))
    texts = {n: [text for p in parts for text in p["names"].get(n, (None,) * len(p["row"]))] for n in parts[0]["names"]}
    return DrawnDocuments(
        draw=np.concatenate([p["draw"] for p in parts])[order],
        shard=shard[order],
        row=row[order],
        kept=np.concatenate([p["kept"] for p in parts])[order],
        numbers={n: np.concatenate([p["numbers"][n] for p in parts])[order] for n in parts[0]["numbers"]},
        names={n: tuple(values[i] for i in order.tolist()) for n, values in texts.items()},
    )
