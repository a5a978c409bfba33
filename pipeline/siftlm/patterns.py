"""Finds the files that paths, directories and patterns match, and which part of a pattern matched which name.

`*`, `?` and `[...]` stay within a part, `**` is any number of folders. A part that is there under that very name is
that name: brackets are common in names of files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from typing import NamedTuple

from siftlm.errors import UserError
from siftlm.filesystem import TEMPORARY, base_name, exists, local, remote
from siftlm.paths import absolute, canonical, is_local, is_within, parts_of, scheme_of
from siftlm.remote import hub, web
from siftlm.remote.names import HUB, WEB

OWNER = "siftlm.json"
STORE_MARK, STORE_LOCK = "siftlm-store.json", ".store.lock"
RUN_MARKS = (OWNER, STORE_MARK, STORE_LOCK)
"""Files that say of a folder that a run made it, the last of them in stores of earlier versions too."""
_SIGNS = frozenset("*?[")
_LEFT_BEHIND = (".crc", ".tmp")


@dataclass(frozen=True, order=True)
class InputFile:
    """Holds the path of a file that a pattern matched, and its size.

    `open_read` opens the path. `named` says whether a path names it in full or a pattern spells its ending, so that it
    is meant.
    """

    path: str
    size: int
    named: bool = field(default=True, compare=False)


@dataclass(frozen=True)
class Expansion:
    """Lists the files that patterns match, sorted by path, and what was left out.

    Left out are the folders of runs, and by name what other jobs leave behind: files, and folders with a slash behind
    them.
    """

    files: list[InputFile]
    passed_over: list[str]
    left_behind: list[str]


def survey(paths: Sequence[str], own: Sequence[str] = ()) -> Expansion:
    """Returns the files that paths, directories and patterns match, sorted by path, each once.

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
    files: dict[str, InputFile] = {}
    runs = _Runs([canonical(folder) for folder in own])
    passed_over: dict[str, None] = {}
    hidden: set[str] = set()
    for path in paths:
        before, matches, left = len(passed_over), {}, set[str]()
        for file, parts in _matches(path):
            run = runs.above(file.path, parts)
            if _is_hidden(parts):
                if run is None and not TEMPORARY.fullmatch(parts[-1].name):  # which siftlm has not finished
                    left.add(_left_behind(file.path, parts))
            elif run:
                passed_over[run] = None
            else:
                matches[file.path] = file
        if not matches:
            raise _nothing_at(path, [*passed_over][before:] or [*passed_over], sorted(left))
        hidden |= left
        files.update(matches)
    for name in files:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UserError(f"paths: names of files must be UTF-8, got {os.fsencode(name)!r}; rename it") from None
    return Expansion(sorted(files.values()), list(passed_over), sorted(hidden - files.keys()))


def _nothing_at(path: str, passed_over: Sequence[str], hidden: Sequence[str]) -> UserError:
    if not passed_over:
        left = f" but what other jobs leave behind, {hidden[0]} for instance" if hidden else ""
        return UserError(f"paths: every path and pattern must match a file, got {path!r}, which matches none{left}")
    return UserError(
        f"paths: every path must match files that are not a run's own, got {path!r} with those of {passed_over[0]}; "
        f"to read what another run kept, name its data folder"
    )


class _Runs:
    """Finds the folders of runs that patterns reach into; what is known of a folder is remembered."""

    def __init__(self, own: Sequence[str]) -> None:
        self._own = own
        self._canonical, self._is_marked = cache(canonical), cache(_has_mark)

    def above(self, path: str, parts: Sequence[MatchedPart]) -> str | None:
        """Returns the folder of a run that a file belongs to, None where there is none.

        It is this run's, or the outermost one that the pattern does not spell.
        """
        if self._own:
            folder, _, name = path.rpartition("/")
            leads_away = is_local(path) and os.path.islink(path)
            place = canonical(path) if leads_away else f"{self._canonical(folder)}/{name}"
            if within := next((own for own in self._own if is_within(place, own)), None):
                return within
        folder, above = path, []
        for part in reversed(parts):
            folder = folder.rpartition("/")[0]
            if not part.is_spelled:
                above.append(folder)
        return next((folder for folder in reversed(above) if self._is_marked(folder)), None)


def _has_mark(folder: str) -> bool:
    """Whether a run made a folder, by a listing where the match may have left one in memory."""
    if is_local(folder):
        return any(exists(f"{folder}/{mark}") for mark in RUN_MARKS)
    fs, inner = remote(folder)
    return not {base_name(name) for name in fs.ls(inner, detail=False)}.isdisjoint(RUN_MARKS)


def _matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    """The files of one path, directory or pattern, hidden ones too, each with its parts upon those of the pattern."""
    if is_local(path):
        return _local_matches(local(path))
    if scheme_of(path) in WEB:
        return _web_matches(path)
    return _hub_matches(path) if scheme_of(path) == HUB else _remote_matches(path)


def _local_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    pattern = absolute(path) + ("/" if path.endswith("/") else "")
    for matched, name in _names_below(pattern):
        parts = _aligned(pattern, matched, name)
        if _is_hidden(parts):
            yield InputFile(name, 0), parts
        elif os.path.isfile(name):
            yield InputFile(name, os.path.getsize(name), parts[-1].is_meant), parts
        elif os.path.islink(name):
            raise _leads_elsewhere(name)


def _web_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    """The one file that a URL names: web servers list no folders."""
    fs, url = remote(path)
    if path.endswith("/") or "*" in path:
        raise UserError(
            f"paths: on the web every file must be named in full, for servers list no folders, got {path!r}"
        )
    size = web.size_of(fs, url)
    yield InputFile(path, size), _aligned(url, url, url)


def _hub_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    """The files that a path on the hub matches, at the commit that its revision means now."""
    at_commit = hub.pinned(path)
    fs, inner = remote(at_commit)
    with suppress(FileNotFoundError), hub.explained(path):
        fs.info(inner)  # says why the hub refuses it, which fsspec takes for a file that is not there
    with hub.explained(path):
        yield from _remote_matches(at_commit)


def _remote_matches(path: str) -> Iterator[tuple[InputFile, list[MatchedPart]]]:
    fs, inner = remote(path)
    if fs.isfile(inner):
        places = {inner: {"type": "file", "size": fs.size(inner)}}
    elif fs.isdir(inner):
        places = {inner: {"type": "directory"}}
    else:
        places = fs.glob(inner, detail=True) if _has_signs(inner) else {}
    for matched, place in places.items():
        files = {matched: place} if place["type"] == "file" else fs.find(matched, detail=True)
        for name in (name for name, file in files.items() if file["type"] == "file"):
            parts = _aligned(inner, matched, name)
            yield InputFile(str(fs.unstrip_protocol(name)), int(files[name]["size"]), parts[-1].is_meant), parts


class MatchedPart(NamedTuple):
    """Pairs one name in a file's path with the part of the pattern that matched it, or None."""

    name: str
    pattern: str | None

    @property
    def is_spelled(self) -> bool:
        """Tells whether the pattern spells this very name."""
        return self.name == self.pattern

    @property
    def is_meant(self) -> bool:
        """Tells whether the pattern spells this very name, or its ending as `*.md` does."""
        _, dot, ending = (self.pattern or "").rpartition(".")
        return self.is_spelled or bool(dot and ending and not _has_signs(ending) and self.name.endswith(f".{ending}"))

    @property
    def is_hidden(self) -> bool:
        """Tells whether the name begins with `.` or `_` and the pattern does not begin with that sign.

        Other jobs leave such names behind.
        """
        return self.name[0] in "._" and not (self.pattern or "").startswith(self.name[0])


def _has_signs(pattern: str) -> bool:
    return not _SIGNS.isdisjoint(pattern)


def _aligned(pattern: str, matched: str, file: str) -> list[MatchedPart]:
    """The parts of a file that a pattern matched, or that lies below what it matched."""
    wanted, names = parts_of(pattern), parts_of(matched)
    below = parts_of(file)[len(names) :]
    spread: list[str | None] = [*wanted]
    if "**" in wanted:
        first, last = wanted.index("**"), len(wanted) - wanted[::-1].index("**")
        spread[first:last] = [None] * (len(names) - len(wanted) + last - first)
    spread += [None] * len(below)
    return [MatchedPart(*pair) for pair in zip(names + below, spread, strict=True)]


def _is_hidden(parts: Sequence[MatchedPart]) -> bool:
    """Whether a file or its folder has a name that jobs leave behind and no pattern asks for."""
    name, pattern = parts[-1]
    left = any(name.endswith(end) and not (pattern or "").endswith(end) for end in _LEFT_BEHIND)
    return left or any(part.is_hidden for part in parts)


def _left_behind(path: str, parts: Sequence[MatchedPart]) -> str:
    """What to tell of a hidden file's path: its outermost hidden folder, or all."""
    names = path.rstrip("/").split("/")
    below = next((len(parts) - 1 - at for at, part in enumerate(parts[:-1]) if part.is_hidden), 0)
    return "/".join(names[: len(names) - below]) + "/" if below else path


def _names_below(pattern: str) -> Iterator[tuple[str, str]]:
    """(matched, path) of an absolute pattern: what it matches, and all below the folders that it matches.

    Links below a folder are not followed, so a path may be one that leads to no file. Hidden folders end in a slash.
    """
    for matched in dict.fromkeys(_matched("/", parts_of(pattern))):
        if os.path.isdir(matched):
            yield from ((matched, path) for path in _below(matched))
        elif not pattern.endswith("/") or not _has_signs(pattern):
            yield matched, matched


def _matched(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """What the parts of a pattern match in a folder; `**` at the end matches the folder itself."""
    if not parts or list(parts) == ["**"]:
        yield folder
        return
    head, rest = parts[0], parts[1:]
    if head == "**":
        for below in _folders_below(folder):
            yield from _matched(below, rest)
    elif not _has_signs(head) or (_SIGNS.isdisjoint(set(head) - {"["}) and _has(folder, head)):
        if _has(folder, head):
            yield from _matched(os.path.join(folder, head), rest)
    elif os.path.isdir(folder):
        fits = re.compile(translate(head)).match
        for entry in _entries(folder):
            if fits(entry.name) and (not rest or entry.is_dir()):
                yield from _matched(entry.path, rest)


def _folders_below(top: str) -> Iterator[str]:
    """A folder and those below it that are not hidden."""
    waiting = [top] if os.path.isdir(top) else []
    while waiting:
        folder = waiting.pop()
        yield folder
        for entry in _entries(folder):
            if entry.is_dir() and not MatchedPart(entry.name, None).is_hidden:
                if entry.is_symlink():
                    raise _leads_elsewhere(entry.path)
                waiting.append(entry.path)


def _below(top: str) -> Iterator[str]:
    """All below a folder that is no folder itself; of hidden folders only the path, a slash behind it."""
    waiting = [top]
    while waiting:
        for entry in _entries(waiting.pop()):
            if not entry.is_dir(follow_symlinks=False):
                yield entry.path
            elif MatchedPart(entry.name, None).is_hidden:
                yield f"{entry.path}/"
            else:
                waiting.append(entry.path)


def _leads_elsewhere(path: str) -> UserError:
    return UserError(
        f"paths: links below a folder must lead to files, got {path}; remove it, or name the folder that it leads to"
    )


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is directly in a folder, by name."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _has(folder: str, name: str) -> bool:
    """Whether a name is in a folder, be it a link to nothing; a folder that does not tell is an error, not a no."""
    try:
        os.lstat(os.path.join(folder, name))
    except PermissionError as error:
        raise _unreadable(folder, error) from None
    except OSError:
        return False
    return True


def _unreadable(folder: str, error: OSError) -> UserError:
    return UserError(f"paths: folders must be readable, got {folder}; {error.strerror or error}")
