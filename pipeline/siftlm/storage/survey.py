"""Says what is in a store by folder, and of each run what it needs of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from siftlm.storage.catalogue import Entry, by_folder, catalogue
from siftlm.storage.prune import known_folders
from siftlm.storage.runs import KnownRun, RunsOfStore, Wanted


@dataclass(frozen=True)
class FolderSize:
    """Counts what is in one folder of a store, and what of it the last publications of all runs need."""

    folder: str
    outputs: int
    bytes: int
    newest: float | None  # seconds since 1970
    needed: int
    needed_bytes: int


@dataclass(frozen=True)
class RunSize:
    """Counts what one run needs of a store, and what of that is not there."""

    name: str
    folder: str
    command: str
    finished: float | None  # seconds since 1970; None for a run that is not registered
    latest: bool  # whether its folder has published nothing since
    gone: bool  # whether its folder is not there any more
    outputs: int
    missing: int
    bytes: int


@dataclass(frozen=True)
class StoreSurvey:
    """Holds what a store has by folder, the runs that use it, and the paths of what no run wrote."""

    store: str
    folders: tuple[FolderSize, ...]
    runs: tuple[RunSize, ...]
    strangers: tuple[str, ...]


def survey(store: str, folders: Sequence[str] = ()) -> StoreSurvey:
    """Returns what is in a store; `folders` are those of runs that use it, registered or not."""
    runs = RunsOfStore.of(store, folders)
    contents, wanted = catalogue(store, known_folders(runs)), Wanted.of(runs.latest)
    sizes = {(entry.folder, entry.key): entry.bytes for entry in contents.entries if entry.complete}
    by_name = tuple(_of_folder(folder, entries, wanted) for folder, entries in by_folder(contents.entries))
    latest = set(map(id, runs.latest))
    of_runs = tuple(_of_run(run, sizes, latest=id(run) in latest) for run in runs.known)
    return StoreSurvey(store, by_name, of_runs, tuple(contents.strangers))


def _of_folder(folder: str, entries: Sequence[Entry], wanted: Wanted) -> FolderSize:
    times = [entry.modified for entry in entries if entry.modified is not None]
    needed = [entry for entry in entries if entry.complete and wanted.has(entry)]
    sizes = (sum(entry.bytes for entry in of) for of in (entries, needed))
    all_bytes, needed_bytes = sizes
    return FolderSize(folder, len(entries), all_bytes, max(times, default=None), len(needed), needed_bytes)


def _of_run(run: KnownRun, sizes: dict[tuple[str, str], int], *, latest: bool) -> RunSize:
    keys = [(folder, key) for folder, of_folder in run.needs.items() for key in of_folder]
    there = [sizes[key] for key in keys if key in sizes]
    command, finished = (run.record.command, run.record.finished) if run.record else ("run", None)
    missing = len(keys) - len(there)
    return RunSize(run.name, run.folder, command, finished, latest, run.is_gone, len(keys), missing, sum(there))
