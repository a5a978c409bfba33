"""Defines scorers, which are made from settings and compute columns for batches of documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from siftlm.settings import End, Settings
from siftlm_kernels.caching import cache_folder

Cost = Literal["reads", "tokenises", "small model", "large model", "gradients", "own code"]
"""What is done with every document: its bytes are read; it is cut into tokens; a linear or n-gram model, or a
transformer reads it; a transformer reads it and is differentiated; or a function of the user's own."""
Ragged = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Overlap:
    """Names the columns that say how much of a document also stands in a benchmark."""

    name: str
    ngram: int  # words that a document and an item share


class ScorerSettings(Settings):
    """Configures a scorer, and describes its method to the rest of siftlm.

    The docstring of a subclass says what the method does; its `kind` is its name in a configuration.

    Attributes:
        paper: Where the method comes from; empty where nobody published it.
        packages: What must be installed, by the names that Python imports.
        needs: What a configuration must name beside the text, in words; empty for a method that needs nothing.
        cost: What it does with every document, on which its time depends.
        unchecked: What of its source could not be read, in words: constants recalled or chosen; empty for none.
        example: Settings that work; the files that they name stand beside whoever runs them.
    """

    kind: str
    paper: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[str] = ""
    cost: ClassVar[Cost] = "reads"
    unchecked: ClassVar[str]
    example: ClassVar[Mapping[str, Any]]

    def scorer(self) -> Scorer:
        """Returns the scorer, which has loaded nothing yet."""
        raise NotImplementedError(f"{self.kind} must have a scorer")

    def columns(self) -> list[pa.Field]:
        """Returns the columns that rules can name."""
        return self.scorer().fields()

    def charts(self) -> Sequence[str]:
        """Returns the columns whose distribution the report draws even if no rule reads them."""
        return ()

    def overlap(self) -> Overlap | None:
        """Returns the columns that find a benchmark in documents, or None for a scorer without such columns."""
        return None


class NamedSettings(ScorerSettings):
    """Configures a scorer that a run may have several of; each has a name that begins its columns."""

    table: ClassVar[str] = "annotate.others"  # of the configuration
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the columns.")

    @property
    def place(self) -> str:
        """Returns the configuration key of these settings, for error messages."""
        return f"{self.table}.{self.name}"


class Scorer:
    """Computes columns of documents; models and other files are loaded at the first `score`.

    A scorer is used by several threads at a time, and its columns depend on the text, the settings and the
    model files alone. A subclass that reads files is a `files.Held` or `files.OneFile`.
    """

    settings: ScorerSettings

    def __init__(self, settings: ScorerSettings) -> None:
        self.settings = settings

    def fields(self) -> list[pa.Field]:
        """Returns the columns that `score` computes, without loading anything."""
        raise NotImplementedError

    def good_ends(self) -> dict[str, End]:
        """Returns whether high or low values are good, by column name; leaves out columns where that is unknown.

        Names are those that selection sees.
        """
        return {}

    def values(self) -> dict[str, list[str]]:
        """Returns the possible values of columns, by name, for columns where these are known."""
        return {}

    def errors(self) -> str | None:
        """Returns the column that says why a document has no values, null where it has; None for a scorer without."""
        return None

    def facts(self) -> dict[str, int]:
        """Returns counts of the benchmark's items for the manifest; empty for a scorer without a benchmark."""
        return {}

    def digest(self) -> str:
        """Returns a digest that changes when the columns may; raises a UserError where a file is missing.

        It depends on the bytes of files and on the code.
        """
        raise NotImplementedError

    def reads(self) -> Sequence[str]:
        """Returns the files that decide the columns beside the settings."""
        return ()

    def load(self, digest: str) -> None:
        """Loads what `score` uses unless it is loaded; raises a UserError where files do not match the digest."""

    def check(self) -> None:
        """Raises a UserError for a file that is missing or invalid, by opening it."""

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the columns for the rows of a batch of `DOCUMENT_SCHEMA`, in the same order."""
        raise NotImplementedError


class KernelScorer(Scorer):
    """Computes columns by compiled kernels."""

    def check(self) -> None:
        cache_folder()  # nothing can be wrong that the settings do not show, but where kernels go may be worth a word


def ragged_text(texts: pa.Array) -> Ragged:
    """Returns the `(values, offsets)` of a string array: uint8 bytes and int64 offsets [rows + 1].

    A large_string array is not copied.
    Offsets point into `values` and need not begin at 0.
    """
    texts = texts if pa.types.is_large_string(texts.type) else pc.cast(texts, pa.large_string())
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if offsets else _NO_ROWS
    return np.frombuffer(values, np.uint8) if values else np.zeros(0, np.uint8), bounds


_NO_ROWS = np.zeros(1, np.int64)
