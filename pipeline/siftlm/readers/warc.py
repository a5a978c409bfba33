"""WARC and ARC: the main text of HTML and text responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import orjson
from resiliparse.parse.encoding import detect_mime

from siftlm.readers.archive import ArchiveRecord, read_archive
from siftlm.readers.pages import PageError, Response, decode_page, page_text, parse_response
from siftlm.readers.records import Flaw, Record, checked
from siftlm.readers.settings import Compression, InputSettings

_HTML = frozenset({"text/html", "application/xhtml+xml", "application/vnd.wap.xhtml+xml"})
_TEXT = frozenset({"text/plain", "text/markdown", "text/x-markdown"})
_OTHER_KINDS = frozenset({"warcinfo", "request", "metadata", "revisit", "conversion", "continuation"})
_SCHEMES_WITHOUT_PAGES = ("filedesc:", "dns:", "metadata:", "whois:")


def read_warc(file: BinaryIO, compression: Compression, settings: InputSettings) -> Iterator[Record | Flaw]:
    """A record or a flaw for every record of the archive.

    Responses with a 2xx status and resources give documents when they are HTML or plain text. A page without
    main text gives an empty document.
    """
    for found in read_archive(file, compression, settings.max_expansion, settings.max_record_bytes):
        yield found if isinstance(found, Flaw) else _read(found, settings)


def read_wat(_file: BinaryIO, _compression: Compression, _settings: InputSettings) -> Iterator[Record | Flaw]:
    """One flaw: a WAT file describes pages, it does not hold them."""
    detail = "a WAT file holds metadata and no text; read the WARC or WET file of the same name"
    yield Flaw("error", "wat_file", detail, 0)


def record_id(header: dict[str, str], settings: InputSettings) -> str | None:
    """The id of an archive record: WARC-Record-ID, or the header that the settings name."""
    return header.get((settings.id_field or "warc-record-id").lower()) or None


def target_url(header: dict[str, str]) -> str | None:
    """The url of an archive record; some writers put it in angle brackets."""
    return header.get("warc-target-uri", "").strip("<>") or None


def pack_metadata(values: dict[str, str | int | None], settings: InputSettings) -> str | None:
    """The headers that the settings name as a JSON object, null where a record has none of that name."""
    if not settings.metadata_fields:
        return None
    return orjson.dumps({name: values.get(name.lower()) for name in settings.metadata_fields}).decode()


def _read(found: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    kind = found.header.get("warc-type", "unknown").lower()
    url = target_url(found.header)
    if kind not in ("response", "resource", "arc"):
        reason = f"{kind}_record" if kind in _OTHER_KINDS else "unknown_record"
        return Flaw("skipped", reason, url or kind[:100], found.offset)
    if kind == "arc" and (url or "").startswith("filedesc:"):
        return Flaw("skipped", "warcinfo_record", url or "", found.offset)
    if (url or "").startswith(_SCHEMES_WITHOUT_PAGES):
        return Flaw("skipped", "not_http", url or "", found.offset)
    try:
        response = _response(found, kind, settings)
        return _document(found, response, url, settings)._replace(unpacked=len(response.body))
    except PageError as error:
        reason, detail = error.args
        return Flaw("error", reason, f"{url}: {detail}", found.offset)


def _document(found: ArchiveRecord, response: Response, url: str | None, settings: InputSettings) -> Record | Flaw:
    if response.status is not None and not 200 <= response.status < 300:
        return Flaw("skipped", "http_status", f"{response.status} {url}", found.offset)
    mime = response.content_type or found.header.get("warc-identified-payload-type") or _sniff(response.body)
    if mime not in _HTML and mime not in _TEXT:
        return Flaw("skipped", "content_type", f"{mime} {url}", found.offset)
    limit = settings.max_document_bytes
    if max(len(response.body), found.length - (1 << 16)) > limit:
        size = max(len(response.body), found.length)
        return Flaw("error", "document_too_large", f"{size} bytes or more, more than {limit}: {url}", found.offset)
    text, charset = decode_page(response.body, response.charset)
    if mime in _HTML:
        text = page_text(text, main_content=settings.main_content)
    values: dict[str, str | int | None] = {**found.header, "charset": charset, "http.status": response.status}
    values |= {f"http.{name}": value for name, value in response.headers.items()}
    identity = record_id(found.header, settings)
    return checked(Record(text.encode(), found.offset, identity, url, None, pack_metadata(values, settings)), settings)


def _response(found: ArchiveRecord, kind: str, settings: InputSettings) -> Response:
    """The response in a record; a resource, and what old ARC files hold, may be a bare body."""
    is_http = kind == "response" or found.block.startswith(b"HTTP/")
    if is_http:
        return parse_response(found.block, settings.max_document_bytes)
    mime = found.header.get("content-type", "").split(";", 1)[0].strip().lower()
    return Response(None, mime or None, None, {}, found.block)


def _sniff(body: bytes) -> str:
    return str(detect_mime(body[:4096]))
