"""Readers of input shards: a file a format, and the registry."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO, Literal

from siftlm import filesystem
from siftlm.readers.detection import Detected, detect, read_head
from siftlm.readers.records import ReadBatch, Reader, Reject, batched, bounded
from siftlm.readers.settings import Format, InputSettings
from siftlm.readers.streams import most_bytes

__all__ = [
    "READERS",
    "Detected",
    "InputSettings",
    "ReadBatch",
    "Reject",
    "detect",
    "detected",
    "open_reader",
    "read_shard",
]

READERS: dict[Format | Literal["wat"], str] = {
    "jsonl": "siftlm.readers.jsonl:read_jsonl",
    "parquet": "siftlm.readers.parquet:read_parquet",
    "text": "siftlm.readers.text:read_text",
    "warc": "siftlm.readers.warc:read_warc",
    "wat": "siftlm.readers.warc:read_warc",
    "wet": "siftlm.readers.warc:read_warc",
}
"""Format to reader. Named rather than imported: a configuration is checked without loading an HTML parser."""

COUNTERS = {"parquet": "siftlm.readers.parquet:row_count"}
"""Formats whose files say how many records they have, and what reads that."""


def read_shard(
    path: str, settings: InputSettings, *, batch_documents: int = 512, batch_bytes: int = 32 << 20
) -> Iterator[ReadBatch]:
    """The documents and the rejects of a shard, in batches, in memory that does not grow with the shard.

    Every record has a position, counted from 0, and is either a document or a reject: nothing is left out.
    Bad content never raises; a stretch that cannot be read is one reject, and reading goes on behind it where
    it can.

    Raises:
        OSError: the file itself cannot be read; that is worth another try, or an error of the run.
    """
    with filesystem.open_read(path) as file:
        found = detected(path, file, settings)
        entries = open_reader(found.format)(file, found.compression, settings)
        most = most_bytes(_size(file), settings.max_expansion)
        entries = bounded(entries, most, partial(_claimed, found.format, file))
        yield from batched(entries, batch_documents, batch_bytes)


def _claimed(name: str, file: BinaryIO) -> int:
    """The records that a file says it has; 0 where its format does not say."""
    if name not in COUNTERS:
        return 0
    count: int = _named(COUNTERS[name])(file)
    return count


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def open_reader(name: Format | Literal["wat"]) -> Reader:
    """The reader of a format."""
    reader: Reader = _named(READERS[name])
    return reader


def _named(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)


def detected(path: str, file: BinaryIO, settings: InputSettings) -> Detected:
    """What an open file is, as far as the settings leave it open; the file is at its beginning."""
    head = read_head(file)
    compression = None if settings.compression == "auto" else settings.compression
    found = detect(path, head, compression)
    return found if settings.format == "auto" else Detected(settings.format, found.compression)
