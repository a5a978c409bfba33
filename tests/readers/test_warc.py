"""WARC, ARC and WET: which records become documents, and what damage costs."""

from __future__ import annotations

import gzip
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from tests.readers.conftest import KINDS, Outcome, http, read_all, warc_record

from siftlm.readers.bodies import parse_response

WEB = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "web"
PAGE = b"<html><body><nav>Menu</nav><main><p>The main text of the page, which is long enough.</p></main></body></html>"
TEXT = "The main text of the page, which is long enough."

Read = Callable[..., Outcome]


def html(body: bytes = PAGE, **headers: str) -> bytes:
    return warc_record("response", http(body, "text/html; charset=utf-8", **headers))


def test_records_that_hold_no_page_are_skipped_with_a_reason_each(read_content: Read) -> None:
    """Of all kinds of records only good HTML and text responses and resources give documents."""
    records = {
        "warcinfo_record": warc_record("warcinfo", b"software: test\r\n"),
        "request_record": warc_record("request", b"GET / HTTP/1.1\r\n\r\n"),
        "metadata_record": warc_record("metadata", b"outlink: x\r\n"),
        "revisit_record": warc_record("revisit", http(b"", "text/html")),
        "conversion_record": warc_record("conversion", b"text"),
        "continuation_record": warc_record("continuation", b"text"),
        "unknown_record": warc_record("made-up", b"text"),
        "http_status": warc_record("response", http(PAGE, "text/html", status="404 Not Found")),
        "content_type": warc_record("response", http(b"\x89PNG", "image/png")),
        "not_http": warc_record("resource", b"1.2.3.4", "dns:example.org"),
    }
    content = b"".join(html() + record for record in records.values())
    outcome = read_content(content, "x.warc", format="warc")
    assert outcome.texts == [TEXT] * len(records)
    assert outcome.skipped == list(records)
    assert outcome.errors == []


def test_a_resource_is_read_as_its_record_says_it_is(read_content: Read) -> None:
    """Resources have no HTTP header; their type is in the record."""
    content = warc_record("resource", PAGE, Content_Type="text/html") + warc_record("resource", b"plain")
    content += warc_record("resource", b"plain", Content_Type="text/plain; charset=utf-8")
    assert read_content(content, "x.warc").texts == [TEXT, "plain", "plain"]


@pytest.mark.parametrize(
    ("encode", "headers"),
    [
        (bytes, {}),
        (gzip.compress, {"Content_Encoding": "gzip"}),
        (gzip.compress, {"Content_Encoding": "x-gzip"}),
        (zlib.compress, {"Content_Encoding": "deflate"}),
        (lambda body: zlib.compress(gzip.compress(body)), {"Content_Encoding": "gzip, deflate"}),
        (lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), {"Transfer_Encoding": "chunked"}),
        (bytes, {"Transfer_Encoding": "chunked"}),
        (bytes, {"Content_Encoding": "gzip"}),
    ],
    ids=["plain", "gzip", "x-gzip", "deflate", "gzip and deflate", "chunked", "says chunked", "says gzip"],
)
def test_bodies_are_decoded_and_crawlers_that_undid_it_are_understood(
    read_content: Read, encode: Callable[[bytes], bytes], headers: dict[str, str]
) -> None:
    """Content and transfer encodings are undone; a header that is no longer true is not believed."""
    assert read_content(html(encode(PAGE), **headers), "x.warc").texts == [TEXT]


def test_a_compressed_body_that_is_damaged_is_an_error(read_content: Read) -> None:
    """Compressed bytes are never taken for text."""
    body = bytearray(gzip.compress(PAGE))
    body[20] ^= 0xFF
    assert read_content(html(bytes(body), Content_Encoding="gzip"), "x.warc").errors == ["bad_content_encoding"]


def test_a_body_that_unpacks_without_end_is_an_error_of_its_own(read_content: Read) -> None:
    """A bomb inside a response stops at the limit."""
    bomb = html(gzip.compress(b"a" * 50_000_000), Content_Encoding="gzip")
    outcome = read_content(html() + bomb + html(), "x.warc", max_document_bytes=100_000)
    assert outcome.texts == [TEXT, TEXT]
    assert outcome.errors == ["document_too_large"]


def test_codings_without_end_are_an_error(read_content: Read) -> None:
    """A hundred thousand of them would overflow the stack."""
    outcome = read_content(html(gzip.compress(PAGE), Content_Encoding=", ".join(["gzip"] * 6)), "x.warc")
    assert outcome.errors == ["bad_content_encoding"]


def gibibyte() -> bytes:
    """A gibibyte of one letter in zstd's coding."""
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join([*(packer.compress(b"a" * (1 << 20)) for _ in range(1 << 10)), packer.flush()])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("pack", "headers"),
    [
        (bytes, {"Content_Encoding": "zstd"}),
        (gzip.compress, {"Content_Encoding": "zstd, x-gzip"}),
        (gzip.compress, {"Content_Encoding": "zstd", "Transfer_Encoding": "gzip"}),
    ],
    ids=["one", "two", "in transfer"],
)
def test_a_bomb_takes_no_memory_whatever_the_codings(pack: Callable[[bytes], bytes], headers: dict[str, str]) -> None:
    """Codings are undone as far as the limit and no further."""
    block = http(pack(gibibyte()), **headers)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mib()
    assert parse_response(block, 100_000).body == b"a" * 100_001
    assert peak_mib() - before < 64


def peak_mib() -> int:
    """The most memory of this process since its peak was cleared."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) >> 10


def test_headers_become_ids_urls_and_metadata(read_content: Read) -> None:
    """The id of the record is the id of the document; other headers come along by name, whatever their case."""
    content = warc_record("response", http(PAGE, "text/html", ETag="x1"), "<http://a.org/>", WARC_Date="2024-01-01")
    fields = ["WARC-Date", "http.etag", "http.status", "charset", "absent"]
    (row,) = read_content(content, "x.warc", metadata_fields=fields).rows
    assert (row["record_id"], row["url"]) == ("<urn:x:<http://a.org/>>", "http://a.org/")
    values = ["2024-01-01", "x1", 200, "utf-8", None]
    assert orjson.loads(row["metadata"]) == dict(zip(fields, values, strict=True))
    (row,) = read_content(content, "y.warc", id_field="WARC-Date").rows
    assert row["record_id"] == "2024-01-01"


@pytest.mark.parametrize("length", ["3", "99999", "99999999999", "-1", "x", ""])
def test_a_wrong_length_costs_one_record(read_content: Read, length: str) -> None:
    """Whatever a record says of its length, the records behind it are read."""
    wrong = warc_record("response", http(PAGE, "text/html"), Content_Length=length)
    outcome = read_content(html() + wrong + html() + html(), "x.warc", max_document_bytes=20_000)
    assert outcome.texts == [TEXT] * 3
    assert len(outcome.errors) == 1
    packed = b"".join(gzip.compress(record) for record in (html(), wrong, html(), html()))
    outcome = read_content(packed, "x.warc.gz", max_document_bytes=20_000)
    assert outcome.texts == [TEXT] * 3
    assert len(outcome.errors) == 1


def test_a_page_that_holds_a_record_cannot_smuggle_it_in(read_content: Read) -> None:
    """The text of a record inside a page is text."""
    inner = warc_record("response", http(b"evil", "text/plain"), "http://victim.org/")
    body = b"<pre>" + b"x" * 200_000 + b"\r\n\r\n" + inner + b"</pre>"
    for limit in (1 << 20, 10_000):
        outcome = read_content(html() + html(body) + html(), "x.warc", max_document_bytes=limit)
        assert {row["url"] for row in outcome.rows} == {"http://example.org/"}
        assert len(outcome.rows) + len(outcome.rejects) == 3


def test_beginnings_without_records_do_not_take_long(read_content: Read) -> None:
    """A megabyte of them; what follows them is read."""
    started = time.process_time()
    outcome = read_content(b"WARC/1.0\r\n" * 100_000 + html(), "x.warc")
    assert time.process_time() - started < 10
    assert outcome.texts == [TEXT]
    assert "not_a_record" in outcome.errors


def test_garbage_between_records_is_one_error(read_content: Read) -> None:
    """What is no record is counted once, and read over."""
    outcome = read_content(html() + b"garbage\n" * 30_000 + html(), "x.warc")
    assert outcome.texts == [TEXT] * 2
    assert outcome.errors == ["not_a_record"]


@pytest.mark.parametrize("start", [b"rest of a page\r\n\r\n", b"http: no header\n", b"\xef\xbb\xbf", b"x\n" * 99_999])
@pytest.mark.parametrize("kind", ["warc", "wet", "arc"])
def test_an_archive_whose_beginning_is_lost_is_read_from_the_next_record_on(
    kind: str, start: bytes, read_content: Read
) -> None:
    """What is cut off at the front is one error, whatever it looks like and however long it is."""
    records = KINDS[kind].write(["one", "two", "three"])
    outcome = read_content(start + b"\n" + b"".join(records), KINDS[kind].name)
    assert outcome.texts[-2:] == ["two", "three"]
    assert len(outcome.errors) == 1


@pytest.mark.parametrize("url", ["http://a.org/a page", "HTTP://A.org/", "http://a.org/1 1.2.3.4 b"])
def test_an_arc_file_may_hold_urls_with_spaces_and_capitals(url: str, read_content: Read) -> None:
    """The fields behind the url are counted from its end, as crawlers did not escape it."""
    first, *_ = KINDS["arc"].write([])
    block = http(b"text")
    record = f"{url} 1.2.3.4 20080430204825 text/plain {len(block)}\n".encode() + block + b"\n"
    outcome = read_content(first + record * 2, "x.arc")
    assert [(row["text"], row["url"]) for row in outcome.rows] == [("text", url)] * 2
    assert outcome.errors == []


def test_offsets_are_those_of_a_crawl_index(read_content: Read) -> None:
    """The offset of a reject is where its compressed member begins, as in a CDX index."""
    members = [gzip.compress(record) for record in (html(), warc_record("request", b"GET /"), html())]
    outcome = read_content(b"".join(members), "x.warc.gz")
    assert [reject.offset for reject in outcome.rejects] == [len(members[0])]


def test_wet_texts_that_are_not_utf8_are_errors(read_content: Read) -> None:
    """WET is UTF-8 by definition."""
    good, bad = warc_record("conversion", "größer".encode()), warc_record("conversion", "größer".encode("latin-1"))
    outcome = read_content(good + bad + good, "x.warc.wet")
    assert (outcome.texts, outcome.errors) == (["größer"] * 2, ["bad_utf8"])


def test_a_wat_file_is_refused_by_content_and_by_name(read_content: Read) -> None:
    """It has the frame of a WARC file and no text, so it is one clear error."""
    record = warc_record("metadata", b"{}", Content_Type="application/json")
    assert read_content(record, "x.warc").errors == ["wat_file"]
    assert read_content(gzip.compress(record), "x.warc.wat.gz").errors == ["wat_file"]


@pytest.mark.skipif(not WEB.exists(), reason=f"no {WEB}")
@pytest.mark.parametrize(
    "name",
    [
        "warc_aut/example.warc.gz",
        "warc_aut/issue-493.warc",
        "warc_aut/issue-514.warc",
        "warc_cc_whirlwind/whirlwind.warc.gz",
        "warc_dolma/sample-0000.warc.gz",
        "warc_dolma/sample-0001.warc.gz",
        "warc_ia/IAH-urls-wget.warc",
    ],
)
def test_real_archives_give_the_pages_that_fastwarc_finds(name: str) -> None:
    """The same records, with the same number of good HTML and text responses, as the library's own iterator."""
    outcome = read_all(WEB / name)
    assert outcome.errors == []
    records = pages = 0
    for record in ArchiveIterator((WEB / name).open("rb"), strict_mode=False):
        records += 1
        good = record.record_type == WarcRecordType.response and record.http_headers
        if good and 200 <= (record.http_headers.status_code or 0) < 300:
            pages += (record.http_content_type or "") in ("text/html", "text/plain", "application/xhtml+xml")
    resources = sum(row["url"].startswith("metadata:") for row in outcome.rows)
    assert len(outcome.rows) + len(outcome.rejects) == records
    assert len(outcome.rows) - resources == pages


@pytest.mark.skipif(not WEB.exists(), reason=f"no {WEB}")
def test_real_pages_have_the_text_that_the_extractor_gives() -> None:
    """Whole records of the 2024 crawl, against the extractor on the body that fastwarc decodes."""
    path = WEB / "warc_dolma" / "sample-0000.warc.gz"
    expected = []
    for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.response, auto_decode="all"):
        if record.http_content_type == "text/html" and record.http_headers.status_code == 200:
            page = record.reader.read().decode("utf-8", "replace")
            expected.append(extract_plain_text(page, main_content=True, alt_texts=False))
    assert [text for text in read_all(path).texts if text in expected] == expected


@pytest.mark.skipif(not WEB.exists(), reason=f"no {WEB}")
def test_a_real_wet_file_has_a_text_for_every_page() -> None:
    """1,801 conversions of Common Crawl's kind, as fastwarc's own iterator gives them."""
    outcome = read_all(WEB / "webpages.warc.wet.gz")
    assert outcome.errors == []
    path = WEB / "webpages.warc.wet.gz"
    found = [
        (record.headers.get("WARC-Target-URI"), record.reader.read().decode())
        for record in ArchiveIterator(path.open("rb"), record_types=WarcRecordType.conversion)
    ]
    assert len(found) > 1700
    assert [(row["url"], row["text"]) for row in outcome.rows] == found


@pytest.mark.skipif(not WEB.exists(), reason=f"no {WEB}")
def test_an_arc_file_gives_what_the_warc_file_of_the_same_crawl_gives() -> None:
    """299 records of 2008 and their header, in the format of then and converted."""
    old, new = (read_all(WEB / "warc_aut" / f"example.{kind}.gz") for kind in ("arc", "warc"))
    assert [(row["url"], row["text"]) for row in old.rows] == [(row["url"], row["text"]) for row in new.rows]
    assert len(old.rows) + len(old.rejects) == 300
    assert {row["record_id"] for row in old.rows} == {None}


@pytest.mark.skipif(not WEB.exists(), reason=f"no {WEB}")
def test_a_real_archive_cut_in_the_middle_keeps_its_first_half(tmp_path: Path) -> None:
    """Half of the file gives the first half of the documents, and one error for the record that was cut."""
    content = (WEB / "warc_aut" / "example.warc.gz").read_bytes()
    whole = read_all(WEB / "warc_aut" / "example.warc.gz")
    path = tmp_path / "half.warc.gz"
    path.write_bytes(content[: len(content) // 2])
    half = read_all(path)
    assert half.texts == whole.texts[: len(half.texts)]
    assert len(half.texts) > 20
    assert half.errors == ["truncated_gzip"]
    assert io.BytesIO(content[half.rejects[-1].offset :]).read(3) == b"\x1f\x8b\x08"
