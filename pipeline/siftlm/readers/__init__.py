"""Reads input shards, with one module for each format."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from siftlm import filesystem
from siftlm.readers.detection import detect, detected
from siftlm.readers.formats import FORMATS
from siftlm.readers.records import ReadBatch, Reject, batched, bounded
from siftlm.readers.settings import InputSettings
from siftlm.readers.streams import most_bytes

__all__ = [
    "FORMATS",
    "InputSettings",
    "ReadBatch",
    "Reject",
    "claimed_records",
    "detect",
    "detected",
    "read_shard",
]


def read_shard(
    path: str, settings: InputSettings, *, batch_documents: int = 512, batch_bytes: int = 32 << 20
) -> Iterator[ReadBatch]:
    """Yields the documents and the rejects of a shard in batches.

    Memory does not grow with the shard. Every record has a position, counted from 0, and is either a document or a
    reject: nothing is left out. Bad content never raises; a stretch that cannot be read is one reject, and reading goes
    on behind it where it can.

    Raises:
        OSError: the file itself cannot be read; that is worth another try, or an error of the run.
    """
    with filesystem.open_read(path) as file:
        kind = detected(path, file, settings)
        format_ = FORMATS[kind.format]
        entries = format_.open_reader()(file, kind.compression, settings)
        most = most_bytes(file.seek(0, 2), settings.max_expansion)
        file.seek(0)
        yield from batched(bounded(entries, most, partial(format_.count, file)), batch_documents, batch_bytes)


def claimed_records(path: str, settings: InputSettings) -> int:
    """Returns how many records a file says it has; 0 where its format does not say."""
    with filesystem.open_read(path) as file:
        return FORMATS[detected(path, file, settings).format].count(file)
