"""What weights make of a corpus: the share of each source, language and domain before them and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from siftlm.report.composition import UNNAMED, added
from siftlm.report.tally import WEIGHT_UNIT, Counts

Unit = Literal["tokens", "bytes"]
SHOWN = 20
PLACES = {"bytes": (4, 8, 10), "tokens": (5, 9, 11)}  # in Counts: of kept documents once, by weight, as written


@dataclass(frozen=True)
class MixtureGroup:
    """Holds a source, language or domain: how much is kept, and how much a reader will see."""

    name: str
    kept: int
    effective: float
    members: int = 1  # how many it stands for


@dataclass(frozen=True)
class Mixture:
    """The portions by one column, the largest effective ones first, the others as one, and their sum.

    Effective is the sum of weight * size, or what was written where copies are: `written`.
    """

    column: str
    unit: Unit
    written: bool
    portions: tuple[MixtureGroup, ...]
    whole: MixtureGroup


def mixture(
    column: str, groups: Mapping[str | None, Counts], unit: Unit, *, written: bool, shown: int = SHOWN
) -> Mixture:
    """The mixture by a column, from the counts of its values."""
    sized = [_portion(UNNAMED if name is None else name, counts, unit, written) for name, counts in groups.items()]
    ranked = sorted((portion for portion in sized if portion.kept), key=lambda p: (-p.effective, -p.kept, p.name))
    first, rest = ranked[:shown], ranked[shown:]
    if rest:
        names = {portion.name for portion in rest}
        others = added(counts for name, counts in groups.items() if (UNNAMED if name is None else name) in names)
        first.append(_portion(f"{len(rest):,} others", others, unit, written, len(rest)))
    return Mixture(column, unit, written, tuple(first), _portion("all", added(groups.values()), unit, written))


def _portion(name: str, counts: Counts, unit: Unit, written: bool, members: int = 1) -> MixtureGroup:
    kept, weighted, copied = (counts[place] for place in PLACES[unit])
    return MixtureGroup(name, kept, copied if written else weighted / WEIGHT_UNIT, members)


def as_json(mixtures: Sequence[Mixture]) -> dict[str, Any]:
    """The mixtures by column, for the manifest."""
    return {
        made.column: {
            "unit": made.unit,
            "written": made.written,
            "portions": [_as_json(portion, made.whole) for portion in made.portions],
        }
        for made in mixtures
    }


def _as_json(portion: MixtureGroup, whole: MixtureGroup) -> dict[str, Any]:
    return {
        "name": portion.name,
        "kept": portion.kept,
        "kept_share": portion.kept / whole.kept if whole.kept else None,
        "effective": portion.effective,
        "effective_share": portion.effective / whole.effective if whole.effective else None,
    }
