"""Hints in messages: the name that was meant."""

from __future__ import annotations

import pytest

from siftlm.errors import nearest


@pytest.mark.parametrize(
    ("name", "names", "meant"),
    [
        ("ID", ["date", "id", "text"], "id"),
        ("Title", ["subtitle", "title"], "title"),
        ("warc-tipe", ["WARC-Type", "WARC-Date"], "WARC-Type"),
        ("EN", ["de", "en"], "en"),
        ("URI", ["url", "text"], "url"),
        ("STRASSE", ["straße", "strand"], "straße"),
        ("titel", ["title", "TITLE"], "title"),
        ("zzzz", ["id", "url"], None),
        ("id", [], None),
    ],
)
def test_the_nearest_name_is_found_in_whatever_case(name: str, names: list[str], meant: str | None) -> None:
    """Spelled as it is there; the first where two differ in case alone."""
    assert nearest(name, names) == meant
