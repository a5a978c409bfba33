"""Gives DuckDB tables on the hub and on the web, where files do not tell when they were changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, BinaryIO

from fsspec.spec import AbstractFileSystem

from siftlm import filesystem


class RemoteTables(AbstractFileSystem):  # type: ignore[misc]
    """Opens the files of one scheme by siftlm's own reader, so that a broken network is named as such."""

    cachable = False

    def __init__(self, scheme: str) -> None:
        super().__init__()
        self.protocol = scheme

    def open(self, path: str, *_: Any, **__: Any) -> BinaryIO:
        return filesystem.open_read(path)

    def size(self, path: str) -> int:
        return filesystem.size(path)

    def glob(self, path: str, *_: Any, **__: Any) -> list[str]:
        return [path]

    def modified(self, _: str) -> datetime:
        """Returns one and the same time: DuckDB asks for it to know whether what it remembers still holds."""
        return datetime.fromtimestamp(0, UTC)
