"""Deals the documents to folds, so that each is scored by a model that has seen none of its fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from siftlm.engine.shards import Task
from siftlm.engine.step import ShardStep
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.columns import read_columns
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.texts import IDS
from siftlm.statistics.hashing import hash_strings, keyed
from siftlm.store import Marker, Store

FOLDS = "folds"
FOLD = "fold"
SCHEMA = pa.schema([pa.field(FOLD, pa.int32(), nullable=False)])
VERSION = 1


@dataclass(frozen=True)
class Folds(ShardStep):
    """Deals documents to `folds` folds, from 0 on, by a keyed hash of their ids.

    A cluster of duplicates goes to the fold of its representative, so that no model has seen the copy of a document.
    """

    folds: int
    seed: int
    name: str = FOLDS
    reads: tuple[str, ...] = (SIGNALS, IDS, CLUSTERS)

    def identity(self) -> object:
        return VERSION, self.folds, self.seed

    def columns(self) -> pa.Schema:
        return SCHEMA

    def run(self, task: Task, store: Store) -> Marker:
        name = "cluster_id" if CLUSTERS in task.inputs else "doc_id"
        ids = read_columns(task, store, {name})[name].combine_chunks()
        table = pa.table([pa.array(fold_of(ids, self.folds, self.seed))], schema=SCHEMA)
        with store.writer(FOLDS, task.key, SCHEMA) as out:
            for batch in table.to_batches(max_chunksize=65_536):
                out.write(batch)
        return task.marker(FOLDS, out.rows, out.seal, content=out.seal.digest)


def fold_of(ids: pa.Array, folds: int, seed: int) -> NDArray[np.int32]:
    """Returns the fold of every id, int32[ids] from 0 to `folds` - 1."""
    return np.asarray(keyed(hash_strings(ids), seed, FOLDS) % np.uint64(folds), np.int32)
