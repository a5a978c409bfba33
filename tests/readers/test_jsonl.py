"""JSON lines: fields, and what can be wrong with a line."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import orjson
import pytest
from tests.readers.conftest import Outcome

GOOD = b'{"text": "good"}\n'

BAD_LINES = {
    b'{"text": "\xff"}': "bad_utf8",
    b'{"text": "cut': "broken_json",
    b'{"text": "a"} {"text": "b"}': "broken_json",
    b'{"body": "a"}': "missing_field",
    b'{"text": null}': "null_text",
    b'{"text": 7}': "wrong_type",
    b'{"text": ["a"]}': "wrong_type",
    b'"text"': "wrong_type",
    b"7": "wrong_type",
    b'["a", "b"]': "json_list",
    b'[{"text": "a"},': "json_list",
    b'{"text": "\\ud800"}': "lone_surrogate",
    b'{"text": "a", "url": "\\udfff"}': "lone_surrogate",
    b'{"text": "a", "url": {}}': "wrong_type",
    b'{"text": ' + b"[" * 100_000: "json_too_deep",
    b'{"text": ' + b"9" * 5000 + b"}": "broken_json",
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


def test_metadata_that_json_cannot_carry_is_counted(read_content: Callable[..., Outcome]) -> None:
    """Objects nested beyond what the writer takes are refused by name."""
    deep = b'{"text": "a", "meta": ' + b'{"x":' * 500 + b"1" + b"}" * 500 + b"}\n"
    outcome = read_content(deep + GOOD, "x.jsonl", metadata_fields=["meta"])
    assert (outcome.texts, outcome.errors) == (["good"], ["bad_metadata"])


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
