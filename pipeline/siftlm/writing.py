"""Writes files that appear whole or not at all, on a disk or in an object store."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import fsspec.spec

OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")  # as write_local names them


@contextmanager
def write_local(path: str, durable: bool) -> Iterator[BinaryIO]:
    """Opens a file that takes its name when the block ends well; `durable` ones outlive a power cut."""
    folder, name = os.path.split(os.path.abspath(path))
    make_folder(folder)
    # Two workers may write the same output at once: each has its own temporary file, the last rename wins.
    temporary = os.path.join(folder, f".{name[:200]}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in OF_THE_DISK and error.filename is None:
            error.filename = path  # a write does not say where
        remove_if_there(temporary)
        raise
    if durable:
        sync_folder(folder)


def make_folder(path: str) -> None:
    """Makes a folder and those above it; what takes no folders says so, where /proc says that there is nothing."""
    try:
        os.makedirs(path, exist_ok=True)
    except FileNotFoundError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from None


def remove_if_there(path: str) -> None:
    """Removes a file, or a link whatever it leads to."""
    if os.path.lexists(path):
        os.unlink(path)


def sync_folder(folder: str) -> None:
    """Makes a rename durable; file systems that cannot sync a directory are left as they are."""
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


@contextmanager
def write_object(fs: Any, inner: str) -> Iterator[BinaryIO]:
    """Opens an object that is there when the block ends well, and not at all otherwise."""
    if parent := inner.rpartition("/")[0]:
        fs.makedirs(parent, exist_ok=True)
    stream: Any = fs.open(inner, "wb")
    try:
        yield stream
    except BaseException:
        stream.discard()
        if isinstance(stream, fsspec.spec.AbstractBufferedFile):
            stream.closed = True  # else the finalizer would complete the upload
        raise
    stream.close()
