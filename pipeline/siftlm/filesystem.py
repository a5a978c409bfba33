"""Reads and writes files behind one interface, local or in an object store.

The system opens local paths, fsspec gs://, s3://, az:// and memory://, and for reading hf:// and https://. A local path
is never read as a URL: `zip::x` and `a#b` are names like others. It is written under a temporary name and renamed, so a
reader sees a whole file or none; it is synced too unless the writer says that it can be made again. Object stores show
an object when its upload is complete, so there it is written once, under its own name.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import fsspec
import fsspec.spec
import xxhash

from siftlm.errors import UserError
from siftlm.paths import SCHEMES, is_local, plain, scheme_of
from siftlm.remote import hub, web
from siftlm.remote.names import HUB, READ_ONLY, WEB
from siftlm.remote.stream import RemoteFile, buffered

OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}\.tmp")  # as local files in the making are named
_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3", "az": "az", "http": "web", "https": "web"}
_CONTENT_KEYS = ("md5Hash", "ETag", "etag", "crc32c", "contentHash")
"""What object stores call the digest of an object's content, in order of preference."""
_WAITS = (1.0, 2.0, 4.0)  # seconds before a part of a file on the web is asked for again
_TIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "timeCreated", "created")
"""What file systems call the time at which a file was written, in order of preference."""


class FolderItem(NamedTuple):
    """Describes what is directly inside a directory: a file, a folder, or something else, such as a link."""

    name: str
    kind: Literal["file", "folder", "other"]
    size: int = 0  # bytes of a file
    modified: float | None = None  # seconds since 1970; None where the file system does not say


def fingerprint(path: str) -> str:
    """Returns a digest that changes when the bytes of a file change.

    For local and in-memory files it is the xxh3_128 of the bytes; for objects it is the digest that the store
    keeps with them, so that nothing is downloaded.
    """
    return kept_digest(path) or hash_bytes(path)


def kept_digest(path: str) -> str:
    """Returns the digest and size that an object store keeps of a file; empty where none is kept."""
    if is_local(path):
        return ""
    fs, inner = remote(path)
    if scheme_of(path) == HUB:
        with hub.explained(path):
            return hub.digest_of(fs.info(inner))
    if scheme_of(path) in WEB:
        return web.digest_of(fs.info(inner))
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
    if _EXTRAS.keys().isdisjoint(protocols):
        return ""
    info = fs.info(inner)
    kept = next((key for key in _CONTENT_KEYS if info.get(key)), None)
    return f"{kept.lower()}:{str(info[kept]).strip(chr(34))}:{info.get('size')}" if kept else ""


def hash_bytes(path: str) -> str:
    """Reads a file and returns the xxh3_128 of its bytes."""
    with open_read(path) as stream:
        return hash_stream(stream)


def hash_stream(stream: BinaryIO) -> str:
    """Returns the xxh3_128 of the bytes that are left to read in a stream."""
    digest = xxhash.xxh3_128()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return str(digest.hexdigest())


def signature(path: str | int) -> str:
    """Returns the size, times and inode of a local file as text; empty for files in object stores.

    It changes when the file does, even where its size and modification time stay. `path` may be the descriptor of an
    open file.
    """
    if isinstance(path, str) and not is_local(path):
        return ""
    stat = os.stat(local(path) if isinstance(path, str) else path)
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes, and returns a stream that can seek."""
    if is_local(path):
        return open(local(path), "rb")
    fs, inner = remote(path)
    if scheme_of(path) in READ_ONLY:
        return cast(BinaryIO, buffered(_fetched(fs, inner, path)))
    return cast(BinaryIO, fs.open(inner, "rb"))


def _fetched(fs: Any, inner: str, path: str) -> RemoteFile:
    """A file on the hub, whose library tries again by itself, or on the web."""
    if scheme_of(path) == HUB:
        with hub.explained(path):
            return RemoteFile(fs.open(inner, "rb"), path, hub.faults())
    return RemoteFile(fs.open(inner, "rb"), path, web.faults(), _WAITS)


def open_write(path: str, *, durable: bool = True) -> AbstractContextManager[BinaryIO]:
    """Opens a file that appears under its name, whole, when the block ends without an error.

    One that is not `durable` may be lost or damaged when the machine loses power.
    """
    return _write_local(local(path), durable) if is_local(path) else _write_object(*remote(path))


@contextmanager
def _write_local(path: str, durable: bool) -> Iterator[BinaryIO]:
    """Opens a file that takes its name when the block ends well; `durable` ones outlive a power cut."""
    folder, name = os.path.split(os.path.abspath(path))
    makedirs(folder)
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
        remove(temporary)
        raise
    if durable:
        sync(folder)


@contextmanager
def _write_object(fs: Any, inner: str) -> Iterator[BinaryIO]:
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


def write_bytes(path: str, content: bytes, *, durable: bool = True) -> None:
    """Writes a small file atomically."""
    with open_write(path, durable=durable) as stream:
        stream.write(content)


def read_bytes(path: str) -> bytes:
    """Returns the whole content of a small file."""
    with open_read(path) as stream:
        return stream.read()


def exists(path: str) -> bool:
    """Tells whether there is a file or a directory at a path."""
    if is_local(path):
        return os.path.exists(local(path))
    fs, inner = remote(path)
    return bool(fs.exists(inner))


def size(path: str) -> int:
    """Returns the size of a file in bytes."""
    if is_local(path):
        return os.path.getsize(local(path))
    fs, inner = remote(path)
    return int(fs.size(inner))


def list_names(path: str) -> list[str]:
    """Returns the names of the files directly inside a directory, sorted; none where the directory is absent."""
    return sorted(name for name, is_file, _ in _entries(path) if is_file)


def list_sizes(path: str) -> dict[str, int]:
    """Returns the sizes of the files directly inside a directory by name; none where the directory is absent."""
    sizes = {}
    for name, is_file, size_of in _entries(path):
        with suppress(FileNotFoundError):  # it has gone since the directory was read, as temporary files do
            sizes.update({name: size_of()} if is_file else {})
    return sizes


def list_entries(path: str) -> list[str]:
    """Returns the names of files and directories directly inside a directory, sorted; none where it is absent."""
    return sorted(name for name, _, _ in _entries(path))


def listing(path: str) -> list[FolderItem]:
    """Returns what is directly inside a directory, sorted by name; no link is followed."""
    try:
        if is_local(path):
            with os.scandir(local(path)) as entries:
                return sorted(listed for entry in entries if (listed := _listed_local(entry)))
        fs, inner = remote(path)
        fs.invalidate_cache(inner)
        inside = [entry for entry in fs.ls(inner, detail=True) if entry["name"].rstrip("/") != inner.rstrip("/")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(_listed_remote(entry) for entry in inside)


def _listed_local(entry: os.DirEntry[str]) -> FolderItem | None:
    """None where the file has gone since the directory was read."""
    if entry.is_symlink():
        return FolderItem(entry.name, "other")
    if entry.is_dir(follow_symlinks=False):
        return FolderItem(entry.name, "folder")
    if not entry.is_file(follow_symlinks=False):
        return FolderItem(entry.name, "other")
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return FolderItem(entry.name, "file", stat.st_size, stat.st_mtime)


def _listed_remote(entry: dict[str, Any]) -> FolderItem:
    name = base_name(entry["name"])
    if entry["type"] != "file":
        return FolderItem(name, "folder")
    return FolderItem(name, "file", int(entry.get("size") or 0), _seconds(entry))


def _seconds(entry: dict[str, Any]) -> float | None:
    """The time at which an object was written, in whichever of their ways file systems write it."""
    written = next((entry[key] for key in _TIME_KEYS if entry.get(key)), None)
    if isinstance(written, str):
        try:
            written = datetime.fromisoformat(written)
        except ValueError:
            return None
    if isinstance(written, datetime):
        return written.timestamp()
    return float(written) if isinstance(written, int | float) else None


def remove_folder(path: str) -> None:
    """Removes a local folder if nothing is in it; object stores have no folders."""
    if is_local(path):
        with suppress(OSError):
            os.rmdir(local(path))


def _entries(path: str) -> list[tuple[str, bool, Callable[[], int]]]:
    """(name, whether it is a file, its size) of what is directly inside a directory."""
    try:
        if is_local(path):
            with os.scandir(local(path)) as entries:
                return [(entry.name, _is_file(entry), partial(os.path.getsize, entry.path)) for entry in entries]
        fs, inner = remote(path)
        fs.invalidate_cache(inner)
        listed = [(base_name(entry["name"]), entry["type"], entry.get("size")) for entry in fs.ls(inner, detail=True)]
        return [(name, kind == "file", partial(int, size)) for name, kind, size in listed]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links that lead in a circle, or to where nothing may be looked at
        return False


def sync(folder: str) -> None:
    """Makes renames in a local folder durable, where the file system can sync a directory."""
    if is_local(folder):
        descriptor = os.open(local(folder), os.O_RDONLY)
        with suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def rename(source: str, target: str) -> None:
    """Moves a file within one file system; a local move replaces the target atomically."""
    if is_local(source):
        os.replace(local(source), local(target))
        return
    fs, old = remote(source)
    _, new = remote(target)
    fs.mv(old, new)


def remove(path: str, *, recursive: bool = False) -> None:
    """Removes a file or a link, or with `recursive` a directory; one that is gone already is no error."""
    if not is_local(path):
        fs, inner = remote(path)
        if fs.exists(inner):
            fs.rm(inner, recursive=recursive)
    elif recursive and os.path.isdir(local(path)) and not os.path.islink(local(path)):
        shutil.rmtree(local(path))
    elif os.path.lexists(local(path)):
        os.unlink(local(path))


def makedirs(path: str) -> None:
    """Makes a directory, and the directories above it that are missing.

    Object stores need none. Where no folder can be made (in /proc), a PermissionError says so.
    """
    if not is_local(path):
        fs, inner = remote(path)
        fs.makedirs(inner, exist_ok=True)
        return
    try:
        os.makedirs(local(path), exist_ok=True)
    except FileNotFoundError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), local(path)) from None


def remove_temporaries(folder: str, names: re.Pattern[str]) -> None:
    """Removes temporary files that killed writers left in a local folder, for files with these names.

    Nobody else may be writing to the folder. Nothing below the folder is touched, nor what a link leads to.
    """
    if not is_local(folder) or os.path.islink(local(folder)):
        return
    for name in list_names(folder):
        if is_temporary(name, names):
            remove(f"{folder}/{name}")


def is_temporary(name: str, names: re.Pattern[str]) -> bool:
    """Tells whether a name is that of a temporary file for a file with one of these names."""
    of = TEMPORARY.fullmatch(name)
    return of is not None and names.fullmatch(of[1]) is not None


def local(path: str) -> str:
    """Returns a local path in the form that the operating system takes."""
    if (scheme := scheme_of(path)) and plain(path) == path:
        raise UserError(f"paths: must be a local path or begin with {SCHEMES}, got {path!r} with {scheme}://")
    return plain(path)


def remote(path: str) -> tuple[Any, str]:
    """Returns the file system of a remote path, and the path as that file system writes it.

    Not fsspec's own `url_to_fs`, to which `::` in a name is a chain of file systems.
    """
    scheme = scheme_of(path)
    path = hub.at_commit(path) if scheme == HUB else path
    try:
        fs = fsspec.filesystem(scheme)
    except ImportError as error:
        hint = f"; pip install 'siftlm[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f": {error}"
        raise UserError(f"paths: {scheme}:// needs a package that is not installed, got {path!r}{hint}") from error
    return fs, fs._strip_protocol(path)


def base_name(path: str) -> str:
    """Returns the last name in a path."""
    return path.rstrip("/").rpartition("/")[2]
