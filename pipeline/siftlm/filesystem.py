"""Opens files behind one interface: local paths by the system, gs://, s3:// and memory:// by fsspec.

A local path is never read as a URL: `zip::x` and `a#b` are names like others. It is written under a temporary name and
renamed, so a reader sees a whole file or none; it is synced too unless the writer says that it can be made again.
Object stores show an object when its upload is complete, so there it is written once, under its own name.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import fsspec
import xxhash

from siftlm.errors import UserError
from siftlm.paths import absolute, canonical, is_local, is_within, plain, scheme_of
from siftlm.patterns import MatchedPart, aligned, has_signs, is_hidden, leads_elsewhere, left_behind, local_matches
from siftlm.writing import TEMPORARY, make_folder, remove_if_there, sync_folder, write_local, write_object

_EXTRAS = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}
_CONTENT_KEYS = ("md5Hash", "ETag", "etag", "crc32c", "contentHash")
"""What object stores call the digest of an object's content, in order of preference."""

OWNER = "siftlm.json"
STORE_MARK, STORE_LOCK = "siftlm-store.json", ".store.lock"
RUN_MARKS = (OWNER, STORE_MARK, STORE_LOCK)
"""Files that say of a folder that a run made it, the last of them in stores of earlier versions too."""


@dataclass(frozen=True, order=True)
class InputFile:
    """A file that a pattern matched: a path that `open_read` opens, and its size.

    `named` says whether a path names it in full or a pattern spells its ending, so that it is meant.
    """

    path: str
    size: int
    named: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Expansion:
    """The files that patterns name, sorted by path, and what is not among them though it is there.

    That is the folders of runs, and by name what other jobs leave behind: files, and folders with a slash behind them.
    """

    files: list[InputFile]
    passed_over: list[str]
    left_behind: list[str]


def survey(paths: Sequence[str], own: Sequence[str] = ()) -> Expansion:
    """Returns the files that paths, directories and globs name: sorted by path, each once.

    Below a directory or a wildcard, names that begin with `.` or `_`, or end with `.crc` or `.tmp`, are left out with
    all that is in them, unless the pattern spells that sign itself (`_part-*`): other jobs leave them behind
    (`_SUCCESS`, `_temporary`). A path that names one file in full is always taken. Links to files are files; one to a
    folder may be a loop.

    What lies in the `own` folders of a run is never its input. Folders of other runs are passed over unless the
    pattern spells what it wants of them: `runs` leaves out what `runs/first/data` and `runs/*/data` take.

    Raises:
        UserError: a path or pattern matches no file, or those of runs alone, a name is not UTF-8, a link below a folder
            leads to no file, or a scheme needs a package that is not installed.
    """
    found: dict[str, InputFile] = {}
    runs = _Runs([canonical(folder) for folder in own])
    hidden: set[str] = set()
    for path in paths:
        before, files, left = len(runs.passed_over), {}, set[str]()
        for file, parts in _matches(path):
            if is_hidden(parts):
                left |= set() if runs.has(file.path, parts) or _is_ours(parts) else {left_behind(file.path, parts)}
            elif not runs.hold(file.path, parts):
                files[file.path] = file
        if not files:
            raise _nothing_at(path, [*runs.passed_over][before:] or [*runs.passed_over], sorted(left))
        hidden |= left
        found.update(files)
    for name in found:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"paths: names of files must be UTF-8, got {os.fsencode(name)!r}; rename it") from None
    return Expansion(sorted(found.values()), list(runs.passed_over), sorted(hidden - found.keys()))


def _is_ours(parts: Sequence[MatchedPart]) -> bool:
    """Whether a file has the name of one that siftlm has not finished."""
    return TEMPORARY.fullmatch(parts[-1].name) is not None


def _nothing_at(path: str, passed_over: Sequence[str], hidden: Sequence[str]) -> UserError:
    if not passed_over:
        left = f" but what other jobs leave behind, {hidden[0]} for instance" if hidden else ""
        return UserError(f"paths: every path and pattern must match a file, got {path!r}, which matches none{left}")
    return UserError(
        f"paths: every path must match files that are not a run's own, got {path!r} with those of {passed_over[0]}; "
        f"to read what another run kept, name its data folder"
    )


class _Runs:
    """Folders of runs that patterns reach into; what is found out about a folder is remembered."""

    def __init__(self, own: Sequence[str]) -> None:
        self._own = own
        self._canonical: dict[str, str] = {}
        self._marked: dict[str, bool] = {}
        self.passed_over: dict[str, None] = {}

    def hold(self, path: str, parts: Sequence[MatchedPart]) -> bool:
        """Whether a file belongs to a run and is no input; the run's folder is remembered as passed over."""
        folder = self._mine(path) or self._of_another(path, parts)
        if folder:
            self.passed_over[folder] = None
        return folder is not None

    def has(self, path: str, parts: Sequence[MatchedPart]) -> bool:
        """Whether a file belongs to a run."""
        return (self._mine(path) or self._of_another(path, parts)) is not None

    def _mine(self, path: str) -> str | None:
        if not self._own:
            return None
        folder, _, name = path.rpartition("/")
        if folder not in self._canonical:
            self._canonical[folder] = canonical(folder)
        leads_away = is_local(path) and os.path.islink(path)
        place = canonical(path) if leads_away else f"{self._canonical[folder]}/{name}"
        return next((own for own in self._own if is_within(place, own)), None)

    def _of_another(self, path: str, parts: Sequence[MatchedPart]) -> str | None:
        """The outermost folder of a run above a file whose part below is not spelled in the pattern."""
        folder = path
        above = []
        for part in reversed(parts):
            folder = folder.rpartition("/")[0]
            if not part.is_spelled:
                above.append(folder)
        return next((folder for folder in reversed(above) if self._is_marked(folder)), None)

    def _is_marked(self, folder: str) -> bool:
        if folder not in self._marked:
            self._marked[folder] = _has_mark(folder)
        return self._marked[folder]


def _has_mark(folder: str) -> bool:
    """Whether a run made a folder, by a listing where the match may have left one in memory."""
    if is_local(folder):
        return any(exists(f"{folder}/{mark}") for mark in RUN_MARKS)
    fs, inner = _open_filesystem(folder)
    return not {_base_name(name) for name in fs.ls(inner, detail=False)}.isdisjoint(RUN_MARKS)


def _matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    """The files of one path, directory or pattern, hidden ones too, each with its parts upon those of the pattern."""
    return _local_matches(_local(path)) if is_local(path) else _remote_matches(path)


def _local_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    whole = absolute(path) + ("/" if path.endswith("/") else "")
    for matched, name in local_matches(whole):
        parts = aligned(whole, matched, name)
        if is_hidden(parts):
            yield InputFile(name, 0), parts
        elif os.path.isfile(name):
            yield InputFile(name, os.path.getsize(name), parts[-1].is_meant), parts
        elif os.path.islink(name):
            raise leads_elsewhere(name)


def _remote_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    fs, inner = _open_filesystem(path)
    for matched, name, size in _remote_names(fs, inner):
        parts = aligned(inner, matched, name)
        yield InputFile(str(fs.unstrip_protocol(name)), size, parts[-1].is_meant), parts


def _remote_names(fs: Any, inner: str) -> Iterator[tuple[str, str, int]]:
    """(matched, file, size) of a path, directory or pattern."""
    if fs.isfile(inner):
        yield inner, inner, int(fs.size(inner))
        return
    found = {inner: {"type": "directory"}} if fs.isdir(inner) else {}
    if not found and has_signs(inner):
        found = fs.glob(inner, detail=True)
    for matched, facts in found.items():
        below = {matched: facts} if facts["type"] == "file" else fs.find(matched, detail=True)
        yield from ((matched, name, int(f["size"])) for name, f in below.items() if f["type"] == "file")


def fingerprint(path: str) -> str:
    """Returns a digest that changes when the bytes of a file change.

    For local and in-memory files it is the xxh3_128 of the bytes; for objects it is the digest that the store
    keeps with them, so that nothing is downloaded.
    """
    return kept_digest(path) or hash_bytes(path)


def kept_digest(path: str) -> str:
    """Returns the digest and the size that an object store keeps of a file; empty where nothing keeps any."""
    if is_local(path):
        return ""
    fs, inner = _open_filesystem(path)
    if not _keeps_digests(fs):
        return ""
    facts = fs.info(inner)
    kept = next((key for key in _CONTENT_KEYS if facts.get(key)), None)
    return f"{kept.lower()}:{str(facts[kept]).strip(chr(34))}:{facts.get('size')}" if kept else ""


def hash_bytes(path: str) -> str:
    """Returns the xxh3_128 of the bytes of a file, which are read."""
    with open_read(path) as stream:
        return hash_stream(stream)


def hash_stream(stream: BinaryIO) -> str:
    """Returns the xxh3_128 of what is left in a stream."""
    digest = xxhash.xxh3_128()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return str(digest.hexdigest())


def signature(path: str | int) -> str:
    """Returns what changes with a local file, or an open one, whatever its size and clock; empty for objects."""
    if isinstance(path, str) and not is_local(path):
        return ""
    facts = os.stat(_local(path) if isinstance(path, str) else path)
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"


def open_read(path: str) -> BinaryIO:
    """Returns the file, opened for reading bytes; seekable."""
    if is_local(path):
        return open(_local(path), "rb")
    fs, inner = _open_filesystem(path)
    return cast(BinaryIO, fs.open(inner, "rb"))


@contextmanager
def open_write(path: str, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Gives a file that appears whole, under its name, when the block ends; nothing appears when it raises.

    One that is not `durable` may be lost or damaged when the machine loses power.
    """
    writing = write_local(_local(path), durable) if is_local(path) else write_object(*_open_filesystem(path))
    with writing as stream:
        yield stream


def write_bytes(path: str, content: bytes, *, durable: bool = True) -> None:
    """Writes a whole small file, atomically."""
    with open_write(path, durable=durable) as stream:
        stream.write(content)


def read_bytes(path: str) -> bytes:
    """Returns the whole of a small file."""
    with open_read(path) as stream:
        return stream.read()


def exists(path: str) -> bool:
    """Tells whether a file or a directory is there."""
    if is_local(path):
        return os.path.exists(_local(path))
    fs, inner = _open_filesystem(path)
    return bool(fs.exists(inner))


def size(path: str) -> int:
    """Returns the size of a file in bytes."""
    if is_local(path):
        return os.path.getsize(_local(path))
    fs, inner = _open_filesystem(path)
    return int(fs.size(inner))


def list_names(path: str) -> list[str]:
    """Returns the names of the files directly inside a directory, sorted; none where the directory is absent."""
    return sorted(name for name, is_file in _entries(path) if is_file)


def list_sizes(path: str) -> dict[str, int]:
    """Returns the sizes of the files directly inside a directory by name; none where the directory is absent."""
    try:
        if is_local(path):
            with os.scandir(_local(path)) as entries:
                found = ((entry.name, _size_of(entry)) for entry in entries)
                return {name: size for name, size in found if size is not None}
        fs, inner = _open_filesystem(path)
        fs.invalidate_cache(inner)
        listed = fs.ls(inner, detail=True)
        return {_base_name(entry["name"]): int(entry["size"]) for entry in listed if entry["type"] == "file"}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _size_of(entry: os.DirEntry[str]) -> int | None:
    """The size of a file; None for what is none, or has gone since the directory was read, as temporary files do."""
    try:
        return entry.stat().st_size if _is_file(entry) else None
    except FileNotFoundError:
        return None


def sync(folder: str) -> None:
    """Makes renames in a local folder durable."""
    if is_local(folder):
        sync_folder(_local(folder))


def list_entries(path: str) -> list[str]:
    """Returns the names of files and directories directly inside a directory, sorted; none where it is absent."""
    return sorted(name for name, _ in _entries(path))


def _entries(path: str) -> list[tuple[str, bool]]:
    """(name, whether it is a file) of what is directly inside a directory."""
    try:
        if is_local(path):
            with os.scandir(_local(path)) as entries:
                return [(entry.name, _is_file(entry)) for entry in entries]
        fs, inner = _open_filesystem(path)
        fs.invalidate_cache(inner)
        return [(_base_name(entry["name"]), entry["type"] == "file") for entry in fs.ls(inner, detail=True)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links that lead in a circle, or to where nothing may be looked at
        return False


def rename(source: str, target: str) -> None:
    """Moves a file within one file system; a local move replaces the target atomically."""
    if is_local(source):
        os.replace(_local(source), _local(target))
        return
    fs, old = _open_filesystem(source)
    _, new = _open_filesystem(target)
    fs.mv(old, new)


def remove(path: str, *, recursive: bool = False) -> None:
    """Removes a file or a link, or with `recursive` a directory; one that is gone already is no error."""
    if is_local(path):
        _remove_local(_local(path), recursive)
        return
    fs, inner = _open_filesystem(path)
    if fs.exists(inner):
        fs.rm(inner, recursive=recursive)


def _remove_local(path: str, recursive: bool) -> None:
    if recursive and os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        remove_if_there(path)


def makedirs(path: str) -> None:
    """Makes a directory and those above it where they are missing; object stores need none."""
    if is_local(path):
        make_folder(_local(path))
        return
    fs, inner = _open_filesystem(path)
    fs.makedirs(inner, exist_ok=True)


def remove_temporaries(folder: str, names: re.Pattern[str]) -> None:
    """Removes what killed writers left of files of these names, directly in a local folder that nobody else writes to.

    Nothing below the folder is touched, nor what a link leads to.
    """
    if not is_local(folder) or os.path.islink(_local(folder)):
        return
    for name in list_names(folder):
        if is_temporary(name, names):
            remove_if_there(f"{_local(folder)}/{name}")


def is_temporary(name: str, names: re.Pattern[str]) -> bool:
    """Tells whether a name is that of a local file in the making of one of these names."""
    of = TEMPORARY.fullmatch(name)
    return of is not None and names.fullmatch(of[1]) is not None


def _local(path: str) -> str:
    """A local path as the operating system takes it."""
    if (scheme := scheme_of(path)) and plain(path) == path:
        raise UserError(f"paths: must be a local, gs:// or s3:// path, got {path!r} with {scheme}://")
    return plain(path)


def _open_filesystem(path: str) -> tuple[Any, str]:
    """The file system of a remote path, and the path as that file system writes it.

    Not fsspec's own `url_to_fs`, to which `::` in a name is a chain of file systems.
    """
    scheme = scheme_of(path)
    try:
        fs = fsspec.filesystem(scheme)
    except ImportError as error:
        hint = f"; pip install 'siftlm[{_EXTRAS[scheme]}]'" if scheme in _EXTRAS else f": {error}"
        raise UserError(f"paths: {scheme}:// needs a package that is not installed, got {path!r}{hint}") from error
    return fs, fs._strip_protocol(path)


def _base_name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _keeps_digests(fs: Any) -> bool:
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    return any(protocol in _EXTRAS for protocol in protocols)
