"""What the corpus is made of, before and after: the largest domains, languages or sources, and the rest as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from siftlm.report.tally import NOTHING, WEIGHT_UNIT, Counts

SHOWN = 30
UNNAMED = "(none)"


@dataclass(frozen=True)
class GroupCounts:
    """A domain, language or source, or many together: counts before and after selection."""

    name: str
    counts: Counts
    members: int = 1  # how many it stands for

    @property
    def documents(self) -> int:
        return self.counts[0]

    @property
    def bytes(self) -> int:
        return self.counts[1]

    @property
    def kept(self) -> int:
        return self.counts[3]

    @property
    def kept_bytes(self) -> int:
        return self.counts[4]

    @property
    def kept_tokens(self) -> int:
        return self.counts[5]

    @property
    def copies(self) -> int:
        return self.counts[6]

    @property
    def mean_weight(self) -> float | None:
        """Expected copies of a kept document."""
        return self.counts[7] / WEIGHT_UNIT / self.kept if self.kept else None


@dataclass(frozen=True)
class Composition:
    """The parts of a corpus by one column, largest first, the tail last."""

    column: str
    parts: tuple[GroupCounts, ...]
    whole: GroupCounts
    distinct: int

    @property
    def tail(self) -> GroupCounts | None:
        """All that are not shown by name."""
        last = self.parts[-1] if self.parts else None
        return last if last is not None and last.members > 1 else None


def composition(column: str, groups: Mapping[str | None, Counts], shown: int = SHOWN) -> Composition:
    """The `shown` largest groups by documents, ties by name, and one part for the others."""
    ranked = sorted(groups.items(), key=lambda entry: (-entry[1][0], entry[0] or ""))
    parts = [GroupCounts(UNNAMED if name is None else name, counts) for name, counts in ranked[:shown]]
    rest = ranked[shown:]
    if len(rest) == 1:
        parts.append(GroupCounts(rest[0][0] or UNNAMED, rest[0][1]))
    elif rest:
        parts.append(GroupCounts(f"{len(rest):,} others", added(counts for _, counts in rest), len(rest)))
    return Composition(column, tuple(parts), GroupCounts("all", added(groups.values())), len(groups))


def added(counts: Iterable[Counts]) -> Counts:
    """The sums of counts."""
    return tuple(sum(column) for column in zip(NOTHING, *counts, strict=True))
