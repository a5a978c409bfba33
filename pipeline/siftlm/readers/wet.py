"""Reads WET: the text that a crawl has extracted already, in conversion records."""

from __future__ import annotations

from siftlm.readers.archive import ArchiveRecord
from siftlm.readers.encodings import BAD_UTF8, first_bad_byte
from siftlm.readers.headers import pack_metadata, record_id, target_url
from siftlm.readers.records import Flaw, Record, too_large
from siftlm.readers.settings import InputSettings


def read_conversion(record: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    """Returns the text of a conversion record, which is UTF-8 by definition."""
    if record.length > settings.max_document_bytes:
        return too_large(record.length, settings.max_document_bytes, record.offset)
    if (at := first_bad_byte(record.block)) is not None:
        return Flaw("error", BAD_UTF8, f"byte {at} of the block", record.offset)
    header = record.header
    names = record_id(header, settings), target_url(header), None
    return Record(record.block, record.offset, *names, pack_metadata({**header}, settings))
