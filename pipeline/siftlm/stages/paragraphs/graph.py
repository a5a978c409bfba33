"""Builds the Beam graph that finds paragraphs common to several documents and cuts them, shard by shard."""

from __future__ import annotations

import apache_beam as beam

from siftlm.engine.graphs import InThreads, tasks, with_parts
from siftlm.stages.paragraphs.work import CommonParagraphs


def build(pipeline: beam.Pipeline, stage: CommonParagraphs, plan: str, workers: int) -> None:
    """Adds the search for common paragraphs, and their removal, to a pipeline.

    It shuffles file positions of hashes twice, by hash and back by shard; texts are read before and after.
    """
    shards = tasks(pipeline, plan)
    common = (
        shards
        | "paragraphs" >> beam.ParDo(InThreads(stage.spans, workers))
        | "blocks" >> beam.FlatMap(lambda blocks: blocks)
        | "by hash" >> beam.GroupByKey()
        | "common" >> beam.FlatMapTuple(stage.common)
    )
    _ = with_parts("cuts", shards, common) | "cut" >> beam.ParDo(InThreads(lambda part: stage.cut(*part), workers))
