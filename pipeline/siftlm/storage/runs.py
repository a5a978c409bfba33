"""Says which runs use a store, whether their folders are there, and what of the store they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.report.manifest import MANIFEST, read_manifest
from siftlm.stages.reference import MODEL_STEPS
from siftlm.stages.registry import Keys, RunRecord, records
from siftlm.stages.texts import IDS
from siftlm.storage.catalogue import SEALED, Entry
from siftlm.storage.place import store_of

UNTOLD = (*SEALED, IDS, *MODEL_STEPS)
"""What the folders of the store begin with that a manifest names no keys of, or not all."""


@dataclass(frozen=True)
class KnownRun:
    """Holds a run that uses a store, from its record there, or only from the manifest in its folder.

    A manifest has the keys of the outputs of shards and no others, so of such a run only these are known.
    """

    name: str
    folder: str
    needs: Keys
    record: RunRecord | None = None

    @cached_property
    def is_gone(self) -> bool:
        """Tells whether the run's folder is not where it was: removed, moved, or on a disk that is not there."""
        return not filesystem.exists(self.folder)

    def is_output(self, identity: str | None) -> bool:
        """Tells whether the run made the output with an identity."""
        return self.record is not None and (self.record.command, self.record.identity) == ("run", identity)

    @property
    def title(self) -> str:
        """Returns the run's folder, with the command that used the store where it was not `run`."""
        command = "" if self.record is None or self.record.command == "run" else f" (siftlm {self.record.command})"
        return f"{self.folder}{command}"


@dataclass(frozen=True)
class Wanted:
    """Holds what some runs need together: keys by folder, and whether nobody knows what else they need."""

    keys: Keys
    vague: bool

    @classmethod
    def of(cls, runs: Sequence[KnownRun]) -> Wanted:
        """Returns what runs need; vague where one is known by its manifest only."""
        keys: dict[str, set[str]] = {}
        for run in runs:
            for folder, of_folder in run.needs.items():
                keys.setdefault(folder, set()).update(of_folder)
        vague = any(run.record is None for run in runs)
        return cls({folder: frozenset(of_folder) for folder, of_folder in keys.items()}, vague)

    def has(self, entry: Entry) -> bool:
        """Tells whether a run is known to need an entry."""
        return entry.key in self.keys.get(entry.folder, ())

    def may_have(self, entry: Entry) -> bool:
        """Tells whether a run needs an entry, or may: what is in folders that its manifest does not tell of."""
        return self.has(entry) or (self.vague and entry.folder.startswith(UNTOLD))


@dataclass(frozen=True)
class RunsOfStore:
    """Holds the runs of a store, those that finished last first, each publication of a folder by itself."""

    store: str
    known: tuple[KnownRun, ...]

    @classmethod
    def of(cls, store: str, folders: Iterable[str] = ()) -> RunsOfStore:
        """Returns the runs that are registered in a store, and those of some folders that are not."""
        known = [KnownRun(record.name, record.folder, record.keys, record) for record in records(store)]
        registered = {run.folder for run in known}
        given = {paths.canonical(folder): folder for folder in folders}
        known += [_by_manifest(store, folder) for place, folder in given.items() if place not in registered]
        return cls(store, tuple(known))

    @cached_property
    def latest(self) -> list[KnownRun]:
        """Returns of each folder and command what finished last, and what the folder holds where that is another.

        A run that is killed just before it publishes is registered, and the output before it is still there.
        """
        latest: dict[tuple[str, str], KnownRun] = {}
        for run in self.known:
            latest.setdefault(run.record.of if run.record else (run.folder, ""), run)
        others = [run for run in self.known if run.record and latest[run.record.of] is not run]
        published = {folder: _published(folder) for folder in {run.folder for run in others}}
        return [*latest.values(), *(run for run in others if run.is_output(published[run.folder]))]

    def named(self, folders: Sequence[str]) -> list[KnownRun]:
        """Returns what finished last in each of some folders."""
        places = {paths.canonical(folder) for folder in folders}
        return [run for run in self.latest if run.folder in places]

    def last(self, number: int) -> list[KnownRun]:
        """Returns the runs that finished last."""
        return [run for run in self.known if run.record][:number]


def _published(folder: str) -> str | None:
    """The identity of the output in a run's folder; None where there is none, or it cannot be read."""
    try:
        return str(read_manifest(folder)["identity"]) if filesystem.exists(f"{folder}/{MANIFEST}") else None
    except UserError:  # damaged: the next run makes it again
        return None


def _by_manifest(store: str, folder: str) -> KnownRun:
    if not filesystem.exists(f"{folder}/{MANIFEST}"):
        raise UserError(f"--keep: must be folders of finished runs of {store}, got {folder}, of which it knows nothing")
    if paths.canonical(store_of(folder)) != paths.canonical(store):
        raise UserError(f"--keep: must be folders of runs of {store}, got {folder}, whose store is {store_of(folder)}")
    manifest: dict[str, Any] = read_manifest(folder)
    needs: dict[str, set[str]] = {}
    for shard in manifest["inputs"]:
        for step, key in shard["keys"].items():
            needs.setdefault(step, set()).add(key)
    keys = {step: frozenset(of_step) for step, of_step in needs.items()}
    return KnownRun(manifest["name"], paths.canonical(folder), keys)
