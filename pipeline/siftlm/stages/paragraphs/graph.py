"""Builds the graph of repeated text: paragraphs -> common ones -> what each shard has of them -> paragraphs/."""

from __future__ import annotations

import apache_beam as beam

from siftlm.engine.graphs import InThreads, tasks, with_parts
from siftlm.stages.paragraphs.work import CommonParagraphs


def build(pipeline: beam.Pipeline, stage: CommonParagraphs, plan: str, workers: int) -> None:
    """Adds two shuffles of the places of hashes, by hash and back by shard, with texts read around them."""
    shards = tasks(pipeline, plan)
    common = (
        shards
        | "paragraphs" >> beam.ParDo(InThreads(stage.spans, workers))
        | "blocks" >> beam.FlatMap(lambda blocks: blocks)
        | "by hash" >> beam.GroupByKey()
        | "common" >> beam.FlatMapTuple(stage.common)
    )
    _ = with_parts("cuts", shards, common) | "cut" >> beam.ParDo(InThreads(lambda part: stage.cut(*part), workers))
