"""Defines the records and flaws that readers yield, and groups them into batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import BinaryIO, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from siftlm.documents import RECORD_SCHEMA
from siftlm.readers.settings import Compression, InputSettings

Kind = Literal["skipped", "error"]

EXPANDS = "expands_too_far"  # the reason of a shard that gives far more than it holds
ENTRY_BYTES = 128
"""What a record counts for beside its text: a few bytes can say that there are a thousand million empty ones."""

_BESIDE = {
    "record_id": "id_field",
    "url": "url_field",
    "domain": "domain_field",
    "metadata": "metadata_fields",
    "columns": "columns",
}
"""Fields of a record beside its text, with the keys that name them."""

UNREADABLE: Final = object()
"""Stands for a value that cannot be converted; it costs no document but where the text is that value."""


class TooLong(NamedTuple):
    """Stands for a value that is longer than what is held in memory."""

    size: int


class Record(NamedTuple):
    """Holds a document as its reader found it: its text in UTF-8, its fields, and where it begins.

    `offset` counts as in `Reject`. `unusable` names the fields whose values could not be used, by their place in the
    settings.
    """

    text: bytes
    offset: int
    record_id: str | None = None
    url: str | None = None
    domain: str | None = None
    metadata: str | None = None
    columns: str | None = None
    unpacked: int = 0  # bytes of a body that was compressed inside the record, maybe
    unusable: tuple[str, ...] = ()


class Flaw(NamedTuple):
    """Describes a record that gives no document, or a stretch of a file that cannot be read.

    `records` is how many records such a stretch has, where that is known.
    """

    kind: Kind
    reason: str
    detail: str
    offset: int
    unpacked: int = 0
    records: int = 1


@dataclass(frozen=True, slots=True)
class Reject:
    """Describes why a record of a shard gave no document.

    `skipped` records are none of our business (a request, an image); `error` records are damaged. `offset` is
    where the record begins: for JSON and lines, bytes of the uncompressed text in UTF-8; for WARC, bytes of the
    file, at which its compressed member begins; for Parquet, the row; for a damaged stretch of a compressed file,
    bytes of the file. One of a stretch whose `records` are known takes as many positions.
    """

    position: int
    offset: int
    kind: Kind
    reason: str
    detail: str
    records: int = 1


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Holds documents (RECORD_SCHEMA) and rejects of one stretch of a shard, both in order of position.

    `unusable` counts the documents in which the value of a field could not be used, by its place in the settings.
    """

    documents: pa.RecordBatch
    rejects: list[Reject]
    unusable: Counter[str] = field(default_factory=Counter)


Reader = Callable[[BinaryIO, Compression, InputSettings], Iterator[Record | Flaw]]
"""A reader: an open file, how it is compressed and the settings in, records and flaws in order out."""


def checked(record: Record, settings: InputSettings) -> Record | Flaw:
    """Returns the record, or a flaw where its text is longer than a document may be."""
    size, limit = len(record.text), settings.max_document_bytes
    return record if size <= limit else too_large(size, limit, record.offset)


def too_large(size: int, limit: int, offset: int) -> Flaw:
    """Returns the flaw of a record that is longer than the configuration allows."""
    return Flaw("error", "document_too_large", f"{size} bytes, more than {limit}", offset)


def bounded(entries: Iterable[Record | Flaw], most: int, claimed: Callable[[], int]) -> Iterator[Record | Flaw]:
    """Yields the entries until their total size passes `most` bytes, then one flaw for the rest.

    The size counts the entries, their texts and what was unpacked for them. The flaw is of all entries that are left,
    of those that the file is `claimed` to have: none where it does not say. Long values beside the text that go beyond
    `most` cost no document: they are left out.
    """
    taken = beside = position = 0
    for entry in entries:
        taken += ENTRY_BYTES + entry.unpacked
        if isinstance(entry, Record):
            taken += len(entry.text)
            beside += sum(map(len, _long(entry).values()))
        if taken > most:
            detail = f"records of more than {most} bytes in so small a file (max_expansion); the rest is not read"
            yield Flaw("error", EXPANDS, detail, entry.offset, records=max(1, claimed() - position))
            return
        position += entry.records if isinstance(entry, Flaw) else 1
        yield _bare(entry) if taken + beside > most and isinstance(entry, Record) else entry


def _long(record: Record) -> dict[str, str]:
    """The values beside the text that are longer than what a record counts for anyhow, by their place in a record."""
    values = {name: getattr(record, name) for name in _BESIDE}
    return {name: value for name, value in values.items() if value is not None and len(value) > ENTRY_BYTES}


def _bare(record: Record) -> Record:
    """The record without its long values, which are counted as unusable."""
    long = _long(record)
    unusable = (*record.unusable, *(_BESIDE[name] for name in long))
    return record._replace(**dict.fromkeys(long), unusable=unusable)  # type: ignore[arg-type]


def batched(entries: Iterable[Record | Flaw], batch_documents: int, batch_bytes: int) -> Iterator[ReadBatch]:
    """Yields records and flaws with their positions, in batches of at most `batch_documents` of either.

    A batch ends early with the document that fills `batch_bytes`. The same entries give the same batches.
    """
    records: dict[int, Record] = {}
    rejects: list[Reject] = []
    position = size = 0
    for entry in entries:
        if isinstance(entry, Flaw):
            rejects.append(Reject(position, entry.offset, entry.kind, entry.reason, entry.detail, entry.records))
            position += entry.records
        else:
            records[position] = entry
            size += len(entry.text) + len(entry.url or "") + len(entry.domain or "")
            size += len(entry.metadata or "") + len(entry.columns or "")
            position += 1
        if max(len(records), len(rejects)) >= batch_documents or size >= batch_bytes:
            yield _batch(records, rejects)
            records, rejects, size = {}, [], 0
    if records or rejects:
        yield _batch(records, rejects)


def _batch(by_position: dict[int, Record], rejects: list[Reject]) -> ReadBatch:
    records = by_position.values()
    columns = {
        "position": pa.array(list(by_position), pa.int64()),
        "text": _texts([record.text for record in records]),
        **{name: pa.array(list(map(attrgetter(name), records)), pa.string()) for name in _BESIDE},
    }
    unusable = Counter(place for record in records for place in record.unusable)
    return ReadBatch(pa.RecordBatch.from_pydict(columns, schema=RECORD_SCHEMA), rejects, unusable)


def _texts(contents: list[bytes]) -> pa.Array:
    """Texts as an Arrow column; readers have made sure of the UTF-8, so it is not looked at again."""
    offsets = np.cumsum([0, *map(len, contents)], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(contents), pa.py_buffer(offsets), pa.py_buffer(b"".join(contents)))
