"""What a scorer is: opened from its settings, a RecordBatch of documents in, columns of the same rows out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.settings import End

Ragged = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


class Scorer(Protocol):
    """Columns of documents. Making one is cheap; what it needs is loaded by the first `score`.

    A scorer is used by several threads at a time, and its columns depend on the text, the settings and the
    model files alone.
    """

    def fields(self) -> list[pa.Field]:
        """The columns that `score` gives, known without loading anything."""
        ...

    def good_ends(self) -> dict[str, End]:
        """Which values are the good ones, by the name of the column that selection sees; none where nobody can know."""
        ...

    def digest(self) -> str:
        """Changes when the columns may: with the bytes of the model files or the code; loads nothing.

        Raises:
            UserError: a file is missing.
        """
        ...

    def reads(self) -> Sequence[str]:
        """The files that decide the columns beside the settings."""
        ...

    def load(self, digest: str) -> None:
        """Makes sure that what `score` uses has this digest, and loads it where it does not yet.

        Raises:
            UserError: the files have another one by now.
        """
        ...

    def check(self) -> None:
        """Finds a user's mistake before any work starts, at the price of opening the model files.

        Raises:
            UserError: a file is missing or is not what the settings say.
        """
        ...

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The columns for the rows of a batch of `DOCUMENT_SCHEMA`, in the same order."""
        ...


class Fileless:
    """The part of a scorer that reads no file."""

    def reads(self) -> Sequence[str]:
        return ()

    def load(self, digest: str) -> None:
        """There is nothing to load."""


def ragged_text(texts: pa.Array) -> Ragged:
    """`(values, offsets)` of a string array, large_string not copied: uint8 bytes, int64 of rows + 1.

    Offsets point into `values` and need not begin at 0.
    """
    texts = texts if pa.types.is_large_string(texts.type) else pc.cast(texts, pa.large_string())
    _, offsets, values = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1] if offsets else _NO_ROWS
    return np.frombuffer(values, np.uint8) if values else np.zeros(0, np.uint8), bounds


_NO_ROWS = np.zeros(1, np.int64)
