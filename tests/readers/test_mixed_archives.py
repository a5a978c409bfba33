"""Archives are what the headers of their records say, whatever their blocks quote; only line ends cut headers."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest
from tests.readers.conftest import Outcome, http, warc_record

from siftlm.readers import detect

Read = Callable[..., Outcome]

INFO = warc_record("warcinfo", b"software: test\r\n")
LONG_INFO = warc_record("warcinfo", b"# comment\r\n" * 10_000)
JSON = http(b'{"a": 1}', "application/json")
QUOTE = b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: application/json\r\n\r\nquoted"
WAT = warc_record("metadata", b'{"Container": {}}', Content_Type="application/json")


def page(text: str) -> bytes:
    return warc_record("response", http(text.encode(), "text/plain"), f"http://{text}.org/")


def conversion(text: str) -> bytes:
    return warc_record("conversion", text.encode(), f"http://{text}.org/", Content_Type="text/plain")


MISLEADING = {
    "a JSON response first": [warc_record("response", JSON)],
    "a page that quotes a record": [warc_record("response", http(QUOTE, "text/plain"))],
    "a page that quotes it deep inside": [warc_record("response", http(b"x" * 30_000 + b"\r\n\r\n" + QUOTE))],
    "a description in JSON first": [WAT],
    "many descriptions first": [WAT] * 1000,
    "a resource in JSON first": [warc_record("resource", b"{}", Content_Type="application/json")],
    "a request first": [warc_record("request", b"GET / HTTP/1.1\r\nAccept: application/json\r\n\r\n")],
    "one conversion first": [conversion("converted")],
    "a long description of the file": [LONG_INFO, warc_record("response", JSON)],
    "a long first page": [warc_record("response", http(b"x" * 100_000, "text/plain"))],
    "an empty line first": [b"\r\n", warc_record("response", JSON)],
}


@pytest.mark.parametrize("pack", ["none", "gzip"])
@pytest.mark.parametrize("name", ["x.warc", "x.wet", "x.wat", "x"])
@pytest.mark.parametrize("case", MISLEADING)
def test_no_payload_decides_what_an_archive_is(case: str, name: str, pack: str, read_content: Read) -> None:
    """Twenty pages are twenty documents behind any beginning, under any name."""
    records = [INFO, *MISLEADING[case], *(page(f"page{n}") for n in range(20))]
    content = b"".join(gzip.compress(record, mtime=0) if pack == "gzip" else record for record in records)
    outcome = read_content(content, name)
    assert outcome.texts[-20:] == [f"page{n}" for n in range(20)]
    assert outcome.errors == []


def test_an_archive_of_both_kinds_is_read_record_by_record(read_content: Read) -> None:
    """Conversions give their text, responses their page, and the rest is counted; `format` keeps one kind."""
    records = [INFO, page("a"), conversion("b"), WAT, warc_record("request", b"GET /"), page("c"), conversion("d")]
    content = b"".join(records)
    both = read_content(content, "x.warc.gz")
    assert both.texts == ["a", "b", "c", "d"]
    assert both.skipped == ["warcinfo_record", "metadata_record", "request_record"]
    assert read_content(content, "x.warc", format="warc").texts == ["a", "c"]
    only = read_content(content, "x.warc", format="wet")
    assert only.texts == ["b", "d"]
    assert only.skipped.count("response_record") == 2


def test_only_an_archive_of_nothing_but_descriptions_is_a_wat_file(read_content: Read) -> None:
    """It is one error beside the records that are counted; an archive of one page more is none."""
    assert read_content(INFO + WAT * 3, "x.warc").errors == ["wat_file"]
    assert read_content(INFO + WAT * 3 + page("a"), "x.warc.wat").errors == []
    assert read_content(INFO, "x.warc").errors == []


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("x.warc", INFO + conversion("a") + page("b"), "wet"),
        ("x.wet", INFO + page("b") + conversion("a"), "warc"),
        ("x.wet", INFO + warc_record("response", JSON), "warc"),
        ("x.wat", INFO + warc_record("response", JSON), "warc"),
        ("x", INFO + WAT + WAT, "wat"),
        ("x", INFO + WAT + page("a"), "warc"),
        ("x.warc", INFO + warc_record("metadata", b"outlink: x", Content_Type="application/warc-fields"), "warc"),
        ("x.wet", LONG_INFO, "wet"),
        ("x", LONG_INFO, "warc"),
        ("x.txt", b"WARC/1.0 is a format.", "warc"),
        ("x.txt", b"WARC/ARC files are archives.", "text"),
    ],
)
def test_the_first_record_that_is_not_about_the_file_names_the_kind(name: str, content: bytes, format: str) -> None:
    """A name helps where the beginning of the file holds no such record."""
    assert detect(name, content[: 1 << 16]).format == format


ODD = {
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "next line": "\x85",
    "file separator": "\x1c",
    "record separator": "\x1e",
    "vertical tab": "\v",
    "form feed": "\f",
    "carriage return": "\r",
}


@pytest.mark.parametrize("odd", ODD)
def test_what_unicode_calls_a_line_end_ends_no_header_line(odd: str, read_content: Read) -> None:
    """A url is whole, and what follows such a character in a value is no field of its own."""
    url = f"http://a.org/x{ODD[odd]}WARC-Date: 1999{ODD[odd]}Content-Length: 3"
    block = http(b"text", X_Note=f"a{ODD[odd]}X-Injected: b")
    content = warc_record("response", block, url) + page("next")
    fields = ["warc-date", "http.x-injected"]
    outcome = read_content(content, "x.warc", metadata_fields=fields)
    assert outcome.texts == ["text", "next"]
    assert outcome.rows[0]["url"] == url
    assert outcome.rows[0]["metadata"] == '{"warc-date":null,"http.x-injected":null}'


def test_a_folded_header_line_goes_on_with_its_value(read_content: Read) -> None:
    """In the record's header and in that of the response (RFC 2616, 2.2)."""
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\nX-Note: a\r\n  b\r\n\r\ntext"
    content = warc_record("response", block, "http://a.org/", WARC_Note="one\r\n two\r\n\tthree")
    (row,) = read_content(content, "x.warc", metadata_fields=["warc-note", "http.x-note"]).rows
    assert row["metadata"] == '{"warc-note":"one two three","http.x-note":"a b"}'


def test_bare_line_feeds_end_header_lines_too(read_content: Read) -> None:
    """Some writers leave the carriage returns out."""
    head, block = page("text").split(b"\r\n\r\n", 1)
    content = head.replace(b"\r\n", b"\n") + b"\n\n" + block + page("next")
    assert read_content(content, "x.warc").texts == ["text", "next"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n"])
def test_bare_line_feeds_end_the_lines_of_a_response_too(end: bytes, blank: bytes, read_content: Read) -> None:
    """Old servers and crawlers write them, all through or in places (RFC 9112, 2.2); the body is never lost."""
    head = end.join(
        [b"HTTP/1.0 200 OK", b"X: 1", b"Content-Type: text/plain; charset=windows-1252", b"Content-Encoding:"]
    )
    content = warc_record("response", head + end + blank + b"caf\xe9\r\n\r\nmore")
    outcome = read_content(content, "x.warc", metadata_fields=["http.x", "http.status"])
    assert outcome.texts == ["caf\u00e9\r\n\r\nmore"]
    assert outcome.rows[0]["metadata"] == '{"http.x":"1","http.status":200}'


def test_the_response_behind_interim_ones_is_the_page(read_content: Read) -> None:
    """Recorders keep `100 Continue` and `103 Early Hints` as they came (RFC 9110, 15.2)."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    assert read_content(warc_record("response", interim + http(b"text")), "x.warc").texts == ["text"]
    assert read_content(warc_record("response", http(b"", None, "101 Switching")), "x.warc").skipped == ["http_status"]


def test_a_response_without_http_is_a_body_where_its_record_says_so(read_content: Read) -> None:
    """HTTP/0.9 has no header, and some writers leave it out; what claims to be HTTP and is not is an error."""
    bare = warc_record("response", b"text", Content_Type="text/plain")
    claimed = warc_record("response", b"text", Content_Type="application/http; msgtype=response")
    outcome = read_content(bare + claimed, "x.warc")
    assert (outcome.texts, outcome.errors) == (["text"], ["bad_http"])


def test_headers_that_are_not_utf8_are_latin_1(read_content: Read) -> None:
    """As HTTP had it; other bytes would be lost for good."""
    content = page("text").replace(b"http://text.org/", b"http://text.org/caf\xe9")
    assert [row["url"] for row in read_content(content, "x.warc").rows] == ["http://text.org/caf\u00e9"]
