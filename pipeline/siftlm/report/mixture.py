"""Says what weights make of a corpus: the share of each source, language and domain before them and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from siftlm.report.composition import GroupCounts, added, largest_first
from siftlm.report.tally import WEIGHT_UNIT, Counts

Unit = Literal["tokens", "bytes"]
SHOWN = 20


class MixtureGroup(NamedTuple):
    """Holds a source, language or domain: how much is kept, and how much a reader will see."""

    name: str
    members: int  # how many it stands for
    kept: int
    effective: float


@dataclass(frozen=True)
class Mixture:
    """Divides the kept text by one column: the largest effective portions first, the others as one, and their sum.

    Effective is the sum of weight * size, or what was written where copies are: `written`.
    """

    column: str
    unit: Unit
    written: bool
    portions: tuple[MixtureGroup, ...]
    total: MixtureGroup


def mixture(
    column: str, groups: Mapping[str | None, Counts], unit: Unit, *, written: bool, shown: int = SHOWN
) -> Mixture:
    """Returns the mixture by a column, from the counts of its values."""

    def portion(group: GroupCounts) -> MixtureGroup:
        kept = getattr(group, f"kept_{unit}")
        effective = getattr(group, f"copied_{unit}") if written else getattr(group, f"weighted_{unit}") / WEIGHT_UNIT
        return MixtureGroup(group.name, group.members, kept, effective)

    total = GroupCounts("all", 1, *added(groups.values()))
    kept = {name: counts for name, counts in groups.items() if portion(GroupCounts("", 1, *counts)).kept}
    largest = largest_first(kept, lambda group: (-portion(group).effective, -portion(group).kept, group.name), shown)
    return Mixture(column, unit, written, tuple(map(portion, largest)), portion(total))


def as_json(mixtures: Sequence[Mixture]) -> dict[str, Any]:
    """Returns the mixtures by column, for the manifest."""
    return {
        mixture.column: {
            "unit": mixture.unit,
            "written": mixture.written,
            "portions": [
                {
                    "name": group.name,
                    "kept": group.kept,
                    "kept_share": group.kept / mixture.total.kept if mixture.total.kept else None,
                    "effective": group.effective,
                    "effective_share": group.effective / mixture.total.effective if mixture.total.effective else None,
                }
                for group in mixture.portions
            ],
        }
        for mixture in mixtures
    }
