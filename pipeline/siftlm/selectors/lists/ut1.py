"""Defines the list `ut1`, a folder of categories in the layout of the lists of the University of Toulouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from siftlm import filesystem
from siftlm.errors import UserError, nearest
from siftlm.selectors.lists import lines
from siftlm.selectors.lists.domains import DomainsList
from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.selectors.lists.settings import KeyedList, KeyedListSettings, ListSettings
from siftlm.selectors.lists.urls import UrlsList
from siftlm.statistics.ordered import BoolArray
from siftlm.store import digest

_PARTS: dict[str, type[DomainsList | UrlsList]] = {"domains": DomainsList, "urls": UrlsList}
"""The files of a category, each with the list that it is."""
_ENDINGS = ("", ".gz")


class Ut1List(ListSettings):
    """Has urls that the `domains` or the `urls` of some categories have, in a folder with a folder a category.

    This is the layout of the lists of the University of Toulouse (dsi.ut-capitole.fr/blacklists), which FineWeb and
    others take. The files may be `domains.gz` and `urls.gz`; others of a category are not read.
    """

    kind: Literal["ut1"] = "ut1"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {"path": "blacklists", "categories": ["adult"]}
    categories: list[str] = Field(min_length=1, description="The folders read: adult, malware, phishing, ...")
    told: ClassVar[str] = "domains and urls"

    @classmethod
    def digest_of(cls, tree: dict[str, Any]) -> str:
        categories = tree.get("categories")
        named = categories if isinstance(categories, list) and all(isinstance(each, str) for each in categories) else []
        files = _files(tree["path"], named)
        with lines.readable(tree["path"], "a folder with a folder a category"):
            return digest([(category, part, filesystem.fingerprint(path)) for category, part, path in files])

    @property
    def name(self) -> str:
        return f"{self.path} ({', '.join(self.categories)})"

    def read(self) -> Ut1:
        files = _files(str(self.path), self.categories)
        parts = ((kind(path=self.path, digest=self.digest), part) for part, kind in _PARTS.items())
        return Ut1(tuple(_one(kind, [path for _, name, path in files if name == part]) for kind, part in parts))


@dataclass(frozen=True)
class Ut1:
    """Looks up urls in a list of domains and in one of urls."""

    parts: tuple[KeyedList, ...]

    @property
    def entries(self) -> int:
        return sum(part.entries for part in self.parts)

    def holds(self, values: pa.Array) -> BoolArray:
        first, *others = (part.holds(values) for part in self.parts)
        for other in others:
            first |= other
        return first


def _one(settings: KeyedListSettings, paths: list[str]) -> KeyedList:
    """The entries of some files in one list."""
    return KeyedList(settings, HashedSet.of(settings.keys_of_lines(block) for block in _blocks(paths)))


def _blocks(paths: list[str]) -> Iterator[Lines]:
    for path in paths:
        yield from lines.read_lines(path)


def _files(folder: str, categories: list[str]) -> list[tuple[str, str, str]]:
    """(category, `domains` or `urls`, path) of the files there; a UserError for a category without any."""
    files = []
    for category in categories:
        names = set(filesystem.list_names(f"{folder}/{category}")) if category and "/" not in category else set()
        there = [(part, f"{part}{end}") for part in _PARTS for end in _ENDINGS if f"{part}{end}" in names]
        if not there:
            raise _missing(folder, category)
        files += [(category, part, f"{folder}/{category}/{name}") for part, name in there]
    return files


def _missing(folder: str, category: str) -> UserError:
    others = filesystem.list_entries(folder)
    near = nearest(category, others)
    hint = f"; did you mean {near!r}?" if near and near != category else ""
    return UserError(f"path: must be a folder in which {category!r} has domains or urls, got {folder!r}{hint}")
