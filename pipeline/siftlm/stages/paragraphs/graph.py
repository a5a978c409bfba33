"""Builds the graph of repeated text: paragraphs -> common ones -> what each shard has of them -> paragraphs/."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from siftlm.engine.graphs import InThreads, tasks
from siftlm.stages.paragraphs.work import CommonParagraphs


def build(pipeline: beam.Pipeline, stage: CommonParagraphs, plan: str, workers: int) -> None:
    """Adds two shuffles of the places of hashes, by hash and back by shard, with texts read around them."""

    def cut(part: tuple[int, dict[str, Any]]) -> None:
        (task,) = part[1]["task"]
        stage.cut(task, part[1]["spans"])

    shards = tasks(pipeline, plan)
    common = (
        shards
        | "paragraphs" >> beam.ParDo(InThreads(stage.spans, workers))
        | "blocks" >> beam.FlatMap(lambda blocks: blocks)
        | "by hash" >> beam.GroupByKey()
        | "common" >> beam.FlatMapTuple(stage.common)
    )
    _ = (
        {"task": shards | "by number" >> beam.Map(lambda task: (task.shard, task)), "spans": common}
        | "by shard" >> beam.CoGroupByKey()
        | "cut" >> beam.ParDo(InThreads(cut, workers))
    )
