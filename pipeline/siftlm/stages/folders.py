"""Checks, locks and clears the folders of a run, which a mark file identifies as siftlm's.

A mark is made in an empty or new folder only. What is cleared away are the names that siftlm itself gives, in the
places where it gives them; no link is followed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import orjson

from siftlm import filesystem, paths
from siftlm.engine.audit import WRITTEN as PARTS
from siftlm.engine.gather import GATHERED
from siftlm.engine.spill import LINKS
from siftlm.engine.values import SUFFIX
from siftlm.errors import UserError
from siftlm.patterns import OWNER, STORE_LOCK, STORE_MARK
from siftlm.report.manifest import CARD, MANIFEST, REPORT
from siftlm.stages import leases
from siftlm.stages.inputs import CACHE
from siftlm.stages.write import PART

LOCK = ".lock"
METRICS_BEGIN = b"# HELP siftlm_"
MODEL_MARK = "siftlm-model.json"
STORE = "store"  # of a run that names none
REGISTERS = "registers runs"  # fact of a store's mark
PAPERS = ("errors.parquet", REPORT, CARD)

_KEY = "[0-9a-f]{32}"
_STAGING = re.compile(r"\.staging-[0-9a-f]{16}")
_LINKED = re.compile(_KEY)
_OF_RUN = re.compile("|".join(map(re.escape, (OWNER, MANIFEST, *PAPERS))))
_OWNER, _STORE_MARK = re.compile(re.escape(OWNER)), re.compile(re.escape(STORE_MARK))
_OF_STORE = re.compile("|".join(map(re.escape, (STORE_MARK, CACHE))))
_OF_STAGE = re.compile(rf".*{_KEY}.*")
_ANSWER = re.compile(rf"{_KEY}{re.escape(SUFFIX)}")
_UNFINISHED = re.compile(rf"\.train-\w+|{_KEY}{re.escape(SUFFIX)}\.{_KEY}")
_ANYTHING = re.compile(r".*")


def check_folders(folder: str, name: str, store: str, metrics_file: str | None = None) -> None:
    """Raises UserError if a run could not use its output folder, store or metrics file; writes nothing."""
    _check_apart(folder, store)
    _check_kinds(folder)
    _check_place("output.folder", folder, (LOCK, *PARTS))
    check_owner(folder, name)
    _check_place("store", store, (STORE_LOCK,))
    check_store(store)
    if metrics_file is not None:
        check_file("metrics_file", metrics_file, METRICS_BEGIN)


def _check_apart(folder: str, store: str) -> None:
    run, own = paths.canonical(folder), paths.canonical(store)
    inside = any(paths.is_within(own, f"{run}/{part}") for part in PARTS)
    if inside or paths.is_within(run, own):
        raise UserError(
            f"store: must be a folder of its own, got {store} with output.folder {folder}; "
            f"the default is {folder}/{STORE}"
        )


def _check_place(place: str, folder: str, inner: Sequence[str]) -> None:
    """A local folder that is there, or can be made, and written to, with what is in it of some names."""
    if not paths.is_local(folder):
        return
    there = _nearest(folder)
    if not os.path.isdir(there):
        raise UserError(f"{place}: must be writable, got {folder}; {there} is no folder")
    for lock in (LOCK, STORE_LOCK):
        if lock in inner and os.path.islink(f"{folder}/{lock}"):
            raise UserError(f"{place}: must be writable, got {folder}; its {lock} is a link")
    for path in (there, *(f"{folder}/{name}" for name in inner if os.path.lexists(f"{folder}/{name}"))):
        if not os.access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0)):
            raise UserError(f"{place}: must be writable, got {folder}; Permission denied")


def _check_kinds(folder: str) -> None:
    """A local output folder has no file where a run puts a folder, and no folder where it puts a file."""
    if not paths.is_local(folder):
        return
    for path in (f"{folder}/{name}" for name in PARTS):
        if os.path.lexists(path) and not os.path.isdir(path):
            raise UserError(f"output.folder: must have a folder for parts, got {path}, which is none")
    for path in (f"{folder}/{name}" for name in (OWNER, MANIFEST, *PAPERS)):
        if os.path.isdir(path):
            raise UserError(f"output.folder: must have a file where a run writes one, got the folder {path}")


def check_file(place: str, path: str, begins: bytes) -> None:
    """Raises UserError if a file cannot be written atomically, or exists and does not begin with `begins`."""
    if not paths.is_local(path):
        return
    if os.path.isdir(path):
        raise UserError(f"{place}: must be a file, got the folder {path}")
    if os.path.lexists(path) and not os.path.isfile(path):  # a rename would take the place of a device
        raise UserError(f"{place}: must be an ordinary file, got {path}, which is something else")
    above = _nearest(os.path.dirname(os.path.abspath(path)))
    if not os.path.isdir(above) or not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{place}: must be in a folder that can be written to, got {path}")
    if os.path.isfile(path) and os.path.getsize(path):
        with filesystem.open_read(path) as file:
            if file.read(len(begins)) != begins:
                raise UserError(f"{place}: must be new or written by siftlm, got {path}, which begins otherwise")


def check_results(place: str, folder: str, names: Sequence[str], is_ours: Callable[[str], bool]) -> None:
    """Raises UserError if results cannot be written to a folder, or would replace files that siftlm did not write.

    A folder in which no file of these `names` is, may hold anything; a run's own may hold results that it replaces.
    """
    _check_place(place, folder, names)
    taken = [name for name in names if filesystem.exists(f"{folder}/{name}")]
    homes = (folder, os.path.dirname(folder))
    if taken and not is_ours(folder) and not any(filesystem.exists(f"{home}/{OWNER}") for home in homes if home):
        raise UserError(f"{place}: must not hold files that siftlm did not write, got {folder} with {taken[0]}")


def check_model_folder(folder: str) -> None:
    """Raises UserError unless a model's folder is local, and new, empty or marked by siftlm."""
    if not paths.is_local(folder):
        raise UserError(f"FOLDER: must be a local folder, got {folder}")
    _check_place("FOLDER", folder, ())
    entries = filesystem.list_entries(folder)
    if entries and MODEL_MARK not in entries:
        raise UserError(f"FOLDER: must be empty, new or hold a model of siftlm's, got {folder} with {entries[0]}")


def _nearest(path: str) -> str:
    """A path, or the nearest above it that is there."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def check_owner(folder: str, name: str) -> bool:
    """Tells whether a run's folder is new; raises UserError if it belongs to another run or program."""
    owner = f"{folder}/{OWNER}"
    if not filesystem.exists(owner):
        strangers = [entry for entry in filesystem.list_entries(folder) if not _is_beginning(folder, entry)]
        if strangers:
            raise UserError(f"output.folder: must be empty or a run's folder, got {folder} with {strangers[0]}")
        return True
    try:
        run = orjson.loads(filesystem.read_bytes(owner))["name"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        raise UserError(f"output.folder: must belong to a run, got {folder} with a damaged {OWNER}") from None
    if run != name:
        raise UserError(f"output.folder: must be new or belong to run {name!r}, got {folder} of run {run!r}")
    return False


def _is_beginning(folder: str, entry: str) -> bool:
    """Whether a run that was killed before it had made its mark may have left an entry, or a store is there already."""
    if entry == STORE:
        return is_store(f"{folder}/{STORE}")
    return entry == LOCK or filesystem.is_temporary(entry, _OWNER)


def is_store(folder: str) -> bool:
    """Tells whether a folder has the mark of a siftlm store."""
    return filesystem.exists(f"{folder}/{STORE_MARK}")


def registers_runs(store: str) -> bool:
    """Tells whether a store has registered its runs from the first one on, as those of earlier versions have not."""
    try:
        mark = orjson.loads(filesystem.read_bytes(f"{store}/{STORE_MARK}"))
    except orjson.JSONDecodeError:  # an empty one, by hand
        return False
    return isinstance(mark, dict) and mark.get(REGISTERS) is True


def check_store(store: str) -> None:
    """Raises UserError unless a folder is new, empty or marked as a store of siftlm's."""
    if is_store(store):
        return
    entries = filesystem.list_entries(store)
    strangers = [e for e in entries if e != STORE_LOCK and not filesystem.is_temporary(e, _STORE_MARK)]
    if strangers:
        hint = f"; where an earlier version made it, make an empty file {STORE_MARK} in it" * (STORE_LOCK in entries)
        raise UserError(f"store: must be empty, new or a store of siftlm's, got {store} with {strangers[0]}{hint}")


def check_free(folder: str) -> None:
    """Raises UserError if another run holds the lock of an output folder."""
    if not paths.is_local(folder) or not filesystem.exists(f"{folder}/{LOCK}"):
        return
    with filesystem.open_read(f"{folder}/{LOCK}") as file:
        hold(file.fileno(), folder, fcntl.LOCK_SH)


def hold(descriptor: int, folder: str, kind: int = fcntl.LOCK_EX) -> None:
    """Locks a run's folder until the lock file is closed; raises UserError if another run holds the lock."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"output.folder: must not be in use, got {folder}; another siftlm run holds it") from None


@contextmanager
def shared_store(store: str) -> Iterator[None]:
    """Locks a store that several runs may share; a run that is alone first removes what killed runs left."""
    check_store(store)
    with ExitStack() as locks:
        with writable("store", store):
            filesystem.makedirs(store)
            if not is_store(store):
                filesystem.write_bytes(f"{store}/{STORE_MARK}", orjson.dumps({"store": "siftlm", REGISTERS: True}))
            if paths.is_local(store):
                _share(locks.enter_context(lock_file(f"{store}/{STORE_LOCK}")), store)
            else:
                locks.enter_context(leases.shared(store))
        yield


@contextmanager
def sole_store(store: str) -> Iterator[None]:
    """Locks a store for this process alone; raises UserError where a run works in it.

    What killed runs left is removed first. A local store has a lock of the system's, which ends with its process; an
    object store has leases (`siftlm.stages.leases`).
    """
    with ExitStack() as locks:
        if not paths.is_local(store):
            locks.enter_context(leases.sole(store))
        else:
            with writable("store", store):
                lock = locks.enter_context(lock_file(f"{store}/{STORE_LOCK}"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"store: must not be in use, got {store}; a siftlm run works in it") from None
            clear_store(store)
        yield


def _share(lock: int, store: str) -> None:
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clear_store(store)
    fcntl.flock(lock, fcntl.LOCK_SH)


@contextmanager
def lock_file(path: str) -> Iterator[int]:
    """Opens or creates a file for locking, without changing its content or following a link."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def writable(place: str, folder: str) -> Iterator[None]:
    """Turns an OSError inside the block into a one-line UserError that the folder is not writable."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{place}: must be writable, got {folder}; {error.strerror or error}") from None


def clear_store(store: str) -> None:
    """Removes what killed runs left in a store: temporary files, and files needed only during a run."""
    for linked in _folders(f"{store}/{LINKS}", _LINKED):
        filesystem.remove(linked, recursive=True)
    filesystem.remove_temporaries(store, _OF_STORE)
    for answer in _folders(f"{store}/{GATHERED}", _ANSWER, files=True):
        filesystem.remove(answer)
    for stage in _folders(store, _ANYTHING):
        filesystem.remove_temporaries(stage, _OF_STAGE)
        for left in (*_folders(stage, _UNFINISHED), *_folders(stage, _UNFINISHED, files=True)):
            filesystem.remove(left, recursive=True)
        for part in _folders(stage, _ANYTHING):
            keyed = _LINKED.fullmatch(os.path.basename(part))
            filesystem.remove_temporaries(part, _ANYTHING if keyed else _OF_STAGE)


def clear_run(folder: str) -> None:
    """Removes the temporary files that killed runs left in a run's folder, but not in its store."""
    filesystem.remove_temporaries(folder, _OF_RUN)
    for home in (folder, *_folders(folder, _STAGING)):
        for part in PARTS:
            filesystem.remove_temporaries(f"{home}/{part}", PART)


def clear_staging(folder: str) -> None:
    """Removes the staging folders that interrupted runs left in an output folder."""
    for staging in _folders(folder, _STAGING):
        filesystem.remove(staging, recursive=True)


def _folders(folder: str, names: re.Pattern[str], *, files: bool = False) -> list[str]:
    """The folders, or the files, of some names directly in a local folder; links are none."""
    if not paths.is_local(folder) or os.path.islink(folder) or not os.path.isdir(folder):
        return []
    is_wanted = os.DirEntry.is_file if files else os.DirEntry.is_dir
    with os.scandir(folder) as entries:
        return sorted(e.path for e in entries if names.fullmatch(e.name) and is_wanted(e, follow_symlinks=False))
