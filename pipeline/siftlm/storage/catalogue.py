"""Catalogues a store: every output with its files, bytes and age, and what lies there that no run wrote.

Nothing but names is looked at, and no link is followed. A file is the store's if its folder and its name are such as
siftlm gives; anything else is a stranger, which is told and never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from siftlm import filesystem
from siftlm.engine.gather import GATHERED
from siftlm.engine.shards import PLANS
from siftlm.engine.spill import LINKS
from siftlm.engine.values import SUFFIX
from siftlm.errors import UserError
from siftlm.filesystem import TEMPORARY, FolderItem
from siftlm.patterns import STORE_LOCK, STORE_MARK
from siftlm.stages import leases
from siftlm.stages.commonness.work import NGRAMS
from siftlm.stages.derived import ANSWERS
from siftlm.stages.ingest import REJECTS
from siftlm.stages.inputs import CACHE
from siftlm.stages.join.table import FOLDER as TABLES
from siftlm.stages.prior.step import PRIORS
from siftlm.stages.registry import RUNS
from siftlm.stages.select import SELECTIONS
from siftlm.stages.summary import SUMMARIES
from siftlm.store import Store

WORKING = frozenset({PLANS, GATHERED, LINKS, SUMMARIES})
"""Folders of what is needed only while a run works."""
SEALED = frozenset({TABLES, NGRAMS, SELECTIONS, ANSWERS, PRIORS})
"""Folders of what has no marker, but a checksum of its own."""
OWN_FILES = frozenset({STORE_MARK, STORE_LOCK, CACHE})
OWN_FOLDERS = frozenset({RUNS, leases.FOLDER})
DONE = ".done"
FIRST = (DONE, SUFFIX)  # goes first: without it, an output counts as missing

_KEY = r"[0-9a-f]{32}"
_SUFFIXES = "|".join(map(re.escape, (DONE, SUFFIX, REJECTS, ".parquet")))
_OF_OUTPUT = re.compile(rf"({_KEY}(?:-{_KEY})?)(?:{_SUFFIXES})")
_OF_PASS = re.compile(rf"({_KEY}){re.escape(SUFFIX)}\.{_KEY}")
_OF_PLAN = re.compile(rf".+-({_KEY})\.jsonl")
_KEYED = re.compile(rf"{_KEY}(?:-{_KEY})?")
_MODEL = r"model(?:-\d+-of-\d+)?\.safetensors|(?:(?:generation_|tokenizer_)?config|tokenizer|special_tokens_map)\.json"
_INSIDE = re.compile(rf"[\w-]+\.(?:value|arrow|zst|bin|parquet)|{_MODEL}")  # what a folder without a marker may hold
_IN_THE_MAKING = re.compile(r"\.train-\w+")


@dataclass
class Entry:
    """Holds one output of a step, or another thing that a run keeps: its files by path, with their sizes."""

    folder: str  # of the store
    key: str
    files: dict[str, int] = field(default_factory=dict)
    modified: float | None = 0.0  # of the newest file; None where that of any is unknown
    complete: bool = False  # whether it is whole, so that a run would take it over

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    def add(self, path: str, listed: FolderItem) -> None:
        self.files[path] = listed.size
        known = self.modified is not None and listed.modified is not None
        self.modified = max(self.modified or 0.0, listed.modified or 0.0) if known else None


@dataclass
class Catalogue:
    """Holds what is in a store: the entries of runs, and the paths of what no run wrote."""

    root: str
    entries: list[Entry] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)


def catalogue(store: str, known: frozenset[str]) -> Catalogue:
    """Returns what is in a store; `known` are the folders in which runs are known to have outputs."""
    made = Catalogue(store)
    for listed in filesystem.listing(store):
        if listed.kind == "folder" and listed.name not in OWN_FOLDERS:
            _look(made, listed.name, known)
        elif listed.kind != "folder" and listed.name not in OWN_FILES and not _is_temporary(listed.name):
            made.strangers.append(listed.name)
    return made


def _look(made: Catalogue, folder: str, known: frozenset[str]) -> None:
    """Adds what is in a folder of the store, or one folder further down: `scores/<name>`."""
    entries: dict[str, Entry] = {}
    strangers: list[str] = []
    for listed in filesystem.listing(f"{made.root}/{folder}"):
        path, key = f"{folder}/{listed.name}", _key_of(folder, listed)
        if key is not None:
            entry = entries.setdefault(key, Entry(folder, key))
            strangers += _add(made.root, entry, path, listed)
        elif _is_temporary(listed.name):
            continue
        elif listed.kind == "folder" and "/" not in folder:
            _look(made, path, known)
        else:
            strangers.append(path)
    ours = folder in WORKING | SEALED or folder.startswith(f"{PLANS}/") or folder in known
    if ours or any(entry.complete for entry in entries.values()):
        made.entries += entries.values()
    else:  # names like a run's, in a folder that no run is known to have made
        strangers += [path for entry in entries.values() for path in entry.files]
    made.strangers += sorted(strangers)


def _key_of(folder: str, listed: FolderItem) -> str | None:
    """The key of the entry that something in a folder of the store belongs to; None where it is no run's."""
    top = folder.partition("/")[0]
    if listed.kind == "folder":
        return listed.name if _KEYED.fullmatch(listed.name) else None
    if listed.kind == "other":
        return None
    if top == PLANS:
        named = _OF_PLAN.fullmatch(listed.name)
        return named[0] if named else None
    named = _OF_OUTPUT.fullmatch(listed.name)
    if named is None and (passing := _OF_PASS.fullmatch(listed.name)):
        return passing[0]  # an entry of its own: it is no part of the output
    return named[1] if named else None


def _add(root: str, entry: Entry, path: str, listed: FolderItem) -> list[str]:
    """Adds a file or a folder to an entry, and returns what of the folder is no run's."""
    if listed.kind == "file":
        entry.add(path, listed)
        sealed = entry.folder in SEALED and path.endswith(SUFFIX)
        entry.complete |= path.endswith(DONE) or sealed
        return []
    strangers = []
    sealed_names = _sealed_names(root, entry)
    for inside in filesystem.listing(f"{root}/{path}"):
        within = f"{path}/{inside.name}"
        ours = inside.name in sealed_names if sealed_names is not None else _INSIDE.fullmatch(inside.name) is not None
        if inside.kind == "file" and ours:
            entry.add(within, inside)
            entry.complete |= entry.folder == NGRAMS or (entry.folder == TABLES and inside.name.endswith(SUFFIX))
        elif not _is_temporary(inside.name):
            strangers.append(within)
    return strangers


def _sealed_names(root: str, entry: Entry) -> frozenset[str] | None:
    """The names of the files of an output that is a folder, by its marker; None where it has no marker."""
    store = Store(root, owned=False)
    if entry.folder in WORKING | SEALED or not store.is_done(entry.folder, entry.key):
        return None
    try:
        return frozenset(suffix.lstrip("/") for suffix in store.marker(entry.folder, entry.key).files)
    except UserError:  # a damaged marker, which a run makes again
        return None


def _is_temporary(name: str) -> bool:
    """Whether something is in the making, or was when its process was killed: the next run clears it away."""
    return TEMPORARY.fullmatch(name) is not None or _IN_THE_MAKING.fullmatch(name) is not None


def by_folder(entries: list[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yields (folder, entries) for every folder of a store, in the order of their names."""
    folders: Mapping[str, list[Entry]] = {folder: [] for folder in sorted({entry.folder for entry in entries})}
    for entry in entries:
        folders[entry.folder].append(entry)
    yield from folders.items()
