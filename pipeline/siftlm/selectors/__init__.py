"""Decides from a document's columns whether to keep it, for which reason to drop it, and its weight.

`AnyRule` and `AnyFactor` list all rules and weight factors.
"""

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
from siftlm.selectors.settings import PRESETS, AnyRule, RowRule, SelectSettings
from siftlm.selectors.weights import AnyFactor, WeightSettings

__all__ = [
    "DECISION_SCHEMA",
    "DROPPED_BY",
    "DROPPED_REASON",
    "PRESETS",
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
