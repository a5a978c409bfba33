"""Locks the output folder of a run, and replaces its previous output by a complete new one.

Output shards are written to a staging folder. When all are there, the manifest is removed, the shards move to
`data/` (and `rejects/`), and the new manifest is written last: a folder with a manifest is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from siftlm import filesystem, paths
from siftlm.engine.audit import WRITTEN as PARTS
from siftlm.engine.shards import Task
from siftlm.errors import UserError, one_line
from siftlm.patterns import OWNER
from siftlm.report.card import dataset_card
from siftlm.report.manifest import CARD, MANIFEST, REPORT, paper, read_manifest, write_manifest
from siftlm.stages import folders
from siftlm.stages.annotate import STAGE as SIGNALS
from siftlm.stages.columns import SCORES
from siftlm.stages.ingest import REJECTS
from siftlm.stages.ingest import STAGE as DOCUMENTS
from siftlm.stages.inputs import digests
from siftlm.stages.origins import Origins
from siftlm.stages.texts import doc_ids
from siftlm.stages.write import PART
from siftlm.store import Marker, Store
from siftlm.tables import open_parquet

log = logging.getLogger(__name__)

ERRORS = "errors.parquet"
ERROR_SCHEMA = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("position", pa.int64()),
        pa.field("offset", pa.int64()),
        pa.field("doc_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
        pa.field("records", pa.int64(), nullable=False),  # that are lost, where one entry tells of several
    ]
)


@contextmanager
def workspace(folder: str, name: str, store: str) -> Iterator[Store]:
    """Locks a run's folder for one process and yields its store; raises UserError for another run's folder.

    What killed runs left there is removed, and in the store too unless somebody else uses it.
    """
    folders.check_folders(folder, name, store)
    with ExitStack() as locks:
        with folders.writable("output.folder", folder):
            filesystem.makedirs(folder)
            if paths.is_local(folder):
                folders.hold(locks.enter_context(folders.lock_file(f"{folder}/{folders.LOCK}")), folder)
            if folders.check_owner(folder, name):  # once more: another run may have come first
                filesystem.write_bytes(f"{folder}/{OWNER}", orjson.dumps({"name": name}))
            folders.clear_run(folder)
        locks.enter_context(folders.shared_store(store))
        yield Store(store)


def published(folder: str, identity: str, store: Store) -> dict[str, Any] | None:
    """Returns the folder's manifest if the output is complete, undamaged and has this identity, else None.

    Damaged files are logged, and the manifest is removed, whose presence says that the folder is complete.
    """
    path = f"{folder}/{MANIFEST}"
    if not filesystem.exists(path):
        return None
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        _tell(str(error))
        filesystem.remove(path)
        return None
    if manifest.get("identity") != identity:
        return None
    if damaged := _damage(folder, manifest, store):
        for part, reason in damaged.items():
            _tell(f"output.folder: {folder}/{part} is damaged, {reason}")
        filesystem.remove(path)
        return None
    return manifest


def _damage(folder: str, manifest: dict[str, Any], store: Store) -> dict[str, str]:
    """What is wrong with the written files that are not as the manifest has them, by path."""
    written = (*manifest["data"], *manifest["rejects"], manifest["errors"], *manifest["papers"])
    wanted = {part["path"]: part for part in written}
    sizes = {
        f"{part}/{name}".lstrip("/"): size
        for part in ("", *PARTS)
        for name, size in filesystem.list_sizes(f"{folder}/{part}".rstrip("/")).items()
    }
    complete = [path for path in wanted if sizes.get(path) == wanted[path]["bytes"]]
    damaged = {path: "it is not whole" if path in sizes else "it is gone" for path in wanted.keys() - set(complete)}
    # What an object store holds it does not change by itself, and hashing it here would download it.
    checksums = digests([f"{folder}/{path}" for path in complete], store) if paths.is_local(folder) else {}
    for path in complete if checksums else ():
        if f"xxh3_128:{checksums[f'{folder}/{path}']}" != wanted[path]["checksum"]:
            damaged[path] = "its checksum is not that of what was written"
    return dict(sorted(damaged.items()))


def _tell(damage: str) -> None:
    log.warning("%s", one_line(f"{damage}; it is made again"))


def publish(folder: str, staging: str, data: Sequence[Marker], rejects: Sequence[Marker]) -> None:
    """Moves the staged shards to the output folder, where they replace earlier shards and no other files.

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
        if names:
            filesystem.sync(f"{folder}/{part}")


def write_errors(
    folder: str,
    selected: Sequence[Task],
    markers: Mapping[str, Sequence[Marker]],
    store: Store,
    places: Sequence[Origins],
) -> dict[str, Any]:
    """Writes errors.parquet, with the file and position of every record that failed, and returns its manifest entry.

    `markers` are those of all stages; an output without an error is not read. `places` has the files of every shard.
    """
    with open_parquet(f"{folder}/{ERRORS}", ERROR_SCHEMA) as out:
        for at, task in enumerate(selected):
            of_shard = task, store, places[at]
            tables = [_ingest_errors(*of_shard)] if markers[DOCUMENTS][at].errors else []
            tables += [_failures(column, *of_shard) for column in markers[SIGNALS][at].facts.get("failures", {})]
            for stage, key in task.inputs.items():
                if stage.startswith(SCORES) and markers[stage][at].errors:
                    tables.append(_score_errors(stage, key, *of_shard))
            for table in tables:
                for batch in table.to_batches():
                    out.write(batch)
    return {"path": ERRORS, "rows": out.rows, "bytes": out.seal.size, "checksum": f"xxh3_128:{out.seal.digest}"}


def _ingest_errors(task: Task, store: Store, places: Origins) -> pa.Table:
    table = store.table(DOCUMENTS, task.inputs[DOCUMENTS], suffix=REJECTS)
    table = table.filter(pc.equal(table["kind"], "error"))
    columns = {name: table[name].combine_chunks() for name in table.schema.names if name != "kind"}
    return _errors("ingest", places, columns)


def _failures(column: str, task: Task, store: Store, places: Origins) -> pa.Table:
    """The documents that a scorer failed on, which are no less documents for it."""
    errors = store.table(SIGNALS, task.inputs[SIGNALS], [column])[column].combine_chunks()
    return _of_documents(SIGNALS, task, store, places, pa.repeat(column, len(errors)), detail=errors)


def _score_errors(stage: str, key: str, task: Task, store: Store, places: Origins) -> pa.Table:
    return _of_documents(stage, task, store, places, store.table(stage, key, ["error"])["error"].combine_chunks())


def _of_documents(
    stage: str, task: Task, store: Store, places: Origins, reasons: pa.Array, detail: pa.Array | None = None
) -> pa.Table:
    """The errors of documents; those have none whose detail, or else whose reason, is null."""
    rows = pc.indices_nonzero(pc.is_valid(reasons if detail is None else detail))
    positions = store.table(SIGNALS, task.inputs[SIGNALS], ["position"])["position"].combine_chunks()
    columns = {"position": positions, "doc_id": doc_ids(task, store), "reason": reasons}
    columns |= {} if detail is None else {"detail": detail}
    taken = {name: column.take(rows) for name, column in columns.items()}
    return _errors(stage, places, {**taken, "records": pa.repeat(1, len(rows))})


def _errors(stage: str, places: Origins, columns: Mapping[str, Any]) -> pa.Table:
    """The errors of a shard in one stage; null where no column is given."""
    rows = len(columns["reason"])
    paths, positions = places.of(columns["position"])
    given = {"stage": pa.repeat(stage, rows), **columns, "shard": paths, "position": positions}
    return pa.table([given.get(f.name, pa.nulls(rows, f.type)) for f in ERROR_SCHEMA], schema=ERROR_SCHEMA)


def write_papers(folder: str, manifest: dict[str, Any], schema: pa.Schema | None) -> None:
    """Writes the dataset card, then the manifest, whose presence says that the output is complete."""
    columns = {f.name: str(f.type) for f in schema} if schema is not None else {}
    filesystem.write_bytes(f"{folder}/{CARD}", dataset_card(manifest, columns).encode())
    manifest["papers"] = [paper(folder, path) for path in (REPORT, CARD)]
    write_manifest(folder, manifest)
