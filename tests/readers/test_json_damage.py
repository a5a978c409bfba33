"""Elements of JSON lists, and indented objects, that lack a bracket or a quote: each costs itself alone."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.readers.conftest import Outcome

from siftlm.readers import json_values
from siftlm.readers.json_values import split_values
from siftlm.readers.lines import Piece
from siftlm.readers.records import Flaw
from siftlm.readers.streams import Block

Read = Callable[..., Outcome]


def _plain(text: str) -> str:
    return json.dumps({"text": text})


def _deep(text: str) -> str:
    return json.dumps({"text": text, "more": {"text": "inner", "list": [{"text": "x"}, {"text": "y"}]}}, indent=2)


def _tree(text: str) -> str:
    return json.dumps({"text": text, "list": [{"text": "x"}, {"text": "y"}]})


def _lines(elements: Sequence[str]) -> str:
    return "[\n" + ",\n".join(elements) + "\n]\n"


def _indented(elements: Sequence[str]) -> str:
    return _lines(["  " + element.replace("\n", "\n  ") for element in elements])


LAYOUTS: dict[str, tuple[Callable[[str], str], Callable[[Sequence[str]], str]]] = {
    "an element a line": (_plain, _lines),
    "an element a line, CR": (_plain, lambda elements: _lines(elements).replace("\n", "\r")),
    "an element a line, CRLF": (_plain, lambda elements: _lines(elements).replace("\n", "\r\n")),
    "indented elements": (_deep, _indented),
    "indented elements, CR": (_deep, lambda elements: _indented(elements).replace("\n", "\r")),
    "indented objects": (_deep, "\n".join),
    "on one line": (_plain, lambda elements: "[" + ", ".join(elements) + "]"),
    "on one line, with objects in objects": (_tree, lambda elements: "[" + ",".join(elements) + "]"),
    "as PostgreSQL writes it": (_plain, lambda elements: "[" + ", \n ".join(elements) + "]"),
    "comma first": (_plain, lambda elements: "[" + "\n, ".join(elements) + "]"),
    "lists one after another": (_plain, lambda elements: _lines(elements[:2]) + "\ufeff" + _lines(elements[2:])),
    "a sequence (RFC 7464)": (_plain, lambda elements: "".join(f"\x1e{element}\n" for element in elements)),
}
BREAKS: dict[str, Callable[[str], str]] = {
    "without its last brace": lambda element: element[:-1].rstrip(),
    "without a quote": lambda element: element.replace('"b"', '"b'),
    "with a line end in its string": lambda element: element.replace('"b"', '"b\nb"'),
}


# Behind a quote that is missing on the line of all, inner objects that begin as outer ones do cannot be told from them.
CASES = [(layout, way) for layout in LAYOUTS for way in BREAKS if "in objects" not in layout or "brace" in way]


@pytest.mark.parametrize(("layout", "way"), CASES)
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_broken_element_is_one_error_and_its_neighbours_are_read(
    read_content: Read, layout: str, way: str, place: int, encoding: str
) -> None:
    """At the beginning, in the middle and at the end; objects inside it do not become documents."""
    write, join = LAYOUTS[layout]
    elements = [write(text) for text in "acd"]
    elements.insert(place, BREAKS[way](write("b")))
    content = join(elements)
    outcome = read_content(content.encode(encoding), "x.json")
    assert (outcome.texts, outcome.errors) == (["a", "c", "d"], ["broken_json"])
    at = outcome.rejects[0].offset
    assert re.match(rb'\{\s*"text": "b', content.encode()[at:])


@pytest.mark.parametrize(
    ("broken", "texts", "errors"),
    [
        ('{"text": "b", "list": [1, 2', "acd", 1),
        ('{"text": "b", "list": [1, 2}', "acd", 1),
        ('{"text": "b"]}', "acd", 1),
        ('{"text": "b", "more": {"x": 1}', "acd", 1),
        ('"text": "b"}', "acd", 1),
        ('{"text" "b", "more": {"text": "inner"}}', "acd", 1),
        ('{"text": "b",\n{"text": "b"', "acd", 2),
        ('{"text": "b\n{"text": "b', "acd", 2),
        ('{"text": "b", "list": [1,\n{"text": "B"},\n{"text": "b", "list": [1', "aBcd", 2),
        ('{"text": "B"}\n{"text": "C"}', "aBCcd", 0),
        ('{"text": "B"},,', "aBcd", 0),
        ('{"text": "B", "x": NaN}', "aBcd", 0),
        ("7,\nnull,\n[1]", "acd", 3),
        ("// it is a comment", "acd", 1),
    ],
)
def test_what_an_element_may_lack(read_content: Read, broken: str, texts: str, errors: int) -> None:
    """Brackets inside, a beginning, a comma; several in a row; and what is no object."""
    outcome = read_content(_lines([_plain("a"), broken, _plain("c"), _plain("d")]).encode(), "x.json")
    assert ("".join(outcome.texts), len(outcome.errors)) == (texts, errors)


def test_objects_in_objects_stay_there_where_lines_say_nothing(read_content: Read) -> None:
    """Without indentation, inner objects begin as outer ones do: the name of their first key tells them apart."""
    rows = [{"id": 1, "text": text, "list": [{"text": "x"}, {"text": "y"}]} for text in "abcd"]
    content = json.dumps(rows, indent=0).replace('"b"', '"b')
    outcome = read_content(content.encode(), "x.json")
    assert (outcome.texts, outcome.errors) == (["a", "c", "d"], ["broken_json"])


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_an_object_around_the_list_is_an_error(read_content: Read, cut: int) -> None:
    """Its elements are not taken for documents, whole or cut."""
    content = f'{{"data": {_lines([_plain("a"), _plain("b")])}}}'.encode()
    outcome = read_content(content[: len(content) - cut], "x.json")
    assert (outcome.texts, len(outcome.errors)) == ([], 1)


@pytest.mark.parametrize("way", BREAKS)
@pytest.mark.parametrize("layout", ["an element a line", "on one line"])
def test_a_broken_element_costs_itself_in_a_list_that_is_longer_than_memory(
    read_content: Read, layout: str, way: str
) -> None:
    """Before what follows it has an end; the limit is that of a document."""
    write, join = LAYOUTS[layout]
    texts = [f"{n} " + "x" * 10_000 for n in range(300)]
    content = join([write("a"), BREAKS[way](write("b")), *map(write, texts)]).encode()
    outcome = read_content(content, "x.json", max_document_bytes=20_000)
    assert (outcome.texts, outcome.errors) == (["a", *texts], ["broken_json"])


class Counted:
    """A pattern that counts the bytes it goes over."""

    bytes_read = 0

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def match(self, content: bytearray, start: int = 0, stop: int = sys.maxsize) -> re.Match[bytes] | None:
        """As that of the pattern; its patterns end where they fail."""
        return self._counted(self._pattern.match(content, start, stop), start, start)

    def search(self, content: bytearray, start: int = 0, stop: int = sys.maxsize) -> re.Match[bytes] | None:
        """As that of the pattern."""
        return self._counted(self._pattern.search(content, start, stop), start, min(stop, len(content)))

    def _counted(self, found: re.Match[bytes] | None, start: int, end: int) -> re.Match[bytes] | None:
        Counted.bytes_read += (found.end() if found else end) - start
        return found


HOSTILE = [
    "[",
    "]",
    "[]",
    '{"a":',
    '"',
    '"\n',
    '"\\',
    "{",
    "{\n",
    "[{\n",
    '{"a":[\n',
    '{"a":[1,\n{"text":"x"},\n',
    ",{",
]
HOSTILE += [
    '{"text":"b\n',
    '{"text":"b},',
    '{"text":"b","l":[1,',
    '{"text":"b","l":[1,{"text":"x"},',
    " " * 200 + "{\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
@pytest.mark.parametrize("before", ["", "[\n", '[\n{"text":"a"},\n', '[{"text":"a"},'])
@pytest.mark.parametrize("limit", [1 << 12, 1 << 20])
def test_hostile_content_is_read_a_constant_number_of_times(
    monkeypatch: pytest.MonkeyPatch, piece: str, before: str, limit: int
) -> None:
    """Counted in bytes that patterns go over: four times by brackets, and as often in search of beginnings, at most."""
    content = (before + piece * (20_000 // len(piece))).encode()
    whole: Any = json_values.starts
    for name in [name for name, value in vars(json_values).items() if isinstance(value, re.Pattern)]:
        monkeypatch.setattr(json_values, name, Counted(getattr(json_values, name)))
    monkeypatch.setattr(json_values, "starts", lambda layout: Counted(whole(layout)))
    monkeypatch.setattr(Counted, "bytes_read", 0)
    blocks = [Block(content[at : at + 4096], 0, False) for at in range(0, len(content), 4096)]
    values = list(split_values(blocks, limit))
    assert Counted.bytes_read <= 8 * len(content)
    assert len(values) <= len(content)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", BREAKS)
def test_where_blocks_end_changes_nothing_about_what_is_broken(layout: str, way: str) -> None:
    """Values are the same however the stream is cut into blocks."""
    write, join = LAYOUTS[layout]
    content = join([write("a"), BREAKS[way](write("b")), write("c"), BREAKS[way](write("b")), write("d")]).encode()

    def found(size: int) -> list[Piece | Flaw]:
        blocks = [Block(content[at : at + size], 0, False) for at in range(0, len(content), size)]
        return list(split_values(blocks, 1 << 20))

    assert found(1) == found(7) == found(len(content))
