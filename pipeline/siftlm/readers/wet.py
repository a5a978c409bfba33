"""WET: the text that a crawl has extracted already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from siftlm.readers.archive import ArchiveRecord, read_archive
from siftlm.readers.records import Flaw, Record, too_large
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.warc import pack_metadata, record_id, target_url


def read_wet(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """A record or a flaw for every record of the archive; conversion records are the documents."""
    for found in read_archive(file, compression, settings.max_expansion, settings.max_document_bytes):
        yield found if isinstance(found, Flaw) else _read(found, settings)


def _read(found: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    kind = found.header.get("warc-type", "unknown").lower()
    if kind != "conversion":
        return Flaw("skipped", f"{kind}_record" if kind.isalpha() else "unknown_record", kind[:100], found.offset)
    if found.length > settings.max_document_bytes:
        return too_large(found.length, settings.max_document_bytes, found.offset)
    try:
        found.block.decode()
    except UnicodeDecodeError as error:
        return Flaw("error", "bad_utf8", f"byte {error.start} of the block", found.offset)
    metadata = pack_metadata({**found.header}, settings)
    url = target_url(found.header)
    return Record(found.block, found.offset, record_id(found.header, settings), url, None, metadata)
