"""Opens n-gram models; those that no process can map are kept as hash tables in the user's cache folder.

A table is named by a digest of the file that it was made of, and has a digest of its own bytes at its end, which is
compared whenever it is opened.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from siftlm import filesystem
from siftlm.paths import is_local
from siftlm.scorers.files import changed
from siftlm.store import digest
from siftlm_kernels.caching import private_folder
from siftlm_kernels.ngram_convert import convert, is_mappable
from siftlm_kernels.ngram_model import NgramModel

VERSION = 1
FOLDER = "ngrams"  # of the user's cache
HEAD_BYTES = 1024  # from which a file's format shows
SMALL_BYTES = 16 << 20  # of a file that is not worth keeping tables of
KEPT_SECONDS = 30 * 86_400  # a table that nothing opened for so long goes when another is made

log = logging.getLogger(__name__)


def open_model(path: str) -> NgramModel:
    """Returns the model in a file, mapped so that processes share it.

    A binary file in KenLM's probing format on this machine is mapped as it is. Any other of more than `SMALL_BYTES` is
    converted once, by the first process that opens it. Where there is no folder or no room for that, every process
    reads it into its own memory, and this is logged; a small one it always does.

    Raises:
        ValueError: the file is no model, or damaged.
        OSError: it can't be read.
        UserError: it changed while it was read.
    """
    with filesystem.open_read(path) as stream:
        mappable, size = is_mappable(stream.read(HEAD_BYTES)), stream.seek(0, os.SEEK_END)
    if size <= SMALL_BYTES or (mappable and is_local(path)):
        return _read(path)
    folder = private_folder(FOLDER)
    if folder is None:
        return _in_memory(path, "the user's cache folder cannot be written")
    kept = _name(path, folder)
    try:
        return _kept(path, kept)
    except OSError as error:
        return _in_memory(path, f"{folder}: {error.strerror or error}")


def _in_memory(path: str, reason: str) -> NgramModel:
    model = _read(path)
    log.warning(
        "%s: every process reads the model into its own memory, for its tables cannot be kept: %s", path, reason
    )
    return model


def _read(path: str) -> NgramModel:
    if is_local(path):
        return NgramModel.load(filesystem.local(path))
    return NgramModel.parse(filesystem.read_bytes(path))


def _kept(path: str, kept: Path) -> NgramModel:
    """The model in a file of the cache, which is made where it is missing or damaged."""
    model = _load(kept)
    if model is None:
        with _alone(kept):
            model = _load(kept)
            if model is None:
                _make(path, kept)
                model = NgramModel.load(str(kept))
    os.utime(kept)
    return model


def _load(kept: Path) -> NgramModel | None:
    try:
        return NgramModel.load(str(kept)) if kept.exists() else None
    except ValueError:
        return None


@contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """Waits until no other process makes the same file."""
    with open(kept.with_suffix(".lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(path: str, kept: Path) -> None:
    _forget_unused(kept.parent)
    log.info("%s: is converted, once, to hash tables that processes share: %s", path, kept)
    made, state = str(kept.with_suffix(".new")), filesystem.signature(path)
    if kept != _name(path, kept.parent):
        raise changed(path)
    try:
        with _local_copy(path, made) as source:
            _convert(source, made)
        if filesystem.signature(path) != state or (not state and kept != _name(path, kept.parent)):
            raise changed(path)
        os.replace(made, kept)
    finally:
        Path(made).unlink(missing_ok=True)


def _name(path: str, folder: Path) -> Path:
    """The file of the cache that has the tables of a file's content."""
    return folder / f"{digest(VERSION, filesystem.fingerprint(path))}.bin"


def _convert(source: str, made: str) -> None:
    """Makes a file that can be mapped of one that cannot, or of a copy that can and is not needed any more."""
    with open(source, "rb") as stream:
        mappable = is_mappable(stream.read(HEAD_BYTES))
    if mappable:
        os.replace(source, made)
    else:
        convert(source, made)


@contextmanager
def _local_copy(path: str, made: str) -> Iterator[str]:
    """A file's path on this machine: its own, or that of a copy for the time."""
    if is_local(path):
        yield filesystem.local(path)
        return
    copy = Path(f"{made}.copy")
    try:
        with filesystem.open_read(path) as read, open(copy, "wb") as write:
            _copy(read, write)
        yield str(copy)
    finally:
        copy.unlink(missing_ok=True)


def _copy(read: BinaryIO, write: BinaryIO) -> None:
    while chunk := read.read(1 << 20):
        write.write(chunk)


def _forget_unused(folder: Path) -> None:
    """Removes tables that nothing opened for a month; who has one open keeps it."""
    oldest = time.time() - KEPT_SECONDS
    for table in folder.glob("*.bin"):
        if table.stat().st_mtime < oldest:
            table.unlink(missing_ok=True)
