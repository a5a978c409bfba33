"""Checks that no two columns of a run have the same name."""

from __future__ import annotations

from collections.abc import Iterator

from siftlm.config import RunConfig
from siftlm.documents import DOCUMENT_SCHEMA
from siftlm.edits import edit_schema
from siftlm.errors import UserError
from siftlm.readers.settings import column_name
from siftlm.scorers.minhash import SIGNATURE
from siftlm.selectors import DECISION_SCHEMA, DROPPED_BY, DROPPED_REASON
from siftlm.stages.columns import HIDDEN
from siftlm.stages.commonness.work import COMMONNESS_SCHEMA
from siftlm.stages.dedup.work import CLUSTER_SCHEMA
from siftlm.stages.folds import SCHEMA as FOLD_SCHEMA
from siftlm.stages.paragraphs.work import CUT_SCHEMA
from siftlm.stages.write import COPY, PLACE

FOUND_AT = ("shard", "row")  # beside the columns of a document that is looked at
OWN = frozenset(
    {
        *DOCUMENT_SCHEMA.names, *CLUSTER_SCHEMA.names, *CUT_SCHEMA.names, *COMMONNESS_SCHEMA.names,
        *FOLD_SCHEMA.names, *DECISION_SCHEMA.names, *HIDDEN, SIGNATURE, DROPPED_REASON, DROPPED_BY, COPY.name,
        PLACE.name, *FOUND_AT,
    }
)  # fmt: skip
"""What stages add whatever they compute; kept free in every run, so that switching a stage on breaks no name."""


def givers(config: RunConfig) -> Iterator[tuple[str, list[str]]]:
    """Yields each place in the configuration that defines columns, and their names; siftlm's own come first."""
    yield "siftlm itself", sorted(OWN)
    fields = {column_name(path): number for number, settings in enumerate(config.input) for path in settings.columns}
    for name, number in fields.items():
        yield f"input.{number}.columns", [name]
    for number, edit in enumerate(config.edit):
        yield f"edit.{number}", edit_schema(edit).names
    scores = ((f"score.{number}", settings) for number, settings in enumerate(config.score))
    for place, settings in (*config.annotate.placed(), *scores):
        yield f"{place}.name", [field.name for field in settings.columns()]
    for number, prior in enumerate(config.prior):
        yield f"prior.{number}.name", [field.name for field in prior.columns()]
    for number, joined in enumerate(config.join):
        yield f"join.{number}.columns", list(joined.renamed)
    for place, column in config.formulas():
        yield f"{place}.name", [column.name]


def check_names(config: RunConfig) -> None:
    """Raises UserError if two columns have the same name, ignoring case as DuckDB and Spark do."""
    seen: dict[str, tuple[str, str]] = {}
    for place, names in givers(config):
        for name in names:
            other, origin = seen.setdefault(name.casefold(), (name, place))
            if origin != place:
                raise UserError(
                    f"{place}: must give columns that nothing else gives, got {name!r}, and {other!r} is "
                    f"a column of {origin.removesuffix('.name')}; choose another name"
                )
