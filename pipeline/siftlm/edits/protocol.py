"""Defines edits, which find what to replace in a text, and count it by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from siftlm.settings import Settings
from siftlm.statistics.ordered import BoolArray


class Replacement(NamedTuple):
    """Says which characters [start, end) of a text become which others, and the column that counts it.

    A replacement without a text is counted and leaves the text as it is.
    """

    start: int
    end: int
    text: str | None
    column: str


class EditSettings(Settings):
    """Configures an edit of texts, and describes its method to the rest of siftlm.

    The docstring of a subclass says what it replaces; its `kind` is its name in a configuration.

    Attributes:
        paper: Where the method comes from; empty where nobody published it.
        packages: What must be installed, by the names that Python imports.
        extra: The extra of siftlm that installs these.
        unchecked: What of its source could not be read, in words: constants recalled or chosen; empty for none.
        example: Settings that work.
    """

    kind: str
    paper: ClassVar[str] = ""
    unchecked: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {}

    @property
    def spans(self) -> str:
        """Returns the name of the column that holds the replacements of a document."""
        return f"{self.kind}_spans"

    def counts(self) -> list[str]:
        """Returns the names of the columns that count replacements by kind."""
        raise NotImplementedError(f"{self.kind} must have columns of counts")

    def identity(self) -> object:
        """Returns what the replacements depend on beside the text: settings, versions of the code and of libraries."""
        raise NotImplementedError(f"{self.kind} must have an identity")

    def suspects(self, texts: pa.LargeStringArray) -> BoolArray:
        """Returns a mask of the texts in which there may be something to replace; the others are not looked at."""
        return np.ones(len(texts), np.bool_)

    def replacements(self, text: str) -> list[Replacement]:
        """Returns what to replace in a text, in rising order and without overlaps."""
        raise NotImplementedError(f"{self.kind} must find what to replace")
