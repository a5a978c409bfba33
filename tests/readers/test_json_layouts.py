"""JSON in other layouts than an object a line, and in other encodings than UTF-8."""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Callable, Sequence

import pytest
from tests.readers.conftest import PACKS, Outcome

from siftlm.readers.json_values import split_values
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block

Read = Callable[..., Outcome]

TEXTS = ['a "quoted" [text]', "größer \\ {", "", "第三の文章です。" * 40, "x" * 3000, "two\nlines\r", "}]", "last"]
ROWS = [{"id": n, "text": text, "more": {"text": "inner", "list": [1, {"a": "]"}]}} for n, text in enumerate(TEXTS)]

LAYOUTS: dict[str, Callable[[Sequence[object]], str]] = {
    "a list on one line": json.dumps,
    "a list, indented": lambda rows: json.dumps(rows, indent=2),
    "a list, indented by tabs, in unescaped letters": lambda rows: json.dumps(rows, indent="\t", ensure_ascii=False),
    "a list with an object a line": lambda rows: "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n",
    "a list with the comma first": lambda rows: "[" + "\n, ".join(map(json.dumps, rows)) + "]",
    "a list in CRLF": lambda rows: json.dumps(rows, indent=1).replace("\n", "\r\n"),
    "a list in CR": lambda rows: json.dumps(rows, indent=1).replace("\n", "\r"),
    "lists one after another": lambda rows: json.dumps(rows[:2], indent=1) + "\n" + json.dumps(rows[2:], indent=1),
    "indented objects": lambda rows: "\n".join(json.dumps(row, indent=4) for row in rows),
    "indented objects with commas between": lambda rows: ",\n".join(json.dumps(row, indent=4) for row in rows),
    "indented objects, compact": lambda rows: "\n\n".join(json.dumps(row, indent=0) for row in rows),
    "objects side by side": lambda rows: "".join(map(json.dumps, rows)),
    "objects on one line": lambda rows: " ".join(map(json.dumps, rows)) + "\n",
    "a sequence (RFC 7464)": lambda rows: "".join(f"\x1e{json.dumps(row)}\n" for row in rows),
    "lines in CR": lambda rows: "\r".join(map(json.dumps, rows)),
    "lines in CRLF": lambda rows: "\r\n".join(map(json.dumps, rows)) + "\r\n",
    "lines": lambda rows: "\n".join(map(json.dumps, rows)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_documents(read_content: Read, layout: str) -> None:
    """What an object a line gives; `offset` of what is refused is where its value begins."""
    content = LAYOUTS[layout]([*ROWS, {"text": 7}, {"text": "behind"}]).encode()
    outcome = read_content(content, "x.json", id_field="id")
    assert outcome.texts == [*TEXTS, "behind"]
    assert [row["record_id"] for row in outcome.rows] == [*map(str, range(len(TEXTS))), None]
    assert outcome.errors == ["wrong_type"]
    at = outcome.rejects[0].offset
    assert json.JSONDecoder().raw_decode(content[at:].decode().strip())[0] == {"text": 7}


@pytest.mark.parametrize("pack", PACKS)
def test_a_list_is_read_out_of_every_compression(read_content: Read, pack: str) -> None:
    """Blocks of any size, larger than one block together."""
    rows = [{"text": f"{n} " + "x" * 5000} for n in range(500)]
    outcome = read_content(PACKS[pack](json.dumps(rows, indent=1).encode()), "x.json")
    assert outcome.texts == [row["text"] for row in rows]
    assert outcome.errors == []


def test_strings_in_a_list_are_texts_where_the_field_has_its_own_name(read_content: Read) -> None:
    """A corpus may be a list of texts; with a configured field, strings are not what was asked for."""
    content = json.dumps(TEXTS, indent=1).encode()
    assert read_content(content, "x.json").texts == TEXTS
    assert read_content(content, "x.json", text_field="body").errors == ["wrong_type"] * len(TEXTS)


@pytest.mark.parametrize("element", ["7", "null", "true", "[1, 2]", "1e999", "[[{}]]"])
def test_an_element_that_is_no_object_is_counted_alone(read_content: Read, element: str) -> None:
    """Numbers, nulls and lists in a list are no documents, and hide none."""
    outcome = read_content(f'[{{"text": "a"}}, {element}, {{"text": "b"}}]'.encode(), "x.json")
    assert outcome.texts == ["a", "b"]
    assert len(outcome.errors) == 1


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "list" in name and "lists" not in name])
def test_a_list_that_is_cut_keeps_what_comes_before(read_content: Read, layout: str) -> None:
    """A download that ended early: every prefix gives a prefix of the documents and one error."""
    content = LAYOUTS[layout](ROWS).encode()
    for cut in sorted(random.Random(layout).sample(range(2, len(content) - 2), 25)):
        outcome = read_content(content[:cut], "x.json")
        assert outcome.texts == TEXTS[: len(outcome.texts)]
        assert len(outcome.errors) == 1, cut


@pytest.mark.parametrize("layout", ["a list, indented", "indented objects", "a list with an object a line"])
def test_an_object_that_is_broken_leaves_its_neighbours(read_content: Read, layout: str) -> None:
    """A quote that is missing costs its object; reading goes on where the next one begins as the first did."""
    content = LAYOUTS[layout](ROWS).replace('"largest"', "").encode()
    broken = content.replace(b'"text": "last"', b'"text": "last').replace(b'"text": "xxx', b'"text": xxx')
    outcome = read_content(broken, "x.json")
    assert outcome.texts[:4] == TEXTS[:4]
    assert "last" not in outcome.texts
    assert outcome.texts[-1] == "}]"


def test_an_object_above_the_limit_is_counted_and_the_next_one_read(read_content: Read) -> None:
    """A long element is read over without being held."""
    rows = [{"text": "a"}, {"text": "x" * 5_000_000}, {"text": "b"}]
    outcome = read_content(json.dumps(rows, indent=1).encode(), "x.json", max_document_bytes=1000)
    assert (outcome.texts, outcome.errors) == (["a", "b"], ["document_too_large"])
    assert outcome.rejects[0].detail.startswith("50000")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_where_blocks_end_changes_nothing(size: int) -> None:
    """Values are the same however the stream is cut into blocks, escapes and all."""
    content = ("[" + LAYOUTS["a list, indented"](ROWS) + ', 1.5, "\\\\", "\\""] {"a": 1}').encode()
    blocks = [Block(content[at : at + size], 0, False) for at in range(0, len(content), size)]
    values = list(split_values(blocks, 1 << 20))
    assert values == list(split_values([Block(content, 0, False)], 1 << 20))
    assert not any(isinstance(value, Flaw) for value in values)
    loaded = [json.loads(value.content or b"") for value in values if not isinstance(value, Flaw)]
    assert loaded == [ROWS, 1.5, "\\", '"', {"a": 1}]


def test_lines_stay_lines_where_the_first_one_is_bad(read_content: Read) -> None:
    """One line that is a list, cut, or no JSON does not make a file of lines anything else."""
    for first in (
        b'["a", "b"]',
        b'{"text": "cut',
        b"{not json}",
        b'{"text": "a"',
        b'{"text": "a",',
        b'{"id": 1, "text":',
        b"7",
        b'{"text": "a}',
        b'{"text": "a"]}',
        b"{}}}",
    ):
        outcome = read_content(first + b'\n{"text": "good"}\n{"text": "good"}\n', "x.jsonl")
        assert (outcome.texts, len(outcome.errors)) == (["good", "good"], 1), first


SEVERAL = {
    "CR between": b'{"text": "a"}\r{"text": "b"}',
    "side by side": b'{"text": "a"}{"text": "b"}',
    "a list": b'[{"text": "a"}, {"text": "b"}]',
    "a comma behind": b'{"text": "a"},\n{"text": "b"} ,',
    "a comma inside": b'{"text": "a",}\n{"more": {"x": 1}, "text": "b" , }',
}


@pytest.mark.parametrize("several", SEVERAL)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_may_hold_more_than_an_object(read_content: Read, several: str, end: bytes) -> None:
    """Files of different line ends that were joined, batches a line, commas left over: every object is a document."""
    content = b'{"text": "first"}\n' + SEVERAL[several].replace(b"\n", end) + end + b'{"text": "last"}' + end
    outcome = read_content(content, "x.jsonl")
    assert (outcome.texts, outcome.errors) == (["first", "a", "b", "last"], [])


def test_what_is_broken_in_a_line_of_several_is_counted_alone(read_content: Read) -> None:
    """And a line of anything but objects is one error, as it stands."""
    content = (
        b'{"text": "0"}\n{"text": "a"}\r{"text": b}\r{"text": "c"}\r{"text": "d\n{"text": "e"} and more\n[1, {}]\n'
    )
    outcome = read_content(content, "x.jsonl")
    assert outcome.texts == ["0", "a", "c"]
    assert outcome.errors == ["broken_json", "broken_json", "broken_json", "json_list"]
    assert [content[reject.offset :][:9] for reject in outcome.rejects[:2]] == [b'{"text": ', b'{"text": ']


ENCODINGS = {
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "utf-8": codecs.BOM_UTF8,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("layout", ["lines", "lines in CRLF", "a list, indented", "a list in CR", "indented objects"])
@pytest.mark.parametrize("pack", ["none", "gzip"])
def test_a_byte_order_mark_names_the_encoding(read_content: Read, encoding: str, layout: str, pack: str) -> None:
    """UTF-16 and UTF-32 of both byte orders, in every layout, packed too, under a name or none."""
    rows = [*ROWS, {"text": "🜚 outside the first plane"}]
    text = (
        "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) if layout == "lines" else LAYOUTS[layout](rows)
    )
    content = PACKS[pack](ENCODINGS[encoding] + text.encode(encoding))
    for name in ("x.jsonl", "x", "x.json.gz"):
        assert read_content(content, name).texts == [row["text"] for row in rows], name


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "utf-8"])
def test_damage_in_utf_16_costs_the_line_that_holds_it(read_content: Read, encoding: str) -> None:
    """A lone surrogate, or a number that is no character, is not repaired; the next line is read."""
    bad = {"utf-16-le": b"\x00\xd8", "utf-16-be": b"\xd8\x00", "utf-32-le": b"\0\0\x11\0", "utf-32-be": b"\0\x11\0\0"}
    lines = [json.dumps({"text": text}).encode(encoding) for text in ("a", "b?", "c")]
    lines[1] = lines[1].replace("?".encode(encoding), bad[encoding])
    outcome = read_content(ENCODINGS[encoding] + "\n".encode(encoding).join(lines), "x.jsonl")
    assert (outcome.texts, outcome.errors) == (["a", "c"], ["bad_utf8"])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.txt"])
def test_utf_16_without_a_mark_is_refused_by_its_name(read_content: Read, encoding: str, name: str) -> None:
    """NULs between letters are UTF-8 too, but nobody's text."""
    outcome = read_content('{"text": "a document"}'.encode(encoding), name)
    assert (outcome.texts, outcome.errors) == ([], ["utf16_without_mark"])
    assert "without a byte order mark" in outcome.rejects[0].detail


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis", "gb18030", "cp1251"])
def test_another_encoding_is_refused_with_its_likely_name(read_content: Read, encoding: str) -> None:
    """What is not UTF-8 says what it may be instead, but not for one bad byte among UTF-8."""
    text = {"shift_jis": "日本語の文章です", "gb18030": "中文文本内容", "cp1251": "русский текст"}.get(
        encoding, "größer als"
    )
    outcome = read_content(f'{{"text": "{text}"}}'.encode(encoding), "x.jsonl")
    likely = "Latin-1" if encoding in ("latin-1", "cp1252") else "Shift_JIS"
    assert outcome.errors == ["bad_utf8"]
    assert likely in outcome.rejects[0].detail
    mixed = read_content('{"text": "größer größer'.encode() + b'\xff"}', "y.jsonl")
    assert "looks like" not in mixed.rejects[0].detail


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("unit", ["file", "line", "paragraph"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_files_are_read_in_every_marked_encoding(read_content: Read, encoding: str, unit: str, end: str) -> None:
    """Lines and paragraphs end with LF, CRLF or CR."""
    text = f"größer{end}{end}第三 🜚{end}"
    outcome = read_content(ENCODINGS[encoding] + text.encode(encoding), "x.txt", text_unit=unit)
    assert outcome.texts == ([text] if unit == "file" else ["größer", "第三 🜚"])
    assert outcome.errors == []
