"""Decides which folder keeps the machine code of compiled kernels between processes; imports no compiler."""

from __future__ import annotations

import logging
import os
import tempfile
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

BESIDE_SOURCE = ""
"""Stands for the `__pycache__` of the package."""

PACKAGE = Path(__file__).parent
NUMBA_CACHE_DIR = "NUMBA_CACHE_DIR"
OTHERS_WRITE = 0o022


@cache
def cache_folder() -> str | None:
    """Returns the folder that keeps machine code, or None where no folder can be written.

    The folder that `NUMBA_CACHE_DIR` names, BESIDE_SOURCE, or the user's (`private_folder`):
    the first of them that can be written. What is read from it is run, so the user's has to be the user's alone.
    The first of them that can be written. What is read from it is run, so the user's has to be the user's alone.
    Another choice than the first is logged, once a process.
    """
    wanted = os.environ.get(NUMBA_CACHE_DIR) or BESIDE_SOURCE
    chosen = _chosen(wanted)
    if chosen is None:
        instead = f"every process compiles its kernels again; {NUMBA_CACHE_DIR} names a folder to keep them in"
    else:
        instead = f"compiled kernels are kept in {_path(chosen)}"
    if chosen != wanted:
        log.warning("%s: cannot be written, %s", _path(wanted), instead)
    return chosen


def _chosen(wanted: str) -> str | None:
    for folder in (wanted, BESIDE_SOURCE):
        if _can_write(_path(folder)):
            return folder
    own = private_folder("kernels")
    return None if own is None else str(own)


def _path(folder: str) -> Path:
    return Path(folder) if folder != BESIDE_SOURCE else PACKAGE / "__pycache__"


def private_folder(name: str) -> Path | None:
    """Returns `siftlm/<name>` in the user's cache folder, made where it is missing; None where it is of no use.

    It has to be the user's alone, and to be writable.
    """
    own = users_folder(name)
    return own if own is not None and _is_private(own) and _can_write(own) else None


def users_folder(name: str) -> Path | None:
    """Returns `siftlm/<name>` in the user's cache folder by the XDG rules, or None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the rules say to pass over such a value
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base, "siftlm", name) if os.path.isabs(base) else None


def _is_private(folder: Path) -> bool:
    """Whether a folder, made where it is missing, belongs to this user and nobody else may write into it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return False
    return state.st_uid == os.geteuid() and not state.st_mode & OTHERS_WRITE and not folder.is_symlink()


def _can_write(folder: Path) -> bool:
    """Whether a file can be made in a folder, which is made where it is missing: permissions alone do not tell."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
