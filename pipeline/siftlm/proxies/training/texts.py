"""Keeps texts in a file while they are read more than once, so that they need not be in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path


class TextFile:
    """Holds texts in a local file, of which memory has 8 bytes each."""

    def __init__(self, path: Path, texts: Iterable[str]) -> None:
        self._path = path
        self._ends = array("q", [0])
        with path.open("wb") as stream:
            for text in texts:
                stream.write(text.encode("utf-8", "replace"))
                self._ends.append(stream.tell())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def texts(self, order: Iterable[int] | None = None) -> Iterator[str]:
        """Yields the texts with these numbers, or all in the order in which they came."""
        with self._path.open("rb") as stream:
            for number in range(len(self)) if order is None else order:
                stream.seek(self._ends[number])
                yield stream.read(self._ends[number + 1] - self._ends[number]).decode()
