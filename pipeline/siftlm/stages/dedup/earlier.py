"""Lists earlier runs' shards, in their own stores, whose band and content hashes new documents are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siftlm import filesystem
from siftlm.engine.shards import Task
from siftlm.engine.spill import Integers
from siftlm.errors import UserError
from siftlm.report.manifest import MANIFEST, read_manifest
from siftlm.scorers import ShingleSettings
from siftlm.scorers.minhash import SHINGLES_KEY, ShingleScorer
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.dedup.settings import STAGE as CLUSTERS
from siftlm.stages.edit import EDITED
from siftlm.stages.texts import IDS
from siftlm.store import Store

STORE = "store"  # the fact of an earlier shard's task that says where its outputs are


def earlier_shards(folders: Sequence[str], own: Sequence[Task]) -> list[Task]:
    """Returns a task for every shard of earlier runs, with negative numbers in the order of the runs.

    A shard whose signals the run itself has is left out, since its documents would be copies of themselves.
    """
    own_keys = {task.inputs[SIGNALS] for task in own}
    earlier = [
        (f"{folder}: {shard['path']}", shard["keys"], {STORE: store, "documents": shard["documents"]})
        for folder in folders
        for store, shard in _shards(folder)
        if shard["keys"][SIGNALS] not in own_keys
    ]
    return [
        Task(number - len(earlier), name, "", {k: v for k, v in keys.items() if k in USED}, facts)
        for number, (name, keys, facts) in enumerate(earlier)
    ]


USED = (*EDITED, SIGNALS, IDS, CLUSTERS)


def _shards(folder: str) -> list[tuple[str, dict[str, Any]]]:
    """(store, entry of the manifest) of every shard of a finished run."""
    path = f"{folder}/{MANIFEST}"
    if not filesystem.exists(path):
        raise UserError(f"dedup.against: must be folders of finished runs, got {folder!r} without a {MANIFEST}")
    manifest = read_manifest(folder)
    store = manifest["config"]["store"] or f"{folder}/store"
    return [(store, shard) for shard in manifest["inputs"]]


def check_earlier(tasks: Sequence[Task], shingles: ShingleSettings | None) -> None:
    """Raises UserError if an earlier run's shard has no signals or was shingled with other settings than this run's."""
    wanted = ShingleScorer(shingles).digest().encode() if shingles else None
    for task in tasks:
        store = Store(task.facts[STORE], owned=False)
        if not store.is_done(SIGNALS, task.inputs[SIGNALS]):
            raise UserError(f"dedup.against: must have its signals in {store.root}, got none of {task.name}")
        schema = store.schema(SIGNALS, task.inputs[SIGNALS])
        metadata = schema.field("bands").metadata if "bands" in schema.names else None
        if wanted and (metadata or {}).get(SHINGLES_KEY) != wanted:
            given = "others" if "bands" in schema.names else "no bands"
            raise UserError(f"dedup.shingles: must be those of the runs in dedup.against, got {given} in {task.name}")


def touched(keys: NDArray[np.uint64], owners: Integers) -> NDArray[np.bool_]:
    """Returns a mask of the (key, document) entries whose key a new document has; the others need no links."""
    return np.isin(keys, keys[owners >= 0])
