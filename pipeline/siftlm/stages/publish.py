"""The folder of a run: who owns it, and how a complete output takes the place of the one before it.

Output shards are written to a staging folder. When all are there, the manifest is removed, the shards move to
`data/` (and `rejects/`), and the new manifest is written last: a folder with a manifest is complete.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.report.card import dataset_card
from siftlm.stages.columns import SCORES
from siftlm.stages.dedup_links import LINKS
from siftlm.stages.shards import Task
from siftlm.store import Marker, Store, open_parquet

OWNER = "siftlm.json"
MANIFEST = "manifest.json"
STORE = "store"  # may be there before the run: made by a plan, and never emptied
PARTS = ("data", "rejects")
PAPERS = ("errors.parquet", "report.html", "README.md")
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
    with ExitStack() as held:
        try:
            new = _check_owner(folder, name)
            filesystem.makedirs(folder)
            if filesystem.is_local(folder):
                _lock(held.enter_context(open(f"{folder.removeprefix('file://')}/.lock", "wb")), folder)
                new = _check_owner(folder, name)  # once more: another run may have come first
                filesystem.remove_temporaries(folder, spared=store)
            if new:
                filesystem.write_bytes(f"{folder}/{OWNER}", orjson.dumps({"name": name}))
        except OSError as error:
            raise UserError(f"output.folder: must be writable, got {folder}; {error.strerror or error}") from None
        held.enter_context(_share(store))
        yield


@contextmanager
def _share(store: str) -> Iterator[None]:
    """Uses a store beside other runs; who has it alone at first clears away what killed runs left in it."""
    if not filesystem.is_local(store):
        yield
        return
    filesystem.makedirs(store)
    with open(f"{store.removeprefix('file://')}/.store.lock", "wb") as file:
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            filesystem.remove_temporaries(store)
            filesystem.remove(f"{store}/{LINKS}", recursive=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _lock(file: BinaryIO, folder: str) -> None:
    """Holds the folder until the file is closed, be it by the end of the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"output.folder: must not be in use, got {folder}; another siftlm run holds it") from None


def _check_owner(folder: str, name: str) -> bool:
    """Whether the folder is new; refuses one that belongs to something else."""
    owner = f"{folder}/{OWNER}"
    if not filesystem.exists(owner):
        strangers = [n for n in filesystem.list_entries(folder) if not n.startswith(".") and n != STORE]
        if strangers:
            raise UserError(f"output.folder: must be empty or a run's folder, got {folder} with {strangers[0]}")
        return True
    try:
        held = orjson.loads(filesystem.read_bytes(owner))["name"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise UserError(f"output.folder: must belong to a run, got {folder} with a damaged {OWNER}") from None
    if held != name:
        raise UserError(f"output.folder: must be new or belong to run {name!r}, got {folder} of run {held!r}")
    return False


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
    """Puts the staged shards in place of the ones before; idempotent, so a run killed here is finished by the next."""
    filesystem.remove(f"{folder}/{MANIFEST}")
    wanted = {"data": [m.facts["path"] for m in data], "rejects": [m.facts["path"] for m in rejects]}
    for part, paths in wanted.items():
        for name in filesystem.list_names(f"{folder}/{part}"):
            if f"{part}/{name}" not in paths or filesystem.exists(f"{staging}/{part}/{name}"):
                filesystem.remove(f"{folder}/{part}/{name}")
        for path in paths:
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
    names = store.table("signals", task.inputs["signals"], ["doc_id", "position"]).take(rows)
    columns = {
        "stage": pa.array([stage] * len(rows), pa.string()),
        "shard": pa.array([task.name] * len(rows), pa.string()),
        "position": names["position"].combine_chunks(),
        "offset": pa.nulls(len(rows), pa.int64()),
        "doc_id": names["doc_id"].combine_chunks(),
        "reason": errors.take(rows),
        "detail": pa.nulls(len(rows), pa.string()),
    }
    return pa.RecordBatch.from_pydict(columns, schema=ERROR_SCHEMA)


def write_papers(folder: str, manifest: dict[str, Any], schema: pa.Schema | None) -> None:
    """The dataset card, then the manifest, whose presence says that the folder is complete."""
    columns = {f.name: str(f.type) for f in schema} if schema is not None else {}
    filesystem.write_bytes(f"{folder}/README.md", dataset_card(manifest, columns).encode())
    filesystem.write_bytes(f"{folder}/{MANIFEST}", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))


def clear_staging(folder: str) -> None:
    """Removes what earlier, interrupted outputs left behind."""
    if not filesystem.is_local(folder):
        return
    for name in os.listdir(folder.removeprefix("file://")):
        if name.startswith(".staging-"):
            filesystem.remove(f"{folder}/{name}", recursive=True)
