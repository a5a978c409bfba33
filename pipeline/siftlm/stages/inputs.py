"""The input shards of a run and their fingerprints, which every key hangs on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import orjson

from siftlm import filesystem, paths
from siftlm.errors import UserError
from siftlm.filesystem import InputFile
from siftlm.readers.settings import InputSettings
from siftlm.store import Store

CACHE = "fingerprints.json"
SHOWN = 3  # folders that a line names
SETTLED_NS = 2 * 10**9  # file systems keep time by the tick, some by the second


class Fingerprinted(NamedTuple):
    """An input file, the digest of its content, and its signature from before it was read."""

    file: InputFile
    fingerprint: str
    signature: str


Files = dict[str, list[Fingerprinted]]


def discover(
    inputs: Sequence[InputSettings], own: Sequence[str] = (), say: Callable[[str], None] | None = None
) -> dict[str, list[InputFile]]:
    """The files of every source, sorted by path; a path in two sources is a user's mistake.

    Args:
        inputs: The sources.
        own: What the run writes itself, and so never reads.
        say: Is told, in a line a source, of which runs the files were passed over.
    """
    found: dict[str, list[InputFile]] = {}
    owner: dict[str, str] = {}
    for number, settings in enumerate(inputs):
        try:
            expansion = filesystem.survey(settings.paths, own)
        except UserError as error:
            raise UserError(f"input.{number}.paths: {error}") from None
        files = expansion.files
        if expansion.passed_over and say:
            left = sorted(expansion.passed_over)
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            say(f"input {settings.source!r}: left out what runs of siftlm wrote, in {', '.join(left[:SHOWN])}{more}")
        for file in files:
            _check_readable(f"input.{number}.paths", file.path)
            if owner.setdefault(file.path, settings.source) != settings.source:
                raise UserError(
                    f"input.{number}.paths: a file must belong to one source, got {file.path} in "
                    f"{owner[file.path]!r} and {settings.source!r}"
                )
        found[settings.source] = files
    return found


def _check_readable(place: str, path: str) -> None:
    if paths.is_local(path) and not os.access(path, os.R_OK):
        raise UserError(f"{place}: files must be readable, got {path}; Permission denied")


def fingerprints(found: dict[str, list[InputFile]], store: Store, threads: int = 8, *, remember: bool = True) -> Files:
    """Every file with a digest of its content.

    A digest is remembered with what the file system says of the file (size, both times, inode); a file is read
    again when any of these has changed, so that an input rewritten at the same size is noticed. Without `remember`
    nothing is written.
    """
    path = f"{store.root}/{CACHE}"
    known, began = _remembered(path), time.time_ns()
    files = [file for group in found.values() for file in group]
    with ThreadPoolExecutor(threads) as pool:
        made = dict(zip((f.path for f in files), pool.map(lambda f: _fingerprint(f, known), files), strict=True))
    fresh = {name: [m.signature, m.fingerprint] for name, m in made.items() if _settled(m.signature, began)}
    if remember and any(known.get(name) != entry for name, entry in fresh.items()):
        filesystem.write_bytes(path, orjson.dumps({**known, **fresh}, option=orjson.OPT_SORT_KEYS))
    return {source: [made[file.path] for file in group] for source, group in found.items()}


def check_unchanged(path: str, fingerprint: str, signature: str) -> None:
    """Raises UserError unless a file is still what it was when its fingerprint was taken."""
    try:
        same = _signature(path) == signature if signature else filesystem.fingerprint(path) == fingerprint
    except FileNotFoundError:
        raise gone(path) from None
    if not same:
        raise UserError(f"input: files must stay as they are while a run reads them, got {path} changed; run again")


def gone(path: str) -> UserError:
    return UserError(f"input: files must stay as they are while a run reads them, got {path} removed; run again")


def _remembered(path: str) -> dict[str, list[str]]:
    """What the cache holds; nothing where it is absent or damaged, for it can be made again."""
    try:
        known: Any = orjson.loads(filesystem.read_bytes(path)) if filesystem.exists(path) else {}
    except orjson.JSONDecodeError:
        return {}
    return known if isinstance(known, dict) else {}


def _fingerprint(file: InputFile, known: dict[str, list[str]]) -> Fingerprinted:
    """The digest belongs to the signature before it: a change while the file is read shows in the next look."""
    try:
        now = _signature(file.path)
        signature, digest = known.get(file.path, ["", ""])
        if not now or signature != now:
            digest = filesystem.fingerprint(file.path)
    except FileNotFoundError:
        raise gone(file.path) from None
    return Fingerprinted(file, digest, now)


def _signature(path: str) -> str:
    """What changes with a local file whatever its size and clock; empty for objects, whose digest costs no read."""
    if not paths.is_local(path):
        return ""
    facts = os.stat(path)
    return f"{facts.st_size}:{facts.st_mtime_ns}:{facts.st_ctime_ns}:{facts.st_ino}"


def _settled(signature: str, began: int) -> bool:
    """Whether any change since must show in the signature: one in the same tick of the clock would not."""
    return bool(signature) and int(signature.split(":")[2]) < began - SETTLED_NS
