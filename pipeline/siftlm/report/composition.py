"""Says what the corpus is made of, before and after: its largest domains, languages or sources, and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from siftlm.report.tally import NOTHING, Counts

SHOWN = 30
UNNAMED = "(none)"


class GroupCounts(NamedTuple):
    """Counts a domain, language or source, or many together, before and after selection: `tally.Counts`."""

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
    """Divides a corpus by one column, largest groups first, the tail last."""

    column: str
    groups: tuple[GroupCounts, ...]
    total: GroupCounts
    distinct: int


def composition(column: str, groups: Mapping[str | None, Counts], shown: int = SHOWN) -> Composition:
    """Returns the `shown` largest groups by documents, ties by name, and all others as one."""
    shown += len(groups) == shown + 1  # a single other one has its name
    ranked = largest_first(groups, lambda group: (-group.documents, group.name.removeprefix(UNNAMED)), shown)
    return Composition(column, ranked, GroupCounts("all", 1, *added(groups.values())), len(groups))


def largest_first(
    groups: Mapping[str | None, Counts], order: Callable[[GroupCounts], Any], shown: int
) -> tuple[GroupCounts, ...]:
    """Returns the first groups in an order, and all others as one."""
    named = (GroupCounts(UNNAMED if name is None else name, 1, *counts) for name, counts in groups.items())
    ranked = sorted(named, key=order)
    others = ranked[shown:]
    tail = [GroupCounts(f"{len(others):,} others", len(others), *added(group[2:] for group in others))]
    return (*ranked[:shown], *(tail if others else ()))


def added(counts: Iterable[Counts]) -> Counts:
    """Returns the sums of counts."""
    return tuple(sum(column) for column in zip(NOTHING, *counts, strict=True))
