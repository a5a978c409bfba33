"""Registers with a store what of it every finished run needs.

A run is written down at every publication, with the keys of all that a later run of the same configuration would read,
so that `siftlm store prune` knows it even where the run's folder has moved away or is gone. A record is a small file
`runs/<digest of folder, command and identity>.json` of the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import orjson

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.store import Store, digest

RUNS = "runs"
FORMAT = 1
Keys = Mapping[str, frozenset[str]]
"""Keys of outputs, or of other entries of a store, by the folder of the store that they are in."""


@dataclass
class Needs:
    """Collects by folder of the store the keys of what a run needs: outputs, tables, plans."""

    keys: dict[str, set[str]] = field(default_factory=dict)

    def add(self, folder: str, keys: Iterable[str]) -> None:
        self.keys.setdefault(folder, set()).update(keys)

    def stored_bytes(self, store: Store) -> dict[str, int]:
        """Returns the bytes on disk of what the run needs, by folder, in the order of the steps."""
        return {folder: _bytes_of(f"{store.root}/{folder}", keys) for folder, keys in self.keys.items() if keys}


def _bytes_of(folder: str, keys: set[str]) -> int:
    total = 0
    for listed in filesystem.listing(folder):
        if listed.name.partition(".")[0] in keys:
            total += listed.size if listed.kind == "file" else _bytes_below(f"{folder}/{listed.name}")
    return total


def _bytes_below(folder: str) -> int:
    inside = filesystem.listing(folder)
    below = sum(_bytes_below(f"{folder}/{listed.name}") for listed in inside if listed.kind == "folder")
    return below + sum(listed.size for listed in inside)


@dataclass(frozen=True)
class RunRecord:
    """Holds what a store knows of a run that finished: its folder, its command, and what it needs.

    `command` is that of siftlm, for the correlation commands leave outputs in a store, too. `identity` changes with
    everything that the output depends on: of one folder there is a record for each that it has published.
    """

    name: str
    folder: str
    command: str
    identity: str
    finished: float  # seconds since 1970
    needs: dict[str, list[str]]

    @property
    def key(self) -> str:
        return digest(RUNS, self.folder, self.command, self.identity)

    @property
    def keys(self) -> Keys:
        return {folder: frozenset(keys) for folder, keys in self.needs.items()}

    @property
    def of(self) -> tuple[str, str]:
        """Returns what successive records have in common: the folder, and the command."""
        return self.folder, self.command


def register(store: Store, name: str, folder: str, command: str, identity: str, needs: Needs) -> None:
    """Writes down that a run finished and what it needs, in place of a record of the same output."""
    keys = {stage: sorted(of_stage) for stage, of_stage in sorted(needs.keys.items())}
    record = RunRecord(name, paths.canonical(folder), command, identity, time.time(), keys)
    told = {"format": FORMAT, **asdict(record)}
    content = orjson.dumps({**told, "check": digest(told)}, option=orjson.OPT_SORT_KEYS)
    filesystem.write_bytes(record_path(store.root, record), content, durable=False)


def record_path(store: str, record: RunRecord) -> str:
    """Returns the path of a run's record in a store."""
    return f"{store}/{RUNS}/{record.key}.json"


def records(store: str) -> list[RunRecord]:
    """Returns the records of a store, those that finished last first.

    Raises:
        UserError: one is not as it was written, so that nobody knows what its run needs.
    """
    names = [name for name in filesystem.list_names(f"{store}/{RUNS}") if name.endswith(".json") and name[0] != "."]
    read = [_read(f"{store}/{RUNS}/{name}") for name in names]
    return sorted(read, key=lambda record: (-record.finished, record.folder, record.command, record.identity))


def _read(path: str) -> RunRecord:
    try:
        told = orjson.loads(filesystem.read_bytes(path))
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or told.pop("check", None) != digest(told) or told.pop("format", None) != FORMAT:
        raise UserError(
            f"store: must have records of its runs as they were written, got {path}, which is damaged; run its run "
            "again, or remove the file if what its run needs may go"
        )
    return RunRecord(**told)
