"""Shares out devices between the processes of a user on a machine, by locks that die with their holder.

Every device has a file in a folder of the user's in the temporary folder. Whoever works on the device holds an
exclusive lock of it (flock), whoever waits for one a shared lock of the file `waiting`.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from siftlm.errors import UserError

WAITING = "waiting"


def folder() -> str:
    """Returns the folder of the locks, which is made where it is missing.

    Raises:
        UserError: something is there that others could change.
    """
    path = os.path.join(tempfile.gettempdir(), f"siftlm-devices-{os.getuid()}")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
    except OSError as error:
        raise UserError(f"{path}: must be a folder for the locks of devices, got {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(f"{path}: must be a folder that only this user can change, got another one; remove it")
    return path


def take(identity: str) -> int | None:
    """Returns a descriptor that holds the lock of a device, None where somebody else holds it.

    The lock is free when every process that has the descriptor has closed it, or died.
    """
    descriptor = _opened(identity)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def holder(identity: str) -> str:
    """Returns who was last given a device, in words."""
    descriptor = _opened(identity)
    try:
        return f"process {os.read(descriptor, 20).decode() or 'of unknown number'}"
    finally:
        os.close(descriptor)


@contextmanager
def waiting() -> Iterator[None]:
    """Lets others see, while the block runs, that this process waits for a device."""
    descriptor = _opened(WAITING)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def anybody_waits() -> bool:
    """Tells whether a process waits for a device."""
    descriptor = _opened(WAITING)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _opened(name: str) -> int:
    path = os.path.join(folder(), re.sub(r"[^A-Za-z0-9_.-]", "_", name))
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
