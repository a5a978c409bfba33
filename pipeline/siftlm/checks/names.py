"""Lists the columns that a run generates, and refuses two that share a name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from siftlm.config import RunConfig
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.errors import UserError
from siftlm.scorers.minhash import SIGNATURE
from siftlm.selectors import DECISION_SCHEMA, DROPPED_BY, DROPPED_REASON
from siftlm.stages.columns import ELIGIBLE, HIDDEN
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.dedup.work import CLUSTER_SCHEMA
from siftlm.stages.paragraphs.work import CUT_SCHEMA
from siftlm.stages.select import STAGE as DECISIONS
from siftlm.stages.write import COPY, PLACE
from siftlm.steps import columns_before

FOUND_AT = ("shard", "row")  # beside the columns of a document that is looked at
OWN = frozenset(
    {
        *DOCUMENT_SCHEMA.names, *CLUSTER_SCHEMA.names, *CUT_SCHEMA.names, *COMMONNESS_SCHEMA.names,
        *DECISION_SCHEMA.names, *HIDDEN, SIGNATURE, DROPPED_REASON, DROPPED_BY, COPY.name, PLACE.name, *FOUND_AT,
    }
)  # fmt: skip
"""What stages add whatever they compute; kept free in every run, so that switching a stage on breaks no name."""


@dataclass(frozen=True)
class Giver:
    """A part of the configuration, or siftlm itself, and the names of the columns that come of it."""

    place: str
    names: tuple[str, ...]


def signal_columns(config: RunConfig) -> dict[str, pa.DataType]:
    """Returns the columns that are there before any language model has run."""
    return columns_before(config, ELIGIBLE)


def all_columns(config: RunConfig) -> dict[str, pa.DataType]:
    """Returns every column that selection can name."""
    return columns_before(config, DECISIONS)


def givers(config: RunConfig) -> Iterator[Giver]:
    """Yields everything that gives columns, in the order of the stages."""
    yield Giver("siftlm itself", tuple(sorted(OWN)))
    for place, settings in config.annotate.placed():
        yield Giver(place, tuple(field.name for field in settings.columns()))
    for number, model in enumerate(config.score):
        yield Giver(f"score.{number}", tuple(field.name for field in model.columns()))


def check_names(config: RunConfig) -> None:
    """Raises UserError where two columns have one name; case counts for nothing, as in DuckDB and Spark."""
    seen: dict[str, tuple[str, str]] = {}
    for giver in givers(config):
        for name in giver.names:
            other, origin = seen.setdefault(name.casefold(), (name, giver.place))
            if origin != giver.place:
                raise UserError(
                    f"{giver.place}.name: must give columns that nothing else gives, got {name!r}, and {other!r} is "
                    f"a column of {origin}; choose another name"
                )
