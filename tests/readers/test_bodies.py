"""Bodies that are not what their headers say, or whose headers say nothing: read as browsers would."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from tests.readers.conftest import Outcome, http, warc_record

from siftlm.readers.mime import essence, sniffed

Read = Callable[..., Outcome]

PAGE = b"<html><body><nav>Menu</nav><main><p>The main text of the page, which is long enough.</p></main></body></html>"
TEXT = "The main text of the page, which is long enough."


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": zstandard.ZstdCompressor().compress,
    "br": brotli.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
}
CODINGS = {**{name: name for name in PACKS}, "raw deflate": "deflate"}


def response(body: bytes, content_type: str | None = "text/html", **headers: str) -> bytes:
    return warc_record("response", http(body, content_type, **headers))


def chunked(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("pack", PACKS)
def test_every_coding_is_undone_as_declared(pack: str, read_content: Read) -> None:
    """Deflate with the header of zlib and without, as servers send both."""
    assert read_content(response(PACKS[pack](PAGE), Content_Encoding=CODINGS[pack]), "x.warc").texts == [TEXT]


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("said", [None, "identity", "gzip", "br"])
def test_a_compressed_page_that_does_not_say_so_is_read(pack: str, said: str | None, read_content: Read) -> None:
    """By its magic number, or because all of it decodes to text; also under the wrong coding."""
    headers = {"Content_Encoding": said} if said else {}
    assert read_content(response(PACKS[pack](PAGE), **headers), "x.warc").texts == [TEXT]


def test_a_page_that_is_compressed_twice_is_read(read_content: Read) -> None:
    """A server in front of a server, of which one says so."""
    body = gzip.compress(gzip.compress(PAGE))
    assert read_content(response(body, Content_Encoding="gzip"), "x.warc").texts == [TEXT]


FILES = {
    "application/pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "image/png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0",
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "image/gif": b"GIF89a\1\0\1\0\x80\0\0",
    "application/zip": b"PK\3\4\x14\0\0\0\x08\0",
    "video/mp4": b"\0\0\0\x20ftypisom\0\0\2\0",
    "application/x-ole-storage": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0",
}


@pytest.mark.parametrize("said", ["text/html", "text/plain", "application/xhtml+xml", None])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_text_is_skipped_whatever_its_header_says(
    kind: str, said: str | None, read_content: Read
) -> None:
    """Counted once, with what it is."""
    outcome = read_content(response(FILES[kind] * 20, said) + response(PAGE), "x.warc")
    assert (outcome.texts, outcome.skipped, outcome.errors) == ([TEXT], ["content_type"], [])
    assert kind in outcome.rejects[0].detail


def test_bytes_that_are_nothing_known_are_an_error(read_content: Read) -> None:
    """They are no text in any charset, so no document of U+FFFD comes of them."""
    noise = random.Random(1).randbytes(5000)
    outcome = read_content(response(noise) + response(noise, Content_Encoding="br") + response(PAGE), "x.warc")
    assert outcome.texts == [TEXT]
    assert outcome.errors == ["binary_body", "bad_content_encoding"]


@pytest.mark.parametrize(
    "body", [b"BMW is a maker of cars.", b"ID3 is a kind of tag.", b"FWS and CWS", b"\x0cnew page"]
)
def test_a_text_that_begins_like_a_file_is_a_text(body: bytes, read_content: Read) -> None:
    """Magic numbers of letters mean nothing where all bytes are those of text."""
    assert read_content(response(body, "text/plain"), "x.warc").texts == [body.decode()]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_is_text(codec: str, read_content: Read) -> None:
    """Its NULs are no sign of a binary file, where a mark, a header or its first tag tells what it is."""
    body = PAGE.decode().encode(codec)
    mark = "\ufeff".encode(codec)
    records = response(mark + body) + response(body, f"text/html; charset={codec.replace('16-', '16')}")
    assert read_content(records + response(mark + body, None) + response(body), "x.warc").texts == [TEXT] * 4


@pytest.mark.parametrize("codec", ["utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("said", [None, "text/html", "text/html; charset=utf-8", "text/html; charset=utf-32"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf32_is_text_too(codec: str, said: str | None, mark: str, read_content: Read) -> None:
    """Browsers have forgotten it; as UTF-16 it would be a text of NULs between tags."""
    body = (mark + PAGE.decode()).encode(codec)
    assert read_content(response(body, said), "x.warc").texts == [TEXT]


MARKUP = {
    "document type": b"<!DOCTYPE html>" + PAGE,
    "document type in lower case, behind blanks": b"\r\n \t<!doctype HTML PUBLIC '-//W3C'>" + PAGE,
    "html": PAGE,
    "html with attributes on the next line": PAGE.replace(b"<html", b"<html\nlang=en"),
    "comment first": b"<!-- saved from url=(0014)about:internet -->\n" + PAGE,
    "byte order mark": b"\xef\xbb\xbf" + PAGE,
    "byte order mark and comment": b"\xef\xbb\xbf\n<!-- c -->" + PAGE,
    "XHTML": b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0">' + PAGE,
    "XHTML with comments": b'<?xml version="1.0"?><?xml-stylesheet href="a"?><!-- c --><html xmlns="x">' + PAGE[6:],
    "fragment": b"<p>" + PAGE,
    "no html and no head": b"<meta charset=utf-8><title>t</title>" + PAGE[12:],
    "a link first": b'<link rel="stylesheet" href="a.css">' + PAGE,
    "a section first": b"<section>" + PAGE,
    "a tag of 1996 first": b"<CENTER></CENTER>" + PAGE,
}


@pytest.mark.parametrize(
    "said", [None, "html", "text", "", "unknown/unknown", "*/*", "text/html, text/html", "; charset=utf-8", "text html"]
)
@pytest.mark.parametrize("markup", MARKUP)
def test_a_page_without_a_valid_type_is_known_by_its_beginning(
    markup: str, said: str | None, read_content: Read
) -> None:
    """No raw markup becomes a document, and no page is skipped."""
    assert read_content(response(MARKUP[markup], said), "x.warc").texts == [TEXT]


@pytest.mark.parametrize("said", ["text/xml", "application/xml; charset=utf-8"])
def test_xhtml_under_the_type_of_xml_is_a_page_and_a_feed_is_not(said: str, read_content: Read) -> None:
    """As browsers show the one and not the other."""
    feed = b'<?xml version="1.0"?><rss version="2.0"><channel/></rss>'
    outcome = read_content(response(MARKUP["XHTML"], said) + response(feed, said) + response(feed, None), "x.warc")
    assert (outcome.texts, outcome.skipped) == ([TEXT], ["content_type"] * 2)


@pytest.mark.parametrize(
    ("body", "mime"),
    [
        (b"Plain text.", "text/plain"),
        (b"", "text/plain"),
        (b"<abbr>", "text/plain"),
        (b"< html>", "text/plain"),
        (b"a <html>", "text/plain"),
        (b"<br>", "text/html"),
        (b"<TABLE >", "text/html"),
        (b"<?xml version='1.0'?><svg/>", "text/xml"),
        (b"\xff\xfe<\0h\0t\0m\0l\0>\0", "text/html"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"\0\1\2\3\4", "application/octet-stream"),
        ("größer".encode("latin-1"), "text/plain"),
    ],
)
def test_the_types_are_those_of_the_standard(body: bytes, mime: str) -> None:
    """MIME Sniffing, 7.1."""
    assert sniffed(body) == mime


@pytest.mark.parametrize(
    ("said", "mime"),
    [
        ("Text/HTML ; charset=x", "text/html"),
        ("text/html;;", "text/html"),
        ("html", None),
        ("text/", None),
        ("/html", None),
        ("text/ht ml", None),
        ("application/unknown", None),
        (None, None),
    ],
)
def test_a_type_has_two_parts(said: str | None, mime: str | None) -> None:
    """Others are no types (MIME Sniffing, 4.4)."""
    assert essence(said) == mime


@pytest.mark.parametrize("size", [7, 50, 100_000])
@pytest.mark.parametrize("extension", [b"", b";name=value", b" "])
def test_a_chunked_body_that_is_cut_anywhere_has_no_sizes_in_it(
    size: int, extension: bytes, read_content: Read
) -> None:
    """What is there of the page is there, and nothing else."""
    body = b"".join(b"word%d " % number for number in range(30))
    packed = chunked(body, size, extension)
    first = packed.index(b"\n") + 1
    records = b"".join(
        response(packed[:cut], "text/plain", Transfer_Encoding="chunked") for cut in range(first + 1, len(packed))
    )
    texts = read_content(records, "x.warc").texts
    assert len(texts) == len(packed) - first - 1
    assert all(body.decode().startswith(text) for text in texts)
    assert texts[-1] == body.decode()


@pytest.mark.parametrize("pack", ["gzip", "zstd", "br", "deflate", "raw deflate"])
def test_a_compressed_body_that_is_cut_gives_its_beginning(pack: str, read_content: Read) -> None:
    """Crawlers stop at a size; in chunks or not."""
    body = b" ".join(b"%d" % (number * number) for number in range(100_000))
    packed = PACKS[pack](body)
    cut, coding = packed[: len(packed) // 2], CODINGS[pack]
    records = response(cut, "text/plain", Content_Encoding=coding)
    records += response(chunked(cut, 999)[:-7], "text/plain", Content_Encoding=coding, Transfer_Encoding="chunked")
    for text in read_content(records, "x.warc").texts:
        assert len(text) > len(body) // 4
        assert body.startswith(text.encode())


def test_a_crawler_that_undid_the_chunks_only_is_understood(read_content: Read) -> None:
    """The header of the one coding is no longer true, that of the other is."""
    body = gzip.compress(PAGE)
    records = response(body, Content_Encoding="gzip", Transfer_Encoding="chunked")
    records += response(chunked(PAGE, 20), Content_Encoding="gzip", Transfer_Encoding="chunked")
    assert read_content(records, "x.warc").texts == [TEXT] * 2


@pytest.mark.parametrize("size", [b"12", b"16", b"28"])
def test_a_chunk_that_does_not_end_where_it_says_is_an_error(size: bytes, read_content: Read) -> None:
    """Behind it nothing can be told apart."""
    packed = chunked(PAGE, 20).replace(b"14\r\n", size + b"\r\n", 2)
    outcome = read_content(response(packed, Transfer_Encoding="chunked") + response(PAGE), "x.warc")
    assert (outcome.texts, outcome.errors) == ([TEXT], ["bad_content_encoding"])


@pytest.mark.parametrize("packed", [False, True])
def test_chunks_without_their_header_are_undone_where_all_of_the_body_is_chunks(
    packed: bool, read_content: Read
) -> None:
    """Crawlers that drop Transfer-Encoding often keep the sizes; a content coding is inside the chunks."""
    body = gzip.compress(PAGE, mtime=0) if packed else PAGE
    headers = {"Content_Encoding": "gzip"} if packed else {}
    trailed = chunked(body, 20)[:-2] + b"Expires: 0\r\n\r\n"
    forms = [chunked(body, 20), chunked(body, 999, b";a=b"), chunked(body, 7)[:-2], trailed]
    outcome = read_content(b"".join(response(form, **headers) for form in forms), "x.warc")
    assert (outcome.texts, outcome.rejects) == ([TEXT] * 4, [])


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\n0\r\n\r\nand more",  # text behind the last chunk
        b"5\r\nhello\r\n",  # no last chunk
        b"6\r\nhello\r\n0\r\n\r\n",  # a size that is not so
        b"5\nhello\n0\n\n",  # lines of LF, as lists of numbers have
        b"3\r\n2\r\n1\r\n0\r\n",  # a countdown
        b"0\r\n\r\n",
    ],
)
def test_a_text_that_is_not_chunks_from_end_to_end_stays_as_it_is(body: bytes, read_content: Read) -> None:
    """Without the header nothing is taken for a size that need not be one."""
    (text,) = read_content(response(body, "text/plain"), "x.warc").texts
    assert text.split() == body.decode().split()


def test_a_resource_has_the_charset_of_its_record(read_content: Read) -> None:
    """Its type stands in the header of the record."""
    record = warc_record("resource", "größer €".encode("cp1252"), Content_Type="text/plain; charset=iso-8859-1")
    assert read_content(record, "x.warc").texts == ["größer €"]
