"""The input shards of a run and their fingerprints, which every key hangs on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import orjson

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.filesystem import InputFile
from siftlm.readers.settings import InputSettings
from siftlm.store import Store

Files = dict[str, list[tuple[InputFile, str]]]
CACHE = "fingerprints.json"


def discover(inputs: Sequence[InputSettings]) -> dict[str, list[InputFile]]:
    """The files of every source, sorted by path; a path in two sources is a user's mistake."""
    found: dict[str, list[InputFile]] = {}
    owner: dict[str, str] = {}
    for number, settings in enumerate(inputs):
        try:
            files = filesystem.expand(settings.paths)
        except UserError as error:
            raise UserError(f"input.{number}.paths: {error}") from None
        for file in files:
            if owner.setdefault(file.path, settings.source) != settings.source:
                raise UserError(
                    f"input.{number}.paths: a file must belong to one source, got {file.path} in "
                    f"{owner[file.path]!r} and {settings.source!r}"
                )
        found[settings.source] = files
    return found


def fingerprints(found: dict[str, list[InputFile]], store: Store, threads: int = 8) -> Files:
    """Every file with a digest of its content.

    A digest is remembered with what the file system says of the file (size, both times, inode); a file is read
    again when any of these has changed, so that an input rewritten at the same size is noticed.
    """
    path = f"{store.root}/{CACHE}"
    known: dict[str, list[str]] = orjson.loads(filesystem.read_bytes(path)) if filesystem.exists(path) else {}
    files = [file for group in found.values() for file in group]
    with ThreadPoolExecutor(threads) as pool:
        digests = dict(zip((f.path for f in files), pool.map(lambda f: _fingerprint(f, known), files), strict=True))
    remembered = {f.path: [_signature(f), digests[f.path]] for f in files}
    if any(known.get(name) != entry for name, entry in remembered.items()):
        filesystem.write_bytes(path, orjson.dumps({**known, **remembered}, option=orjson.OPT_SORT_KEYS))
    return {source: [(file, digests[file.path]) for file in group] for source, group in found.items()}


def _fingerprint(file: InputFile, known: dict[str, list[str]]) -> str:
    signature, digest = known.get(file.path, ["", ""])
    return digest if signature and signature == _signature(file) else filesystem.fingerprint(file.path)


def _signature(file: InputFile) -> str:
    """What changes with a local file whatever its size and clock; empty for objects, whose digest costs no read."""
    if not filesystem.is_local(file.path):
        return ""
    facts = os.stat(file.path.removeprefix("file://"))
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"
