"""Matches patterns with files of this machine, and tells which part of a name matched which part.

`*`, `?` and `[...]` stay within a part, `**` is any number of folders. A part that is there under that very name is
that name: brackets are common in names of files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import NamedTuple

from siftlm.errors import UserError

_SIGNS = frozenset("*?[")
_LEFT_BEHIND = (".crc", ".tmp")


class MatchedPart(NamedTuple):
    """Pairs a part of a file's path with the part of the pattern that matched it, or None."""

    name: str
    pattern: str | None

    @property
    def is_spelled(self) -> bool:
        """Whether the pattern has the very name."""
        return self.name == self.pattern

    @property
    def is_meant(self) -> bool:
        """Whether the pattern has the very name, or spells its ending as `*.md` does."""
        _, dot, ending = (self.pattern or "").rpartition(".")
        return self.is_spelled or bool(dot and ending and not has_signs(ending) and self.name.endswith(f".{ending}"))

    @property
    def is_hidden(self) -> bool:
        """Whether other jobs leave such names behind, and the pattern does not ask for them by the same sign."""
        return self.name[0] in "._" and not (self.pattern or "").startswith(self.name[0])


def has_signs(pattern: str) -> bool:
    """Tells whether a pattern, or a part of one, has a wildcard."""
    return not _SIGNS.isdisjoint(pattern)


def parts_of(path: str) -> list[str]:
    """Returns the names in a path, from the root to the file."""
    return [part for part in path.split("/") if part]


def aligned(pattern: str, matched: str, file: str) -> list[MatchedPart]:
    """Returns the parts of a file that a pattern matched, or that lies below what it matched."""
    wanted, names = parts_of(pattern), parts_of(matched)
    below = parts_of(file)[len(names) :]
    if "**" in wanted:
        first, last = wanted.index("**"), len(wanted) - wanted[::-1].index("**")
        free = len(names) - first - (len(wanted) - last)
        spread: list[str | None] = [*wanted[:first], *[None] * free, *wanted[last:]]
    else:
        spread = [*wanted]
    return [
        *(MatchedPart(*pair) for pair in zip(names, spread, strict=True)),
        *(MatchedPart(name, None) for name in below),
    ]


def is_hidden(parts: Sequence[MatchedPart]) -> bool:
    """Tells whether a file or its folder has a name that jobs leave behind and no pattern asks for."""
    name, pattern = parts[-1]
    left = any(name.endswith(end) and not (pattern or "").endswith(end) for end in _LEFT_BEHIND)
    return left or any(part.is_hidden for part in parts)


def left_behind(path: str, parts: Sequence[MatchedPart]) -> str:
    """Returns what to tell of a hidden file's path: its outermost hidden folder, or all."""
    names = path.rstrip("/").split("/")
    below = next((len(parts) - 1 - at for at, part in enumerate(parts[:-1]) if part.is_hidden), 0)
    return "/".join(names[: len(names) - below]) + "/" if below else path


def local_matches(pattern: str) -> Iterator[tuple[str, str]]:
    """Yields (matched, path) of an absolute pattern: what it matches, and all below the folders that it matches.

    Links below a folder are not followed, so a path may be one that leads to no file. Hidden folders end in a slash.
    """
    for matched in dict.fromkeys(_matched("/", parts_of(pattern))):
        if os.path.isdir(matched):
            yield from ((matched, path) for path in _below(matched))
        elif not pattern.endswith("/") or not has_signs(pattern):
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
    elif not has_signs(head) or (_SIGNS.isdisjoint(set(head) - {"["}) and _has(folder, head)):
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
                    raise leads_elsewhere(entry.path)
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


def leads_elsewhere(path: str) -> UserError:
    """Returns the error for a link below a folder that does not lead to a file."""
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
