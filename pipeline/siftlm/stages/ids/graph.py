"""Builds the graph of the ids step: hashes of ids, who shares one, and new ids by shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.combiners import ToList

from siftlm.engine.graphs import InThreads, tasks
from siftlm.engine.values import write_value
from siftlm.stages.ids.work import Ids, Pair


def build(pipeline: beam.Pipeline, stage: Ids, plan: str, answer: str, workers: int) -> None:
    """Adds two shuffles of the places of hashes, by hash and back by shard; `answer` tells the outcome."""

    def renamed(part: int, pairs: Iterable[Pair]) -> Iterator[Any]:
        found, shared = stage.renamed(part, pairs)
        yield TaggedOutput("shared", ("shared", astuple(shared)))
        yield from found

    def made(part: tuple[int, dict[str, Any]]) -> tuple[str, tuple[int, str, int]] | None:
        (task,) = part[1]["task"]
        new = stage.made(task, part[1]["spans"])
        return ("made", new) if new else None

    shards = tasks(pipeline, plan)
    found = (
        shards
        | "ids" >> beam.ParDo(InThreads(stage.spans, workers))
        | "blocks" >> beam.FlatMap(lambda blocks: blocks)
        | "by hash" >> beam.GroupByKey()
        | "renamed" >> beam.FlatMapTuple(renamed).with_outputs("shared", main="spans")
    )
    written = (
        {"task": shards | "by rank" >> beam.Map(lambda task: (task.facts["rank"], task)), "spans": found.spans}
        | "by shard" >> beam.CoGroupByKey()
        | "write ids" >> beam.ParDo(InThreads(made, workers))
        | "new" >> beam.Filter(lambda new: new is not None)
    )
    _ = (
        (written, found.shared)
        | "all" >> beam.Flatten()
        | "list" >> ToList()
        | "answer" >> beam.Map(lambda parts: write_value(answer, parts, stage.store))
    )
