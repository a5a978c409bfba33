"""Builds the Beam graph that finds duplicates: band keys, edges, components, representatives, then clusters/."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.combiners import ToList

from siftlm.engine.graphs import tasks, with_parts
from siftlm.engine.shards import Task, read_plan
from siftlm.engine.spill import Block, Edges, Span, branch, partition
from siftlm.stages.dedup.verify import Request, SetBlock, ShingleSets, requests, shingle_sets, verified
from siftlm.stages.dedup.work import Dedup, bucket_links, joined, only_near

Path = tuple[int, str]  # a node of the merge tree, and a file of edges for it


def build(pipeline: beam.Pipeline, stage: Dedup, plan: str, _threads: int) -> None:
    """Adds the search for duplicates to a pipeline.

    File positions of keys are shuffled, then files of edges merged as a tree; only the last path is passed on.
    """
    signals = tasks(pipeline, plan)
    buckets = signals | "band keys" >> beam.FlatMap(stage.band_spans) | "buckets" >> beam.GroupByKey()
    edges = _linked(buckets, stage) if stage.settings.verify is None else _verified(buckets, signals, stage)
    components = (
        edges
        | "branches" >> beam.GroupByKey()
        | "merge branches" >> beam.MapTuple(lambda node, paths: stage.links.merge(f"branch-{node}", paths))
        | "root" >> ToList()
        | "merge all" >> beam.Map(lambda paths: stage.links.merge("all", paths))
    )
    shards = components | "shards" >> beam.FlatMap(lambda _: read_plan(plan)) | "spread shards" >> beam.Reshuffle()
    rows = (
        shards
        | "candidates" >> beam.FlatMap(stage.candidates)
        | "clusters" >> beam.GroupByKey()
        | "representatives" >> beam.FlatMap(lambda part: stage.represent(part[1]))
    )
    new = shards | "new shards" >> beam.Filter(lambda task: task.shard >= 0)
    _ = with_parts("clusters", new, rows) | "write clusters" >> beam.MapTuple(stage.write_clusters)


def _linked(buckets: PCollection[Any], stage: Dedup) -> Any:
    """Files of the edges of every partition of buckets."""

    def write(part: int, spans: Iterable[Span]) -> Path:
        return branch(part, stage.partitions), stage.links.write(f"edges-{part}", joined(*bucket_links(spans)))

    return buckets | "edges" >> beam.MapTuple(write)


def _verified(buckets: PCollection[Any], signals: PCollection[Any], stage: Dedup) -> Any:
    """Files of exact edges, and of near edges that the true Jaccard similarity of both ends confirms."""
    threshold = stage.settings.verify
    assert threshold is not None

    def spread(_: int, spans: Iterable[Span]) -> Iterator[tuple[int, tuple[bool, Block]]]:
        for is_near, edges in enumerate(bucket_links(spans)):
            a, b = edges
            for part, block in partition(a.view(np.uint64), b, stage.verify_partitions):
                yield part, (bool(is_near), block)

    def write(part: int, blocks: Iterable[tuple[bool, Block]]) -> Iterator[Any]:
        sides: dict[bool, list[Block]] = {False: [(b"", b"")], True: [(b"", b"")]}
        for is_near, block in blocks:
            sides[is_near].append(block)
        exact, near = (joined(*map(_edges, sides[side])) for side in (False, True))
        near = only_near(exact, near)
        yield branch(part, stage.verify_partitions), stage.links.write(f"exact-{part}", exact)
        stage.links.write(f"near-{part}", near)
        for request in requests(near, part):
            yield TaggedOutput("requests", request)

    def sets(task: Task, wanted: Iterable[Request]) -> Iterator[tuple[int, SetBlock]]:
        return shingle_sets(task, stage.store_of(task), stage.settings.shingles, wanted)

    def verify(part: int, blocks: Iterable[SetBlock]) -> Path:
        near = stage.links.read(f"{stage.links.folder}/near-{part}.parquet")
        true = verified(near, ShingleSets.of(blocks), threshold)
        return branch(part, stage.verify_partitions), stage.links.write(f"verified-{part}", true)

    edges = buckets | "edges" >> beam.FlatMapTuple(spread) | "stars" >> beam.GroupByKey()
    written = edges | "write edges" >> beam.FlatMapTuple(write).with_outputs("requests", main="paths")
    confirmed = (
        with_parts("wanted sets", signals, written.requests)
        | "sets" >> beam.FlatMapTuple(sets)
        | "sets of stars" >> beam.GroupByKey()
        | "verify" >> beam.MapTuple(verify)
    )
    return (written.paths, confirmed) | "confirmed" >> beam.Flatten()


def _edges(block: Block) -> Edges:
    return np.frombuffer(block[0], np.int64), np.frombuffer(block[1], np.int64)
