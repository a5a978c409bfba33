"""Defines the base classes of lists: settings with entries or a path, and the list that they open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any, ClassVar, Protocol, Self

import pyarrow as pa
from pydantic import Field, model_validator

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.paths import ReadPath, readable
from siftlm.selectors.lists import lines
from siftlm.selectors.lists.hashed import HashedSet
from siftlm.selectors.lists.lines import Lines
from siftlm.settings import FileSettings
from siftlm.statistics.ordered import BoolArray

_LISTS_AT_ONCE = 64  # that a process keeps; a list of five million entries takes 40 MB
_opening = Lock()


class Listed(Protocol):
    """Answers which strings an opened list has."""

    @property
    def entries(self) -> int:
        """Returns the number of different entries."""

    def holds(self, values: pa.Array) -> BoolArray:
        """Tells for each string whether the list has it; `values` has no null."""


class ListSettings(FileSettings):
    """Configures a list of strings, in the configuration or in a file.

    What a run decides depends on the content of the file, whose digest is part of its settings once they are read.
    """

    kind: str
    path: ReadPath | None = Field(
        None,
        description="A file in UTF-8 with an entry a line, or one in .gz; blank lines and # comments are skipped.",
    )
    entries: list[str] = Field(default_factory=list, description="The entries themselves, instead of a path.")
    digest: str | None = Field(
        None, description="The digest that the content of `path` must have, as manifests name it; found where not set."
    )
    told: ClassVar[str]
    """What an entry is, in words, in the plural."""
    unchecked: ClassVar[str]
    """What of its source could not be read; empty for none."""
    example: ClassVar[Mapping[str, Any]]
    """Settings that work."""

    @model_validator(mode="before")
    @classmethod
    def _with_digest(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not isinstance(tree.get("path"), str) or tree.get("digest"):
            return tree
        try:
            return {**tree, "digest": cls.digest_of({**tree, "path": readable(tree["path"])})}
        except UserError as error:
            raise ValueError(str(error).replace("path: must", "path must", 1)) from None

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.path is None) == (not self.entries):
            raise ValueError("a list needs either path or entries")
        if self.path is None and self.digest is not None:
            raise ValueError("digest is that of a path")
        return self

    @classmethod
    def digest_of(cls, tree: dict[str, Any]) -> str:
        """Returns the digest of the content that a table of settings names; raises UserError where it is not there."""
        with lines.readable(tree["path"], "a text file of one entry a line"):
            return filesystem.fingerprint(tree["path"])

    @property
    def name(self) -> str:
        """Returns what messages call the list."""
        return self.path or ", ".join(self.entries[:3]) + (", ..." if len(self.entries) > 3 else "")

    def words(self) -> str:
        return f"{self.told} of {self.name}"

    def opened(self) -> Listed:
        """Returns the list, read once in a process.

        Raises:
            UserError: the file is not what it must be, is empty, or has another content than when it was configured.
        """
        with _opening:
            return _opened(type(self), self.model_dump_json())

    def checked(self) -> Listed:
        """Reads the list, and raises UserError where its content changed meanwhile or is nothing."""
        made = self.read()
        if self.path is not None and self.digest_of(self.model_dump()) != self.digest:
            raise UserError(f"path: must have the content of digest {self.digest}, got another in {self.path!r}")
        if not made.entries:
            raise UserError(f"{'path' if self.path else 'entries'}: must hold {self.told}, got none in {self.name!r}")
        return made

    def read(self) -> Listed:
        """Reads the whole list."""
        raise NotImplementedError(f"{self.kind} reads nothing")

    def blocks(self) -> Iterator[Lines]:
        """Yields the lines of the file, or the entries."""
        if self.path is not None:
            return lines.read_lines(self.path)
        return iter([Lines.of(pa.array(self.entries, pa.large_string()))])


class KeyedListSettings(ListSettings):
    """Configures a list whose entries are looked up by a normal form, exactly."""

    def read(self) -> KeyedList:
        return KeyedList(self, HashedSet.of(self.keys_of_lines(block) for block in self.blocks()))

    def keys_of_lines(self, block: Lines) -> pa.Array:
        """Returns the normal forms of the entries in some lines; raises UserError for a line that is none."""
        raise NotImplementedError(f"{self.kind} has no entries")

    def holds(self, values: pa.Array, keys: HashedSet) -> BoolArray:
        """Tells for each string whether its normal form is among `keys`."""
        raise NotImplementedError(f"{self.kind} looks nothing up")


class KeyedList:
    """Looks up strings by their normal forms in a set of hashes."""

    def __init__(self, settings: KeyedListSettings, keys: HashedSet) -> None:
        self.settings, self.keys = settings, keys

    @property
    def entries(self) -> int:
        return len(self.keys)

    def holds(self, values: pa.Array) -> BoolArray:
        return self.settings.holds(values, self.keys)


@lru_cache(maxsize=_LISTS_AT_ONCE)
def _opened(kind: type[ListSettings], settings: str) -> Listed:
    return kind.model_validate_json(settings).checked()
