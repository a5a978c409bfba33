"""Reads WARC, ARC and WET files: the main text of web pages, and the texts of conversion records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from resiliparse.extract.html2text import extract_plain_text

from siftlm.readers.archive import ArchiveRecord, member_cuts, read_archive
from siftlm.readers.bodies import PageError, Response, parse_response, revealed
from siftlm.readers.charsets import decode_page, known_charset
from siftlm.readers.encodings import BAD_UTF8, first_bad_byte
from siftlm.readers.hazards import hazard_of
from siftlm.readers.headers import is_wat_record, packed, record_id, target_url
from siftlm.readers.mime import HTML, TEXT, XML, charset_parameter, essence, is_binary, is_xhtml, magic, sniffed
from siftlm.readers.records import Flaw, Record, checked, too_large
from siftlm.readers.settings import Compression, InputSettings
from siftlm.readers.slices import WHOLE, Bounds, Slicing

_PAGE_KINDS = frozenset({"response", "resource", "arc"})
_OTHER_KINDS = frozenset({"warcinfo", "request", "metadata", "revisit", "conversion", "continuation"})
_SCHEMES_WITHOUT_PAGES = ("filedesc:", "dns:", "metadata:", "whois:")


def read_warc(
    file: BinaryIO, compression: Compression, settings: InputSettings, bounds: Bounds = WHOLE
) -> Iterator[Record | Flaw]:
    """Yields a record or a flaw for every record of an archive, of whatever kind it is.

    Responses with a 2xx status and resources give documents when they are HTML or plain text, conversion records
    when they are UTF-8; `format` narrows that to one or the other. A page without main text gives an empty document.
    An archive that only describes pages, a WAT file, ends with an error that says so.
    """
    described = others = False
    for record in read_archive(file, compression, settings, settings.max_record_bytes, bounds):
        if isinstance(record, Flaw):
            yield record
            continue
        describes = is_wat_record(record.header)
        described = described or describes
        others = others or not (describes or _kind(record) == "warcinfo")
        yield _read(record, settings)
    if described and not others:
        detail = "a WAT file holds metadata and no text; read the WARC or WET file of the same name"
        yield Flaw("error", "wat_file", detail, 0)


SLICING = Slicing(member_cuts, read_warc)


def _kind(record: ArchiveRecord) -> str:
    return record.header.get("warc-type", "unknown").lower()


def _read(record: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    kind, url, offset = _kind(record), target_url(record.header), record.offset
    if kind == "conversion" and settings.format != "warc":
        return _conversion(record, settings)
    if kind not in _PAGE_KINDS or settings.format == "wet":
        reason = f"{kind}_record" if kind in _PAGE_KINDS | _OTHER_KINDS else "unknown_record"
        return Flaw("skipped", reason, url or kind[:100], offset)
    if kind == "arc" and (url or "").startswith("filedesc:"):
        return Flaw("skipped", "warcinfo_record", url or "", offset)
    if (url or "").startswith(_SCHEMES_WITHOUT_PAGES):
        return Flaw("skipped", "not_http", url or "", offset)
    unpacked = 0
    try:
        response = _response(record, kind, settings)
        unpacked = len(response.body)
        mime = _mime(record, response)
        if response.status is not None and not 200 <= response.status < 300:
            return Flaw("skipped", "http_status", f"{response.status} {url}", offset, unpacked)
        if mime not in HTML and mime not in TEXT:
            return Flaw("skipped", "content_type", f"{mime} {url}", offset, unpacked)
        body = revealed(response.body, settings.max_document_bytes)
        unpacked += len(body) if body is not response.body else 0
        response = replace(response, content_type=mime, body=body)
        return _document(record, response, url, settings)._replace(unpacked=unpacked)
    except PageError as error:
        reason, detail = error.args
        return Flaw("error", reason, f"{url}: {detail}", offset, unpacked)


def _conversion(record: ArchiveRecord, settings: InputSettings) -> Record | Flaw:
    """The text of a conversion record, which is UTF-8 by definition."""
    if record.length > settings.max_document_bytes:
        return too_large(record.length, settings.max_document_bytes, record.offset)
    if (at := first_bad_byte(record.block)) is not None:
        return Flaw("error", BAD_UTF8, f"byte {at} of the block", record.offset)
    names = record_id(record.header, settings), target_url(record.header), None
    return Record(record.block, record.offset, *names, *packed({**record.header}, settings))


def _document(record: ArchiveRecord, response: Response, url: str | None, settings: InputSettings) -> Record | Flaw:
    limit, body, mime = settings.max_document_bytes, response.body, response.content_type
    if max(len(body), record.length - (1 << 16)) > limit:
        size = max(len(body), record.length)
        return Flaw("error", "document_too_large", f"{size} bytes or more, more than {limit}: {url}", record.offset)
    if other := magic(body):
        return Flaw("skipped", "content_type", f"{other}, as {mime} {url}", record.offset)
    if is_binary(body) and not (known_charset(response.charset) or "").startswith(("utf-16", "utf-32")):
        raise PageError("bad_content_encoding" if response.misread else "binary_body", response.misread or mime)
    text, charset = decode_page(body, response.charset)
    if mime in HTML:
        text = page_text(text, main_content=settings.main_content)
    values: dict[str, str | int | None] = {**record.header, "charset": charset, "http.status": response.status}
    values |= {f"http.{name}": value for name, value in response.headers.items()}
    identity, beside = record_id(record.header, settings), packed(values, settings)
    return checked(Record(text.encode(), record.offset, identity, url, None, *beside), settings)


def _response(record: ArchiveRecord, kind: str, settings: InputSettings) -> Response:
    """The response in a record; a resource, what old ARC files hold, and HTTP/0.9 may be a bare body."""
    declared = record.header.get("content-type")
    is_http = kind == "response" and essence(declared) in (None, "application/http")
    if is_http or record.block.startswith(b"HTTP/"):
        return parse_response(record.block, settings.max_document_bytes)
    return Response(None, essence(declared), charset_parameter(declared), {}, record.block)


def _mime(record: ArchiveRecord, response: Response) -> str:
    """The type that the response says, else the one that the crawler found, else what its first bytes look like."""
    said = response.content_type or essence(record.header.get("warc-identified-payload-type"))
    if said in XML and is_xhtml(response.body):
        return "application/xhtml+xml"
    return said or sniffed(response.body)


def page_text(html: str, *, main_content: bool) -> str:
    """Returns the text of an HTML page that a reader sees, without scripts, forms and hidden parts.

    Raises:
        PageError: the page is built to take forever, or cannot be parsed.
    """
    if hazard := hazard_of(html):
        raise PageError("page_too_complex", hazard)
    try:
        # The extractor holds the interpreter's lock, so threads do not help here; processes do.
        return extract_plain_text(html, main_content=main_content, alt_texts=False)
    except (ValueError, RuntimeError) as error:
        raise PageError("bad_html", str(error)) from error
