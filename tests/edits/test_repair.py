"""Repairs are ftfy's, stored as spans: the library's own answer is the truth."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from siftlm.edits import edited_columns, replaced
from siftlm.edits.repair import RepairSettings

ftfy = pytest.importorskip("ftfy")
WEB = Path(__file__).resolve().parents[3] / "shared/data/web/c4-sample.jsonl.gz"
LEFT = {
    "fix_latin_ligatures": False, "fix_character_width": False, "uncurl_quotes": False, "fix_line_breaks": False,
    "normalization": None,
}  # fmt: skip
"""What datatrove's FTFYFormatter leaves alone too."""


def repaired(texts: list[str], **settings: Any) -> tuple[list[str], list[dict[str, Any]]]:
    repair, column = RepairSettings.model_validate(settings), pa.array(texts, pa.large_string())
    made = edited_columns(repair, column)
    return replaced(column, made[repair.spans]).to_pylist(), made.to_pylist()


@pytest.mark.parametrize(
    ("text", "expected", "spans"),
    [
        ("cafÃ© noir", "café noir", [(3, 7, "é")]),
        ("naïve – “quoted” ﬁne Ａ\r\n", "naïve – “quoted” ﬁne Ａ\r\n", []),
        ("good\nschÃ¶n\nbad\x00", "good\nschön\nbad", [(8, 12, "ö"), (17, 18, "")]),
        ("日本 cafÃ©", "日本 café", [(10, 14, "é")]),
        ("Tom &amp; Jerry", "Tom & Jerry", [(5, 9, "")]),
        ("<b>\nTom &amp; Jerry", "<b>\nTom &amp; Jerry", []),
        ("\x1b[36mblue\x1b[0m", "blue", [(0, 13, "blue")]),
    ],
)
def test_a_span_is_the_stretch_of_a_line_that_changes(text: str, expected: str, spans: list[Any]) -> None:
    (after,), (row,) = repaired([text])
    assert after == expected
    assert [tuple(span.values()) for span in row["repair_spans"]] == spans
    assert row["repairs"] == len(spans)


def test_entities_stay_where_nobody_asks() -> None:
    assert repaired(["Tom &amp; Jerry's cafÃ©"], unescape_html=False)[0] == ["Tom &amp; Jerry's café"]


@pytest.mark.parametrize("piece", ["amp;", "#38;", "Ã\x83Â", "\x1b[", "Ã", "&amp;", "\x92", "ã\x81 "])
def test_hostile_lines_take_linear_time(piece: str) -> None:
    """ftfy would go through `&amp;amp;amp;` as often as it has an `amp;`, which takes an hour for this text."""
    started = time.monotonic()
    repaired(["&" + piece * (1_000_000 // len(piece))])
    assert time.monotonic() - started < 60


def test_entities_of_entities_are_repaired_to_a_depth() -> None:
    assert repaired(["&amp;amp;amp;lt; é", "&" + "amp;" * 8 + " cafÃ©"])[0] == ["< é", "&" + "amp;" * 8 + " café"]


PIECES = [
    "Ã©",
    "â€™",
    "&amp;",
    "&#10;",
    "<",
    "\n",
    "é",
    "plain ",
    "\x00",
    "\ufeff",
    "\x1b[0m",
    "\x92",
    "’",
    "日",
    "\r",
    " ",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=12).map("".join), st.booleans())
@example("&#10;&lt;\n&amp;", True)
def test_the_text_is_what_ftfy_makes_of_it(text: str, unescape: bool) -> None:
    told = {**LEFT, "unescape_html": "auto" if unescape else False}
    assert repaired([text, "beside"], unescape_html=unescape)[0] == [ftfy.fix_text(text, **told), "beside"]


@given(st.text(st.characters(codec="ascii", exclude_characters="&", exclude_categories=("Cc",))))
def test_plain_text_is_not_looked_at(text: str) -> None:
    assert not RepairSettings().suspects(pa.array([text], pa.large_string())).any()
    assert ftfy.fix_text(text, **LEFT) == text


@pytest.mark.skipif(not WEB.exists(), reason="needs the sample of web pages")
def test_on_web_pages_the_texts_are_ftfys() -> None:
    with gzip.open(WEB) as lines:
        texts = [json.loads(line)["text"] for line in lines][:300]
    assert repaired(texts)[0] == [ftfy.fix_text(text, **LEFT) for text in texts]
