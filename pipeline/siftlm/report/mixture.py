"""Computes the share of each source, language and domain in the kept text before and after weighting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from siftlm.report.composition import GroupCounts, added, largest_first
from siftlm.report.tally import WEIGHT_UNIT, Counts

Unit = Literal["tokens", "bytes"]
SHOWN = 20


class MixtureGroup(NamedTuple):
    """Holds how much text of a source, language or domain is kept, and how much after weighting."""

    name: str
    members: int  # how many it stands for
    kept: int
    effective: float


@dataclass(frozen=True)
class Mixture:
    """Holds the kept text by the values of one column, largest amount after weighting first, and the total.

    The values after the largest are one group. Effective is the sum of weight * size, or what was written where copies
    are: `written`.
    """

    column: str
    unit: Unit
    written: bool
    portions: tuple[MixtureGroup, ...]
    total: MixtureGroup


def mixture(
    column: str, groups: Mapping[str | None, Counts], unit: Unit, *, written: bool, shown: int = SHOWN
) -> Mixture:
    """Returns the mixture by a column (domain, language, source), from the counts of its values."""

    def portion(group: GroupCounts) -> MixtureGroup:
        kept = getattr(group, f"kept_{unit}")
        effective = getattr(group, f"copied_{unit}") if written else getattr(group, f"weighted_{unit}") / WEIGHT_UNIT
        return MixtureGroup(group.name, group.members, kept, effective)

    total = GroupCounts("all", 1, *added(groups.values()))
    kept = {name: counts for name, counts in groups.items() if portion(GroupCounts("", 1, *counts)).kept}
    largest = largest_first(kept, lambda group: (-portion(group).effective, -portion(group).kept, group.name), shown)
    return Mixture(column, unit, written, tuple(map(portion, largest)), portion(total))


def as_json(mixtures: Sequence[Mixture]) -> dict[str, Any]:
    """Returns the shares of all mixtures by column, as JSON values for the manifest."""
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
