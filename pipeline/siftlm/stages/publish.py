"""The folder of a run: who owns it, and how a complete output takes the place of the one before it.

Output shards are written to a staging folder. When all are there, the manifest is removed, the shards move to
`data/` (and `rejects/`), and the new manifest is written last: a folder with a manifest is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.filesystem import OWNER
from siftlm.report.card import dataset_card
from siftlm.stages import folders
from siftlm.stages.columns import SCORES
from siftlm.stages.folders import MANIFEST, PAPERS, PARTS
from siftlm.stages.shards import Task
from siftlm.stages.texts import doc_ids
from siftlm.stages.write import PART
from siftlm.store import Marker, Store, open_parquet

ERROR_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("position", pa.int64()),
        pa.field("offset", pa.int64()),
        pa.field("doc_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)


@contextmanager
def workspace(folder: str, name: str, store: str) -> Iterator[None]:
    """Holds a run's folder for one process; another run's folder, or one in use, is a UserError.

    What killed runs left there is removed, and in the store too unless somebody else uses it.
    """
    folders.check_folders(folder, name, store)
    with ExitStack() as held:
        try:
            filesystem.makedirs(folder)
            if paths.is_local(folder):
                folders.hold(held.enter_context(open(f"{folder}/{folders.LOCK}", "wb")).fileno(), folder)
            if folders.check_owner(folder, name):  # once more: another run may have come first
                filesystem.write_bytes(f"{folder}/{OWNER}", orjson.dumps({"name": name}))
            folders.clear_run(folder)
        except OSError as error:
            raise UserError(f"output.folder: must be writable, got {folder}; {error.strerror or error}") from None
        held.enter_context(folders.shared_store(store))
        yield


def staging_folder(folder: str, identity: str) -> str:
    return f"{folder}/.staging-{identity[:16]}"


def published(folder: str, identity: str) -> dict[str, Any] | None:
    """The manifest in the folder when it is complete and of this very output."""
    path = f"{folder}/{MANIFEST}"
    if not filesystem.exists(path):
        return None
    manifest: dict[str, Any] = orjson.loads(filesystem.read_bytes(path))
    if manifest.get("identity") != identity:
        return None
    there = {f"{part}/{name}" for part in PARTS for name in filesystem.list_names(f"{folder}/{part}")}
    there.update(filesystem.list_names(folder))
    wanted = [part["path"] for part in (*manifest["data"], *manifest["rejects"])]
    return manifest if there.issuperset([*wanted, *PAPERS]) else None


def publish(folder: str, staging: str, data: Sequence[Marker], rejects: Sequence[Marker]) -> None:
    """Puts the staged shards in place of the ones before, and of nothing else that is there.

    Idempotent, so a run that is killed here is finished by the next.
    """
    filesystem.remove(f"{folder}/{MANIFEST}")
    wanted = {"data": [m.facts["path"] for m in data], "rejects": [m.facts["path"] for m in rejects]}
    for part, names in wanted.items():
        for name in filter(PART.fullmatch, filesystem.list_names(f"{folder}/{part}")):
            if f"{part}/{name}" not in names or filesystem.exists(f"{staging}/{part}/{name}"):
                filesystem.remove(f"{folder}/{part}/{name}")
        for path in names:
            if filesystem.exists(f"{staging}/{path}"):
                filesystem.makedirs(f"{folder}/{part}")
                filesystem.rename(f"{staging}/{path}", f"{folder}/{path}")


def write_errors(folder: str, selected: Sequence[Task], store: Store) -> int:
    """Writes errors.parquet, every record that could not be processed with its place; returns how many."""
    with open_parquet(f"{folder}/errors.parquet", ERROR_SCHEMA) as out:
        for task in selected:
            for batch in _ingest_errors(task, store):
                out.write(batch)
            for stage, key in task.inputs.items():
                if stage.startswith(SCORES):
                    out.write(_score_errors(task, stage, key, store))
    return out.rows


def _ingest_errors(task: Task, store: Store) -> Iterator[pa.RecordBatch]:
    table = store.table("documents", task.inputs["documents"], suffix=".rejects.parquet")
    table = table.filter(pc.equal(table["kind"], "error"))
    columns = {
        "stage": pa.array(["ingest"] * table.num_rows, pa.string()),
        "shard": pa.array([task.name] * table.num_rows, pa.string()),
        "position": table["position"],
        "offset": table["offset"],
        "doc_id": pa.nulls(table.num_rows, pa.string()),
        "reason": table["reason"],
        "detail": table["detail"],
    }
    yield from pa.table(columns, schema=ERROR_SCHEMA).to_batches()


def _score_errors(task: Task, stage: str, key: str, store: Store) -> pa.RecordBatch:
    errors = store.table(stage, key, ["error"])["error"].combine_chunks()
    rows = pa.array([i for i, error in enumerate(errors.to_pylist()) if error], pa.int64())
    places = store.table("signals", task.inputs["signals"], ["position"])["position"].combine_chunks()
    columns = {
        "stage": pa.array([stage] * len(rows), pa.string()),
        "shard": pa.array([task.name] * len(rows), pa.string()),
        "position": places.take(rows),
        "offset": pa.nulls(len(rows), pa.int64()),
        "doc_id": doc_ids(task, store).take(rows),
        "reason": errors.take(rows),
        "detail": pa.nulls(len(rows), pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns, schema=ERROR_SCHEMA)


def write_papers(folder: str, manifest: dict[str, Any], schema: pa.Schema | None) -> None:
    """The dataset card, then the manifest, whose presence says that the folder is complete."""
    columns = {f.name: str(f.type) for f in schema} if schema is not None else {}
    filesystem.write_bytes(f"{folder}/README.md", dataset_card(manifest, columns).encode())
    filesystem.write_bytes(f"{folder}/{MANIFEST}", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
