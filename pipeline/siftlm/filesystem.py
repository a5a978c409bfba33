"""Files behind one interface: local paths, gs://, s3:// and memory://, by fsspec.

A local path is written under a temporary name, synced and renamed, so a reader sees a whole file or none.
Object stores show an object when its upload is complete, so there it is written once, under its own name.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import fsspec
import fsspec.core
import fsspec.spec
import xxhash

from siftlm.errors import UserError

_GLOB = frozenset("*?[")
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
_CONTENT_KEYS = ("md5Hash", "ETag", "etag", "crc32c", "contentHash")
"""What object stores call the digest of an object's content, in order of preference."""

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # as _write_local names them


@dataclass(frozen=True, order=True)
class InputFile:
    """A file that a pattern matched: a path that `open_read` opens, and its size."""

    path: str
    size: int


def expand(paths: Sequence[str]) -> list[InputFile]:
    """The files that paths, directories and globs name: sorted by path, each once.

    Below a directory or a glob, names that begin with `.` or `_`, or end with `.crc` or `.tmp`, are left out
    with all that is in them: other jobs leave them behind (`_SUCCESS`, `_temporary`). A path that names one
    file in full is always taken. Links to files are files; one to a folder may be a loop.

    Raises:
        UserError: a path or pattern matches no file, a name is not UTF-8, a link below a folder leads to no file, or a
            scheme needs a package that is not installed.
    """
    found: dict[str, InputFile] = {}
    for path in paths:
        files = _matches(path)
        if not files:
            raise UserError(f"paths: every path and pattern must match a file, got {path!r}, which matches none")
        found.update((file.path, file) for file in files)
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"paths: names of files must be UTF-8, got {os.fsencode(name)!r}; rename it") from None
    return sorted(found.values())


def fingerprint(path: str) -> str:
    """A digest that changes when the bytes of a file change.

    For local and in-memory files it is the xxh3_128 of the bytes; for objects it is the digest that the store
    keeps with them, so that nothing is downloaded.
    """
    fs, inner = _open_filesystem(path)
    if not _keeps_digests(fs):
        return _hash_bytes(fs, inner)
    facts = fs.info(inner)
    for key in _CONTENT_KEYS:
        if facts.get(key):
            return f"{key.lower()}:{str(facts[key]).strip(chr(34))}:{facts.get('size')}"
    return _hash_bytes(fs, inner)


def open_read(path: str) -> BinaryIO:
    """The file, opened for reading bytes; seekable."""
    fs, inner = _open_filesystem(path)
    if is_local(path):
        return open(inner, "rb")  # fsspec's wrapper adds a Python call to every read
    return cast(BinaryIO, fs.open(inner, "rb"))


@contextmanager
def open_write(path: str) -> Iterator[BinaryIO]:
    """A file that appears whole, under its name, when the block ends; nothing appears when it raises."""
    fs, inner = _open_filesystem(path)
    writing = _write_local(inner) if is_local(path) else _write_object(fs, inner)
    with writing as stream:
        yield stream


def write_bytes(path: str, content: bytes) -> None:
    """Writes a whole small file, atomically."""
    with open_write(path) as stream:
        stream.write(content)


def read_bytes(path: str) -> bytes:
    """The whole of a small file."""
    with open_read(path) as stream:
        return stream.read()


def exists(path: str) -> bool:
    """Whether a file or a directory is there."""
    fs, inner = _open_filesystem(path)
    return bool(fs.exists(inner))


def size(path: str) -> int:
    """The size of a file in bytes."""
    fs, inner = _open_filesystem(path)
    return int(fs.size(inner))


def list_names(path: str) -> list[str]:
    """The names of the files directly inside a directory, sorted; none where the directory is absent."""
    return sorted(_base_name(entry["name"]) for entry in _entries(path) if entry["type"] == "file")


def list_entries(path: str) -> list[str]:
    """The names of files and directories directly inside a directory, sorted; none where it is absent."""
    return sorted(_base_name(entry["name"]) for entry in _entries(path))


def _entries(path: str) -> list[dict[str, Any]]:
    fs, inner = _open_filesystem(path)
    fs.invalidate_cache(inner)
    try:
        return list(fs.ls(inner, detail=True))
    except FileNotFoundError:
        return []


def rename(source: str, target: str) -> None:
    """Moves a file within one file system; a local move replaces the target atomically."""
    fs, old = _open_filesystem(source)
    _, new = _open_filesystem(target)
    if is_local(source):
        os.replace(old, new)
    else:
        fs.mv(old, new)


def remove(path: str, *, recursive: bool = False) -> None:
    """Removes a file, or with `recursive` a directory; that it is already gone is no error."""
    fs, inner = _open_filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=recursive)


def makedirs(path: str) -> None:
    """Makes a directory and those above it where they are missing; object stores need none."""
    fs, inner = _open_filesystem(path)
    fs.makedirs(inner, exist_ok=True)


def is_local(path: str) -> bool:
    """Whether a path is on this machine's file system."""
    return "://" not in path or path.startswith(("file://", "local://"))


def _open_filesystem(path: str) -> tuple[Any, str]:
    """The file system of a path, and the path as that file system writes it."""
    scheme = path.split("://", 1)[0] if "://" in path else "file"
    try:
        fs, inner = fsspec.core.url_to_fs(path)
    except ImportError as error:
        hint = f"; pip install 'siftlm[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f": {error}"
        raise UserError(f"paths: {scheme}:// needs a package that is not installed, got {path!r}{hint}") from error
    except ValueError as error:
        raise UserError(f"paths: must be a local, gs:// or s3:// path, got {path!r}: {error}") from error
    return fs, inner


def _matches(path: str) -> list[InputFile]:
    """The files of one path, directory or pattern; empty where there is none."""
    fs, inner = _open_filesystem(path)
    if fs.isfile(inner):
        return [InputFile(_full_path(fs, inner), int(fs.size(inner)))]
    if fs.isdir(inner):
        root, found = inner.rstrip("/"), fs.find(inner, detail=True)
    elif _GLOB.intersection(inner):
        root, found = _fixed_part(inner), _find_glob(fs, inner)
    else:
        return []
    shown = {name: facts for name, facts in found.items() if not _is_hidden(name[len(root) :])}
    if broken := [name for name, facts in shown.items() if facts.get("islink") and not fs.isfile(name)]:
        raise UserError(
            f"paths: links below a folder must lead to files, got {broken[0]}; remove it, or name the folder that it "
            "leads to"
        )
    return [
        InputFile(_full_path(fs, name), int(facts["size"]))
        for name, facts in shown.items()
        if facts["type"] == "file" or facts.get("islink")
    ]


def _find_glob(fs: Any, pattern: str) -> dict[str, Any]:
    """Everything that a pattern matches, with the files of the directories among it."""
    found: dict[str, Any] = {}
    for name, facts in fs.glob(pattern, detail=True).items():
        found.update({name: facts} if facts["type"] == "file" else fs.find(name, detail=True))
    return found


def _fixed_part(pattern: str) -> str:
    """The directories of a pattern before its first wildcard."""
    first = min(pattern.index(sign) for sign in _GLOB if sign in pattern)
    return pattern[:first].rpartition("/")[0]


def _is_hidden(below: str) -> bool:
    parts = [part for part in below.split("/") if part]
    return any(part.startswith((".", "_")) for part in parts) or below.endswith((".crc", ".tmp"))


def _full_path(fs: Any, inner: str) -> str:
    """A path with its scheme; a local path stays a plain one."""
    path = str(fs.unstrip_protocol(inner))
    return path.removeprefix("file://")


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _keeps_digests(fs: Any) -> bool:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    return any(protocol in _EXTRAS for protocol in protocols)


def _hash_bytes(fs: Any, inner: str) -> str:
    digest = xxhash.xxh3_128()
    with fs.open(inner, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return str(digest.hexdigest())


@contextmanager
def _write_local(path: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    # Two workers may write the same output at once: each has its own temporary file, the last rename wins.
    temporary = os.path.join(folder, f".{name[:200]}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK and error.filename is None:
            error.filename = path  # a write does not say where
        _remove_if_there(temporary)
        raise
    _sync_folder(folder)


def remove_temporaries(folder: str, spared: str | None = None) -> None:
    """Removes what killed writers left below a local folder that nobody else writes to, except below `spared`."""
    if not is_local(folder):
        return
    kept = os.path.abspath(spared.removeprefix("file://")) if spared else None
    for where, folders, names in os.walk(folder.removeprefix("file://")):
        folders[:] = [name for name in folders if os.path.abspath(os.path.join(where, name)) != kept]
        for name in filter(_TEMPORARY.fullmatch, names):
            _remove_if_there(os.path.join(where, name))


def _remove_if_there(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _sync_folder(folder: str) -> None:
    """Makes a rename durable; file systems that cannot sync a directory are left as they are."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)


@contextmanager
def _write_object(fs: Any, inner: str) -> Iterator[BinaryIO]:
    if parent := inner.rpartition("/")[0]:
        fs.makedirs(parent, exist_ok=True)
    stream: Any = fs.open(inner, "wb")
    try:
        yield stream
    except BaseException:
        _abandon(stream)
        raise
    stream.close()


def _abandon(stream: Any) -> None:
    """Gives up an upload, so that no part of it becomes an object."""
    stream.discard()
    if isinstance(stream, fsspec.spec.AbstractBufferedFile):
        stream.closed = True  # else the finalizer would complete the upload
