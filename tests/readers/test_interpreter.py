"""What the readers need of the interpreter, so that one that lacks it is known at once."""

from __future__ import annotations

import re


def test_possessive_groups_match_where_greedy_ones_do() -> None:
    """CPython before 3.11.5 does not go back to where a failed repetition began (gh-106052)."""
    assert re.fullmatch(rb"(?:ab?c)*+a", b"aca")
    assert re.fullmatch(rb"W\n(?:(?!\r?\n)[^\n]++\n)*+\r?\n", b"W\na: b\r\n\r\n")
