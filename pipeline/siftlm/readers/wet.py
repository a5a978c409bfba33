"""Reads WET: the text that a crawl has extracted already, in conversion records."""

from __future__ import annotations

from siftlm.readers.archive import ArchiveRecord
from siftlm.readers.headers import pack_metadata, record_id, target_url
from siftlm.readers.records import Flaw, Record, too_large
from siftlm.readers.settings import InputSettings


def read_conversion(found: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    """Returns the text of a conversion record, which is UTF-8 by definition."""
    if found.length > settings.max_document_bytes:
        return too_large(found.length, settings.max_document_bytes, found.offset)
    try:
        found.block.decode()
    except UnicodeDecodeError as error:
        return Flaw("error", "bad_utf8", f"byte {error.start} of the block", found.offset)
    metadata = pack_metadata({**found.header}, settings)
    url = target_url(found.header)
    return Record(found.block, found.offset, record_id(found.header, settings), url, None, metadata)
