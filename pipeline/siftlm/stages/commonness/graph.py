"""Builds the graph of the n-gram table: counts of every shard are added slice by slice."""

from __future__ import annotations

import apache_beam as beam

from siftlm.engine.graphs import InThreads, tasks
from siftlm.stages.commonness.work import NgramTable


def build(pipeline: beam.Pipeline, ngrams: NgramTable, plan: str, workers: int) -> None:
    """Adds one shuffle, of the places of slices; texts are read before it."""
    _ = (
        tasks(pipeline, plan)
        | "count" >> beam.ParDo(InThreads(ngrams.count, workers))
        | "slices" >> beam.FlatMap(lambda slices: slices)
        | "by slice" >> beam.GroupByKey()
        | "add" >> beam.MapTuple(ngrams.add)
    )
