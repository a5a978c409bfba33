"""Finds the input files of a run and computes their fingerprints, on which every key depends."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

from siftlm import filesystem, paths, patterns
from siftlm.errors import UserError
from siftlm.patterns import InputFile
from siftlm.readers.folder_documents import OTHER, documents_of, names_of
from siftlm.readers.settings import InputSettings
from siftlm.remote import hub
from siftlm.remote.names import HUB
from siftlm.store import Store
from siftlm.store import digest as store_digest

CACHE = "fingerprints.json"
SHOWN = 3  # folders that a line names
SETTLED_NS = 2 * 10**9  # file systems keep time by the tick, some by the second


class Fingerprinted(NamedTuple):
    """Holds an input file, its content digest, and its signature (size, times, inode) from before it was read."""

    file: InputFile
    fingerprint: str
    signature: str


Files = dict[str, list[Fingerprinted]]


class SourceFiles(NamedTuple):
    """Holds the files that a source's paths match, sorted, with their formats and what was skipped."""

    files: list[InputFile]
    formats: Counter[str]
    skipped: list[str]
    passed_over: set[str]  # folders of runs

    def line(self, source: str) -> str:
        """Returns a line such as `input 'c4': 12 jsonl files, 4,096 bytes; skipped 2 files: LICENSE, README.md`."""
        counts = (
            f"{number:,} {'' if kind == OTHER else f'{kind} '}file{'s' if number != 1 else ''}"
            for kind, number in sorted(self.formats.items())
        )
        size = sum(file.size for file in self.files)
        return f"input {source!r}: {', '.join(counts)}, {size:,} bytes{self.left_out()}"

    def left_out(self) -> str:
        if not self.skipped:
            return ""
        folders = sum(path.endswith("/") for path in self.skipped)
        counts = ((len(self.skipped) - folders, "file"), (folders, "folder"))
        told = " and ".join(f"{number:,} {what}{'s' if number != 1 else ''}" for number, what in counts if number)
        return f"; skipped {told}: {names_of(self.skipped)}"


def survey(
    inputs: Sequence[InputSettings], own: Sequence[str] = (), say: Callable[[str], None] | None = None
) -> dict[str, SourceFiles]:
    """Returns the files and skipped files of every source; raises UserError for a file in two sources.

    Args:
        inputs: The sources.
        own: What the run writes itself, and so never reads.
        say: Is told, in a line a source, of which runs the files were passed over.
    """
    surveys: dict[str, SourceFiles] = {}
    owner: dict[str, str] = {}
    hub.forget()
    for number, settings in enumerate(inputs):
        try:
            found_files = _files_of(settings, own)
        except UserError as error:
            raise UserError(f"input.{number}.paths: {str(error).removeprefix('paths: ')}") from None
        if found_files.passed_over and say:
            left = sorted(found_files.passed_over)
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            say(f"input {settings.source!r}: left out what runs of siftlm wrote, in {', '.join(left[:SHOWN])}{more}")
        if say:
            for line in _commits(settings):
                say(line)
        for file in found_files.files:
            if paths.is_local(file.path) and not os.access(file.path, os.R_OK):
                raise UserError(f"input.{number}.paths: files must be readable, got {file.path}; Permission denied")
            if owner.setdefault(file.path, settings.source) != settings.source:
                raise UserError(
                    f"input.{number}.paths: a file must belong to one source, got {file.path} in "
                    f"{owner[file.path]!r} and {settings.source!r}"
                )
        surveys[settings.source] = found_files
    return surveys


def _commits(settings: InputSettings) -> list[str]:
    """What the revisions of a source's paths on the hub mean in this run, a line each."""
    moving = [path for path in settings.paths if paths.scheme_of(path) == HUB and not hub.is_fixed(path)]
    return [f"input {settings.source!r}: {path} is read at {hub.pinned(path)}" for path in moving]


def _files_of(settings: InputSettings, own: Sequence[str]) -> SourceFiles:
    """The files of a source; one that any of its paths means is meant, whatever a folder would make of it."""
    led = [patterns.survey([path], own) for path in settings.paths]
    folders = [documents_of(path, of.files, settings) for path, of in zip(settings.paths, led, strict=True)]
    files = {file.path: file for folder in folders for file in folder.files}
    skipped = {path for folder in folders for path in folder.skipped} - files.keys()
    skipped |= {path for of in led for path in of.left_behind} - files.keys()
    format_of = {path: kind for folder in reversed(folders) for path, kind in folder.formats.items()}
    formats = Counter(format_of[path] for path in files)
    passed_over = {folder for of in led for folder in of.passed_over}
    return SourceFiles(sorted(files.values()), formats, sorted(skipped), passed_over)


def fingerprints(files: dict[str, list[InputFile]], store: Store, *, remember: bool = True) -> Files:
    """Returns every file with a digest of its content; without `remember` the cache is not written."""
    made = _looked_at([file.path for group in files.values() for file in group], store, remember)
    return {source: [Fingerprinted(file, *made[file.path]) for file in group] for source, group in files.items()}


def digests(files: Sequence[str], store: Store) -> dict[str, str]:
    """Returns the digest of every file's content by path, from the store's cache where a file is unchanged."""
    return {path: digest for path, (digest, _) in _looked_at(files, store, remember=True).items()}


def _looked_at(files: Sequence[str], store: Store, remember: bool, threads: int = 8) -> dict[str, tuple[str, str]]:
    """(digest of the content, signature) of files by path.

    A digest is remembered with what the file system says of the file (size, both times, inode); a file is read
    again when any of these has changed, so that an input rewritten at the same size is noticed. Without `remember`
    nothing is written.
    """
    path = f"{store.root}/{CACHE}"
    known, began = _remembered(path), time.time_ns()
    with ThreadPoolExecutor(threads) as pool:
        made = dict(zip(files, pool.map(lambda name: _fingerprint(name, known), files), strict=True))
    fresh = {name: [signature, digest] for name, (digest, signature) in made.items() if _settled(signature, began)}
    if remember and any(known.get(name) != entry for name, entry in fresh.items()):
        told = {**known, **fresh}
        content = orjson.dumps({"files": told, "check": store_digest(told)}, option=orjson.OPT_SORT_KEYS)
        filesystem.write_bytes(path, content, durable=False)
    return made


def check_unchanged(path: str, fingerprint: str, signature: str) -> None:
    """Raises UserError if a file has changed since its fingerprint was taken; one at a commit of the hub cannot."""
    if paths.scheme_of(path) == HUB and hub.is_fixed(path):
        return
    try:
        same = filesystem.signature(path) == signature if signature else filesystem.fingerprint(path) == fingerprint
    except FileNotFoundError:
        raise gone(path) from None
    if not same:
        raise UserError(f"input: files must stay as they are while a run reads them, got {path} changed; run again")


def gone(path: str) -> UserError:
    """Returns the UserError for a file that was removed while a run reads it."""
    return UserError(f"input: files must stay as they are while a run reads them, got {path} removed; run again")


def _remembered(path: str) -> dict[str, list[str]]:
    """What the cache holds; nothing where it is absent or damaged, for it can be made again."""
    try:
        told: Any = orjson.loads(filesystem.read_bytes(path)) if filesystem.exists(path) else {}
    except orjson.JSONDecodeError:
        return {}
    files = told.get("files") if isinstance(told, dict) else None
    return files if isinstance(files, dict) and told.get("check") == store_digest(files) else {}


def _fingerprint(path: str, known: dict[str, list[str]]) -> tuple[str, str]:
    """The digest belongs to the signature before it: a change while the file is read shows in the next look."""
    try:
        now = filesystem.signature(path)
        signature, digest = known.get(path, ["", ""])
        if not now or signature != now:
            digest = filesystem.fingerprint(path)
    except FileNotFoundError:
        raise gone(path) from None
    return digest, now


def _settled(signature: str, began: int) -> bool:
    """Whether any change since must show in the signature: one in the same tick of the clock would not."""
    return bool(signature) and int(signature.split(":")[2]) < began - SETTLED_NS
