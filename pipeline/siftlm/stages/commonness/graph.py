"""Builds the Beam graph that counts the corpus's n-grams by shard and sums the counts slice by slice."""

from __future__ import annotations

import apache_beam as beam

from siftlm.engine.graphs import InThreads, tasks
from siftlm.stages.commonness.work import NgramTable


def build(pipeline: beam.Pipeline, ngrams: NgramTable, plan: str, workers: int) -> None:
    """Adds n-gram counting to a pipeline; its one shuffle moves file positions, and texts are read before it."""
    _ = (
        tasks(pipeline, plan)
        | "count" >> beam.ParDo(InThreads(ngrams.count, workers))
        | "slices" >> beam.FlatMap(lambda slices: slices)
        | "by slice" >> beam.GroupByKey()
        | "add" >> beam.MapTuple(ngrams.add)
    )
