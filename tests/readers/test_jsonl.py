"""JSON lines: fields, and what can be wrong with a line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import orjson
import pytest
from tests.readers.conftest import Outcome

GOOD = b'{"text": "good"}\n'

BAD_LINES = {
    b'{"text": "\xff"}': "bad_utf8",
    b'{"text": "cut': "broken_json",
    b'{"text": "a"} and {"text": "b"}': "broken_json",
    b'{"body": "a"}': "missing_field",
    b'{"text": null}': "null_text",
    b'{"text": 7}': "wrong_type",
    b'{"text": ["a"]}': "wrong_type",
    b'"text"': "wrong_type",
    b"7": "wrong_type",
    b'["a", "b"]': "json_list",
    b'[{"text": "a"},': "json_list",
    b'{"text": "\\ud800"}': "lone_surrogate",
    b'{"text": "he said "hi"", "n": 1}': "broken_json",
    b'{"text": ' + b"[" * 100_000: "json_too_deep",
    b'{"text": ' + b"9" * 5000 + b"}": "wrong_type",
    b"\xff\xfe{\x00": "bad_utf8",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items())
def test_a_bad_line_is_counted_with_its_reason_and_its_neighbours_are_read(
    read_content: Callable[..., Outcome], line: bytes, reason: str
) -> None:
    """Each kind of bad line has a reason of its own, its offset, and costs nothing else."""
    outcome = read_content(GOOD + line + b"\n" + GOOD, "x.jsonl")
    assert outcome.texts == ["good", "good"]
    assert outcome.errors == [reason]
    assert (outcome.rejects[0].position, outcome.rejects[0].offset) == (1, len(GOOD))


def test_line_ends_blank_lines_and_a_byte_order_mark_are_no_records(read_content: Callable[..., Outcome]) -> None:
    """CRLF, empty lines, spaces, a BOM and a missing last line end change nothing."""
    content = b'\xef\xbb\xbf{"text": "a\\r"}\r\n\r\n  \n\n{"text": "b"}\r\n{"text": "c"}'
    outcome = read_content(content, "x.jsonl")
    assert outcome.texts == ["a\r", "b", "c"]
    assert outcome.rejects == []


def test_nul_characters_stay_in_the_text(read_content: Callable[..., Outcome]) -> None:
    """A text is not repaired."""
    assert read_content(b'{"text": "a\\u0000b\\u2028c"}\n', "x.jsonl").texts == ["a\0b\u2028c"]


def test_fields_are_found_by_dotted_paths(read_content: Callable[..., Outcome]) -> None:
    """Paths reach into objects; a key with dots in it goes first; whole numbers serve as ids."""
    row = {"doc": {"body": "text"}, "a.b": "literal", "a": {"b": "nested"}, "n": 7, "tags": ["x", {"y": None}]}
    outcome = read_content(
        orjson.dumps(row),
        "x.jsonl",
        text_field="doc.body",
        url_field="a.b",
        id_field="n",
        domain_field="doc.none.deeper",
        metadata_fields=["tags", "doc.body", "absent"],
    )
    (found,) = outcome.rows
    assert (found["text"], found["url"], found["record_id"], found["domain"]) == ("text", "literal", "7", None)
    assert orjson.loads(found["metadata"]) == {"tags": ["x", {"y": None}], "doc.body": "text", "absent": None}


def test_what_the_writer_of_python_writes_is_read(read_content: Callable[..., Outcome]) -> None:
    """NaN and Infinity are not JSON, but they are in many corpora; they become null."""
    outcome = read_content(b'{"text": "a", "score": NaN, "x": -Infinity}', "x.jsonl", metadata_fields=["score", "x"])
    assert outcome.texts == ["a"]
    assert outcome.rows[0]["metadata"] == '{"score":null,"x":null}'


EXTRA = {
    "a huge integer": (
        b"123456789012345678901234567890",
        "123456789012345678901234567890",
        123456789012345678901234567890,
    ),
    "64 bits and one": (b"18446744073709551616", "18446744073709551616", 18446744073709551616),
    "a longer one than Python converts": (b"9" * 5000, "9" * 5000, "9" * 5000),
    "a whole float": (b"3.0", "3", 3.0),
    "a float": (b"0.1", "0.1", 0.1),
    "an exponent": (b"1e5", "100000", 1e5),
    "NaN": (b"NaN", None, None),
    "a boolean": (b"true", "true", True),
    "null": (b"null", None, None),
    "an empty string": (b'""', None, ""),
    "a raw tab": (b'"a\tb"', "a\tb", "a\tb"),
}


@pytest.mark.parametrize("kind", EXTRA)
def test_an_id_of_any_plain_type_is_its_text(read_content: Callable[..., Outcome], kind: str) -> None:
    """Exactly: two integers above 64 bits must not become one rounded float. Metadata keep their number."""
    written, identity, value = EXTRA[kind]
    line = b'{"text": "a", "x": %b}' % written
    outcome = read_content(line, "x.jsonl", id_field="x", domain_field="x", metadata_fields=["x"])
    assert [(row["text"], row["record_id"], row["domain"]) for row in outcome.rows] == [("a", identity, identity)]
    assert json.loads(outcome.rows[0]["metadata"]) == {"x": value}
    assert (outcome.unusable, outcome.rejects) == ({}, [])


UNUSABLE = {
    "a list": b'["x"]',
    "an object": b'{"x": 1}',
    "a lone surrogate": b'"\\ud800"',
    "bytes that are not UTF-8": b'"\xff"',
    "objects in objects": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
    "no JSON": b"None",
    "infinity": b"Infinity",
    "a string of 70,000 characters": b'"' + b"x" * 70_000 + b'"',
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_an_id_or_a_url_costs_no_document(read_content: Callable[..., Outcome], kind: str) -> None:
    """It is absent and counted, by the field that it stands in; the line's neighbours know nothing of it."""
    line = b'{"x": %b, "text": "a"}\n' % UNUSABLE[kind]
    outcome = read_content(GOOD + line + GOOD, "x.jsonl", id_field="x", url_field="x", domain_field="x")
    assert outcome.texts == ["good", "a", "good"]
    assert [(row["record_id"], row["url"], row["domain"]) for row in outcome.rows] == [(None, None, None)] * 3
    assert (outcome.unusable, outcome.rejects) == ({"id_field": 1, "url_field": 1, "domain_field": 1}, [])
    unused = read_content(GOOD + line + GOOD, "y.jsonl")
    assert (unused.texts, unused.unusable, unused.rejects) == (["good", "a", "good"], {}, [])


@pytest.mark.parametrize("kind", ["a lone surrogate", "bytes that are not UTF-8", "objects in objects", "no JSON"])
def test_metadata_that_json_cannot_carry_are_null_and_counted(read_content: Callable[..., Outcome], kind: str) -> None:
    """The value alone is lost: neither its document nor the other metadata."""
    line = b'{"x": %b, "text": "a", "y": 7}\n' % UNUSABLE[kind]
    outcome = read_content(line, "x.jsonl", metadata_fields=["x", "y"])
    assert outcome.texts == ["a"]
    assert orjson.loads(outcome.rows[0]["metadata"]) == {"x": None, "y": 7}
    assert (outcome.unusable, outcome.rejects) == ({"metadata_fields.x": 1}, [])


def test_metadata_of_many_bytes_are_null_and_counted(read_content: Callable[..., Outcome]) -> None:
    """A value of more than 1 MiB does not go through every stage; one below it does."""
    rows = [{"text": "a", "x": "x" * size, "y": 1} for size in (1_000_000, 1_100_000)]
    outcome = read_content(b"\n".join(map(orjson.dumps, rows)), "x.jsonl", metadata_fields=["x", "y"])
    assert [orjson.loads(row["metadata"])["x"] for row in outcome.rows] == ["x" * 1_000_000, None]
    assert outcome.unusable == {"metadata_fields.x": 1}


@pytest.mark.parametrize("url", [b"7", b"true", b"1.5", b'["http://a.org/"]', b"{}"])
def test_a_url_is_a_string(read_content: Callable[..., Outcome], url: bytes) -> None:
    """A field under the default name that holds something else is no url."""
    outcome = read_content(b'{"text": "a", "url": %b}' % url, "x.jsonl")
    assert [(row["text"], row["url"]) for row in outcome.rows] == [("a", None)]
    assert outcome.unusable == {"url_field": 1}


def test_a_name_that_cannot_be_read_costs_its_member(read_content: Callable[..., Outcome]) -> None:
    """Escapes that JSON does not know, in the name of a field that nobody asked for."""
    assert read_content(b'{"\\q": 1, "text": "a"}', "x.jsonl").texts == ["a"]


def test_a_text_is_found_in_objects_that_cannot_be_read_whole(read_content: Callable[..., Outcome]) -> None:
    """Members are read one by one as deep as the configured paths go."""
    line = b'{"doc": {"meta": %b, "text": "a"}, "id": 7}' % UNUSABLE["objects in objects"]
    outcome = read_content(line, "x.jsonl", text_field="doc.text", id_field="id")
    assert [(row["text"], row["record_id"]) for row in outcome.rows] == [("a", "7")]


def test_a_line_without_end_is_counted_by_its_size(read_content: Callable[..., Outcome]) -> None:
    """A line far above the limit is read over in pieces, and the next line is read."""
    content = GOOD + b'{"text": "' + b"x" * 9_000_000 + b'"}\n' + GOOD
    outcome = read_content(content, "x.jsonl", max_document_bytes=1000)
    assert outcome.texts == ["good", "good"]
    assert outcome.errors == ["document_too_large"]
    assert outcome.rejects[0].detail.startswith("9000012 bytes")


def test_damage_between_gzip_members_loses_what_is_in_the_damaged_member_only(
    read_content: Callable[..., Outcome],
) -> None:
    """Concatenated gzip files: a broken one in the middle leaves the others."""
    members = [gzip.compress(b'{"text": "%d"}\n' % i * 3) for i in range(3)]
    damaged = bytearray(members[1])
    damaged[15] ^= 0xFF
    outcome = read_content(members[0] + bytes(damaged) + members[2], "x.jsonl.gz")
    assert outcome.texts[:3] == ["0"] * 3
    assert outcome.texts[-3:] == ["2"] * 3
    assert "corrupt_gzip" in outcome.errors
    fault = next(reject for reject in outcome.rejects if reject.reason == "corrupt_gzip")
    assert fault.offset == len(members[0])
