"""Computes which domains, languages or sources a corpus consists of, before and after selection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from siftlm.report.tally import NOTHING, Counts

SHOWN = 30
UNNAMED = "(none)"


class GroupCounts(NamedTuple):
    """Holds the counts of a domain, language or source, or of many together, before and after selection.

    The fields after `members` are those of `tally.Counts`.
    """

    name: str
    members: int  # how many it stands for
    documents: int
    bytes: int
    tokens: int
    kept: int
    kept_bytes: int
    kept_tokens: int
    copies: int
    weight: int
    weighted_bytes: int
    weighted_tokens: int
    copied_bytes: int
    copied_tokens: int


@dataclass(frozen=True)
class Composition:
    """Holds the counts of a corpus by the values of one column, largest first, the remaining ones together."""

    column: str
    groups: tuple[GroupCounts, ...]
    total: GroupCounts
    distinct: int


def composition(column: str, groups: Mapping[str | None, Counts], shown: int = SHOWN) -> Composition:
    """Returns the counts of the `shown` largest groups by documents, ties by name, and of all others together."""
    shown += len(groups) == shown + 1  # a single other one has its name
    ranked = largest_first(groups, lambda group: (-group.documents, group.name.removeprefix(UNNAMED)), shown)
    return Composition(column, ranked, GroupCounts("all", 1, *added(groups.values())), len(groups))


def largest_first(
    groups: Mapping[str | None, Counts], order: Callable[[GroupCounts], Any], shown: int
) -> tuple[GroupCounts, ...]:
    """Returns the first `shown` groups in the given order, and all others added up as one group."""
    named = (GroupCounts(UNNAMED if name is None else name, 1, *counts) for name, counts in groups.items())
    ranked = sorted(named, key=order)
    others = ranked[shown:]
    tail = [GroupCounts(f"{len(others):,} others", len(others), *added(group[2:] for group in others))]
    return (*ranked[:shown], *(tail if others else ()))


def added(counts: Iterable[Counts]) -> Counts:
    """Returns the element-wise sums of several `Counts`."""
    return tuple(sum(column) for column in zip(NOTHING, *counts, strict=True))
