"""Counts for the manifest how many documents the lists of rules have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Listing, RuleSettings

LISTS = "lists"
"""What markers call the counts."""


def listings(placed: Iterable[tuple[str, RuleSettings]]) -> list[Listing]:
    """Returns every list that rules name in tables, with its dotted place in the configuration."""
    return [listing._replace(place=f"{place}.{listing.place}") for place, rule in placed for listing in rule.listings()]


def count_matches(listed: Sequence[Listing], rows: Rows) -> dict[str, int]:
    """Returns for the place of every list how many of the rows have a value that it has."""
    return {place: int(rows.listed(column, table).sum()) for place, column, table in listed}


def told(listed: Sequence[Listing], counts: Iterable[Mapping[str, int]]) -> tuple[list[str], dict[str, Any]]:
    """Returns warnings of lists that match no document, and what the manifest tells of every list.

    `counts` are those of every shard.
    """
    matched = sum((Counter(each) for each in counts), Counter[str]())
    warnings, statistics = [], {}
    for place, column, table in listed:
        statistics[f"{LISTS}/{place}"] = {
            "kind": table.kind,
            "column": column,
            **({"path": table.path, "digest": table.digest} if table.path else {}),
            "entries": table.opened().entries,
            "matched": matched[place],
        }
        if not matched[place]:
            warnings.append(f"{place}: no document has a {column} of the {table.words()}")
    return warnings, statistics
