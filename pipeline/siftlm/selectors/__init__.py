"""Selects documents: columns in; keep, reason and weight out. `AnyRule` and `AnyFactor` are the registries."""

from siftlm.selectors.plan import (
    DECISION_SCHEMA,
    DROPPED_BY,
    DROPPED_REASON,
    Plan,
    Selection,
    keep_rows,
    resolve,
    select,
)
from siftlm.selectors.settings import AnyRule, RowRule, SelectSettings
from siftlm.selectors.weights import AnyFactor, WeightSettings

__all__ = [
    "DECISION_SCHEMA",
    "DROPPED_BY",
    "DROPPED_REASON",
    "AnyFactor",
    "AnyRule",
    "Plan",
    "RowRule",
    "SelectSettings",
    "Selection",
    "WeightSettings",
    "keep_rows",
    "resolve",
    "select",
]
