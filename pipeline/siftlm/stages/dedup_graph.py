"""The graph of the dedup stage: band blocks -> edges -> components -> representatives -> clusters/."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np

from siftlm.stages.dedup import Block, Dedup, Integers, bucket_links
from siftlm.stages.shards import Task, read_plan

Components = tuple[Integers, Integers]


def build(pipeline: beam.Pipeline, stage: Dedup, plan: str) -> None:
    """Two shuffles of array blocks and one combine; the links pass through a file, their path through the graph."""
    components = (
        pipeline
        | "plan" >> beam.Create([plan])
        | "signals" >> beam.FlatMap(read_plan)
        | "spread signals" >> beam.Reshuffle()
        | "band blocks" >> beam.FlatMap(stage.band_blocks)
        | "buckets" >> beam.GroupByKey()
        | "edges" >> beam.MapTuple(_edges)
        | "components" >> beam.CombineGlobally(ConnectedComponents())
        | "links" >> beam.Map(lambda block: stage.write_links(_decode(block)))
    )
    shards = components | "shards" >> beam.FlatMap(lambda _: read_plan(plan)) | "spread shards" >> beam.Reshuffle()
    rows = (
        shards
        | "candidates" >> beam.FlatMap(stage.candidates)
        | "clusters" >> beam.GroupByKey()
        | "representatives" >> beam.FlatMap(lambda part: stage.represent(part[1]))
    )
    whole = shards | "every shard" >> beam.Map(lambda task: (task.shard, task))
    _ = (
        {"task": whole, "blocks": rows}
        | "by shard" >> beam.CoGroupByKey()
        | "write clusters" >> beam.Map(lambda part: _write(stage, part[1]["task"], part[1]["blocks"]))
    )


def _write(stage: Dedup, tasks: Iterable[Task], blocks: Iterable[bytes]) -> None:
    (task,) = tasks
    stage.write_clusters(task, blocks)


def _edges(_: int, blocks: Iterable[Block]) -> Block:
    return _encode(bucket_links(blocks))


def _encode(arrays: Components) -> Block:
    return arrays[0].tobytes(), arrays[1].tobytes()


def _decode(block: Block) -> Components:
    return np.frombuffer(block[0], np.int64), np.frombuffer(block[1], np.int64)


class ConnectedComponents(beam.CombineFn):
    """Union-find over edge blocks; the accumulator is the components so far, as (numbers, labels)."""

    def create_accumulator(self) -> Block:
        return b"", b""

    def add_input(self, accumulator: Block, edges: Block) -> Block:
        return self.merge_accumulators([accumulator, edges])

    def merge_accumulators(self, accumulators: Iterable[Block]) -> Block:
        from siftlm_kernels.components import connected_components

        parts: list[Block] = [part for part in accumulators if part[0]]
        if not parts:
            return b"", b""
        first, second = b"".join(p[0] for p in parts), b"".join(p[1] for p in parts)
        return _encode(connected_components(*_decode((first, second))))

    def extract_output(self, accumulator: Block) -> Block:
        return accumulator
