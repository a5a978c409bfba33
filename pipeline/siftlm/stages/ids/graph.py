"""Builds the Beam graph that finds documents with the same id and writes new ids by shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.combiners import ToList

from siftlm.engine.graphs import InThreads, tasks, with_parts
from siftlm.engine.values import write_value
from siftlm.stages.ids.work import Ids, Pair


def build(pipeline: beam.Pipeline, stage: Ids, plan: str, workers: int) -> None:
    """Adds the comparison of ids to a pipeline; its outcome is written to the file `answer`.

    It shuffles the file positions of hashes twice, by hash and back by shard.
    """

    def renamed(part: int, pairs: Iterable[Pair]) -> Iterator[Any]:
        compared, shared = stage.renamed(part, pairs)
        yield TaggedOutput("shared", ("shared", astuple(shared)))
        yield from compared

    shards = tasks(pipeline, plan)
    compared = (
        shards
        | "ids" >> beam.ParDo(InThreads(stage.spans, workers))
        | "blocks" >> beam.FlatMap(lambda blocks: blocks)
        | "by hash" >> beam.GroupByKey()
        | "renamed" >> beam.FlatMapTuple(renamed).with_outputs("shared", main="spans")
    )
    written = (
        with_parts("ids", shards, compared.spans, lambda task: int(task.facts["rank"]))
        | "write ids" >> beam.ParDo(InThreads(lambda part: stage.made(*part), workers))
        | "new" >> beam.FlatMap(lambda new: [("made", new)] if new else [])
    )
    _ = (
        (written, compared.shared)
        | "all" >> beam.Flatten()
        | "list" >> ToList()
        | "answer" >> beam.Map(lambda parts: write_value(stage.answer, parts, stage.store))
    )
