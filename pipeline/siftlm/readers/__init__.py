"""Reads input shards, with one module for each format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from siftlm import filesystem
from siftlm.readers.detection import detect, detected
from siftlm.readers.formats import FORMATS
from siftlm.readers.records import Flaw, ReadBatch, Record, Reject, batched, bounded
from siftlm.readers.settings import InputSettings
from siftlm.readers.slices import WHOLE, Bounds, SliceBound
from siftlm.readers.streams import most_bytes

__all__ = [
    "FORMATS",
    "Bounds",
    "InputSettings",
    "ReadBatch",
    "Reject",
    "SliceBound",
    "claimed_records",
    "detect",
    "detected",
    "read_shard",
    "read_slices",
    "slice_cuts",
]


def read_shard(
    path: str, settings: InputSettings, *, batch_documents: int = 512, batch_bytes: int = 32 << 20
) -> Iterator[ReadBatch]:
    """Yields the documents and the rejects of a file in batches; see `read_slices`."""
    yield from read_slices([(path, WHOLE)], settings, [], batch_documents=batch_documents, batch_bytes=batch_bytes)


def read_slices(
    slices: Iterable[tuple[str, Bounds]],
    settings: InputSettings,
    records: list[int],
    *,
    batch_documents: int = 512,
    batch_bytes: int = 32 << 20,
) -> Iterator[ReadBatch]:
    """Yields the documents and the rejects of files, or of slices of them, in batches.

    Memory does not grow with the files. Every record has a position, counted from 0 over all slices, and is either a
    document or a reject: nothing is left out. Bad content never raises; a stretch that cannot be read is one reject,
    and reading goes on behind it where it can. The number of records of every slice is appended to `records`.

    Raises:
        OSError: a file itself cannot be read; that is worth another try, or an error of the run.
    """
    entries = (entry for path, bounds in slices for entry in _counted(_entries(path, settings, bounds), records))
    yield from batched(entries, batch_documents, batch_bytes)


def _counted(entries: Iterable[Record | Flaw], records: list[int]) -> Iterator[Record | Flaw]:
    count = 0
    for entry in entries:
        count += entry.records if isinstance(entry, Flaw) else 1
        yield entry
    records.append(count)


def _entries(path: str, settings: InputSettings, bounds: Bounds) -> Iterator[Record | Flaw]:
    with filesystem.open_read(path) as file:
        kind = detected(path, file, settings)
        format_ = FORMATS[kind.format]
        slicing = None if bounds == WHOLE else format_.open_slicing()
        if slicing:
            entries = slicing.read(file, kind.compression, settings, bounds)
        else:
            entries = format_.open_reader()(file, kind.compression, settings)
        most = most_bytes(file.seek(0, 2), settings.max_expansion)
        file.seek(0)
        yield from bounded(entries, most, partial(format_.count, file))


def slice_cuts(path: str, settings: InputSettings, size: int) -> list[SliceBound]:
    """Returns where a file is cut into slices of about `size` bytes of content; nothing where it stays whole."""
    with filesystem.open_read(path) as file:
        kind = detected(path, file, settings)
        slicing = FORMATS[kind.format].open_slicing()
        return slicing.cuts(file, kind.compression, settings, size) if slicing else []


def claimed_records(path: str, settings: InputSettings) -> int:
    """Returns how many records a file says it has; 0 where its format does not say."""
    with filesystem.open_read(path) as file:
        return FORMATS[detected(path, file, settings).format].count(file)
