"""Decides what of a store may go, and removes it.

What runs that are kept need stays. Of the rest goes at once what runs need that are let go of, and what lives only as
long as a run works; what no run is known to need is an unfinished run's, and goes when it is old. A marker is removed
before its files, so that a prune that is killed leaves outputs that count as missing, and are made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.report.manifest import MANIFEST
from siftlm.stages.folders import registers_runs, sole_store
from siftlm.stages.registry import record_path
from siftlm.storage.catalogue import FIRST, Catalogue, Entry, catalogue
from siftlm.storage.runs import KnownRun, RunsOfStore, Wanted

DAY = 86_400.0


@dataclass(frozen=True)
class Choice:
    """Holds what a user wants to keep of a store.

    `keep` names folders of runs, `last` a number of runs; without both, every run's last publication is kept.
    """

    keep: tuple[str, ...] = ()
    last: int | None = None
    older_than_days: float = 7.0  # of what no run is known to need
    forget_gone: bool = False  # whether runs are let go of whose folders are gone


@dataclass
class Pruning:
    """Holds what of a store goes and what stays, each entry in one of the lists."""

    contents: Catalogue
    kept: list[KnownRun]
    dropped: list[KnownRun]
    needed: list[Entry] = field(default_factory=list)
    young: list[Entry] = field(default_factory=list)  # no run is known to need it, and it is not old
    gone: list[Entry] = field(default_factory=list)


def known_folders(runs: RunsOfStore) -> frozenset[str]:
    """Returns the folders of a store in which runs are known to have outputs."""
    return frozenset(chain.from_iterable(run.needs for run in runs.known))


def pruning(store: str, choice: Choice, own: str | None = None, now: float | None = None) -> Pruning:
    """Returns what would go of a store; `own` is the folder of a run that uses it, registered or not.

    Raises:
        UserError: nobody knows which runs use the store, or a run to keep is not one of them.
    """
    runs = RunsOfStore.of(store, [*choice.keep, *finished(own)])
    kept = _kept(runs, choice)
    dropped = [run for run in runs.known if run not in kept and run.record]
    made = Pruning(catalogue(store, known_folders(runs)), kept, dropped)
    wanted, let_go = Wanted.of(kept), Wanted.of(dropped)
    oldest = (time.time() if now is None else now) - DAY * choice.older_than_days
    for entry in made.contents.entries:
        _place(made, entry, wanted, let_go, oldest).append(entry)
    return made


def finished(folder: str | None) -> list[str]:
    """Returns the folder of a run, where there is one and the run has finished."""
    return [folder] if folder is not None and filesystem.exists(f"{folder}/{MANIFEST}") else []


def _kept(runs: RunsOfStore, choice: Choice) -> list[KnownRun]:
    if not choice.keep and not (runs.known and registers_runs(runs.store)):
        raise UserError(
            f"store: must know all runs that use it, got {runs.store}, which an earlier version made or "
            "whose records are gone; name the folders of those to keep with --keep"
        )
    if choice.keep or choice.last is not None:
        chosen = [*runs.named(choice.keep), *(runs.last(choice.last) if choice.last is not None else [])]
        return list({id(run): run for run in chosen}.values())
    return [run for run in runs.latest if not (choice.forget_gone and run.is_gone)]


def _place(made: Pruning, entry: Entry, wanted: Wanted, let_go: Wanted, oldest: float) -> list[Entry]:
    """The list of a pruning that an entry belongs to."""
    if not entry.complete:
        return made.gone
    if wanted.may_have(entry):
        return made.needed
    old = entry.modified is not None and entry.modified < oldest
    return made.gone if old or let_go.has(entry) else made.young


def prune(store: str, choice: Choice, own: str | None, say: Callable[[Pruning], None]) -> Pruning:
    """Removes what may go of a store that nobody else uses; `say` is told of it before.

    Raises:
        UserError: a run works in the store, or nobody knows which runs use it.
    """
    with sole_store(store):
        made = pruning(store, choice, own)
        say(made)
        for entry in made.gone:
            remove_entry(store, entry)
        for run in made.dropped:  # last: the same command again goes on where this one is killed
            if run.record:
                filesystem.remove(record_path(store, run.record))
    return made


def remove_entry(store: str, entry: Entry) -> None:
    """Removes the files of an entry, first those without which it counts as missing."""
    for path in sorted(entry.files, key=lambda path: (not path.endswith(FIRST), path)):
        filesystem.remove(f"{store}/{path}")
    for folder in {path.rpartition("/")[0] for path in entry.files} - {entry.folder}:
        filesystem.remove_folder(f"{store}/{folder}")
