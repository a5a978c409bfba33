"""Finds which files of a folder are documents, by name, or by content where names say nothing.

A path that names a file in full, or a pattern that spells its ending, is taken at its word and never comes here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.patterns import InputFile
from siftlm.readers.detection import HEAD_BYTES, detect, format_of_name, without_packing
from siftlm.readers.settings import InputSettings

SHOWN = 5  # names in a message
THREADS = 8
NO_DOCUMENT = "none"
OTHER = "other"  # of files that are documents because a path says so
_ABOUT = re.compile(  # what a repository or a data set says of itself
    r"(readme|licen[cs]e|copying|notice|change_?log|changes|contributing|contributors|authors|citation|code_of_conduct"
    r"|security|requirements|dataset_card|datasheet)([-_][a-z0-9]{1,8})?(\.\w+)*"
    r"|(.*[._-])?(checksums?|(md5|sha\d*|b2)_?sums?)(\.\w+)*"
)
_ABOUT_JSON = re.compile(
    r"(dataset_infos?|dataset_dict|state|config|metadata|manifest|index|package|package-lock|stats|summary|croissant"
    r"|tokenizer|special_tokens_map|vocab|.*[._-](config|index|infos?|metadata))\.json"
)
_NEVER = re.compile(  # pictures, packed folders, programs, digests, copies: no text, or none that is meant
    r".*(\.(png|jpe?g|gif|webp|bmp|tiff?|ico|svg|pdf|mp[34]|wav|flac|ogg|zip|tar|tgz|tbz2?|txz|7z|rar|jar|whl|bin|pt|pth"
    r"|onnx|safetensors|np[yz]|pkl|pickle|arrow|idx|index|crc|db|sqlite3?|py[co]|so|o|a|class|exe|dll|bak|orig|old|swp"
    r"|lock|log|md5|sha\d+|b2|sig|asc)|~)"
)
ARCHIVES = frozenset({"warc", "wet"})
_KIND = re.compile(r"(\.w?arc)?(\.wet)?$")
_UNTOLD = re.compile(r"[^.]*(\.\d+)*")  # part-00000, shard.0001: no ending that says anything


@dataclass(frozen=True)
class Folder:
    """Holds the document files of a path, the format of each by its path, and the files left out."""

    files: tuple[InputFile, ...]
    formats: dict[str, str]
    skipped: tuple[str, ...] = ()


def documents_of(path: str, files: Sequence[InputFile], settings: InputSettings) -> Folder:
    """Returns which files of one path are documents, with the format of each.

    Raises:
        UserError: the path is of a folder with documents of several formats, or with none.
    """
    asked = None if settings.format == "auto" else settings.format
    named, listed = [file for file in files if file.named], [file for file in files if not file.named]
    with ThreadPoolExecutor(THREADS) as pool:
        formats = dict(zip((file.path for file in listed), pool.map(_format, listed), strict=True))
    wanted = _wanted(path, formats, settings) if listed else frozenset()
    chosen = [file for file in listed if formats[file.path] in wanted]
    if listed and not chosen:
        raise _nothing_known(path, listed, settings)
    # What a path names is taken at its word, as far as name and settings tell; its content goes before its name.
    told = {file.path: asked or format_of_name(file.path) or OTHER for file in named}
    told |= {file.path: asked or formats[file.path] or OTHER for file in chosen}
    skipped = tuple(name for name, kind in formats.items() if kind not in wanted)
    return Folder((*named, *chosen), told, skipped)


def _wanted(path: str, formats: dict[str, str | None], settings: InputSettings) -> frozenset[str | None]:
    """The formats of a folder whose files are documents: one, or none."""
    there = {name for name in formats.values() if name is not None and name != NO_DOCUMENT}
    # What lies beside documents of another format is about them: notes and lists in text, facts in JSON.
    plain_json = all(name.lower().endswith(".json") for name, kind in formats.items() if kind == "jsonl")
    weak = {"text", "jsonl"} if plain_json else {"text"}
    if settings.format != "auto":
        if settings.format in there:
            return frozenset({settings.format})
        return frozenset({None, *(there if len(there) == 1 else weak)})  # no name tells of the format that is asked for
    left = (there - weak) or there
    if len(left) > 1 and not (left == ARCHIVES and not _pages_twice(formats)):
        raise _several(path, formats, left)
    return frozenset(left)


def _pages_twice(formats: dict[str, str | None]) -> bool:
    """Whether two archives have one name but for their kind, as a crawl's pages and their texts have."""
    stems = [_KIND.sub("", without_packing(name.rpartition("/")[2])) for name, of in formats.items() if of in ARCHIVES]
    return len(set(stems)) < len(stems)


def _format(file: InputFile) -> str | None:
    """The format of a file; NO_DOCUMENT for what is none, None for what nobody knows."""
    name = file.path.rpartition("/")[2]
    bare, told = without_packing(name), format_of_name(name)
    if told in (None, "text") and (_ABOUT.fullmatch(bare) or _NEVER.fullmatch(bare)):
        return NO_DOCUMENT
    if _ABOUT_JSON.fullmatch(name.lower()):
        return NO_DOCUMENT
    if told or not _UNTOLD.fullmatch(bare):
        return told
    try:
        with filesystem.open_read(file.path) as stream:
            kind = detect(file.path, stream.read(HEAD_BYTES)).format
    except FileNotFoundError:
        return None  # removed meanwhile: it is no input any more
    return None if kind == "text" else kind  # anything may be text, so that tells nothing


def _several(path: str, formats: dict[str, str | None], left: set[str]) -> UserError:
    counts = Counter(name for name in formats.values() if name in left)
    first = {kind: next(name for name, of in sorted(formats.items()) if of == kind) for kind in sorted(counts)}
    shown = ", ".join(f"{counts[kind]:,} {kind} ({name.rpartition('/')[2]})" for kind, name in first.items())
    return UserError(
        f"paths: a folder must hold documents of one format, got {shown} in {path}; "
        "name one by a pattern, *.jsonl for instance, or by format"
    )


def _nothing_known(path: str, files: Sequence[InputFile], settings: InputSettings) -> UserError:
    asked = "" if settings.format == "auto" else f" of format {settings.format!r}"
    return UserError(
        f"paths: a folder must hold documents{asked}, got {names_of([f.path for f in files])} in {path}; "
        'name files by a pattern, *.md for instance, or say what they are, format = "text" for instance'
    )


def names_of(paths: Sequence[str]) -> str:
    """Returns a text with the first names of some files: `LICENSE, README.md and 3 more`."""
    names = [path[path.rstrip("/").rfind("/") + 1 :] for path in paths[:SHOWN]]
    more = f" and {len(paths) - SHOWN:,} more" if len(paths) > SHOWN else ""
    return ", ".join(names) + more
