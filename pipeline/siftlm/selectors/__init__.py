"""Selection: columns in; keep, reason and weight out. The registry is `SELECTORS`."""

from siftlm.selectors.found import found
from siftlm.selectors.plan import (
    DECISION_SCHEMA,
    DROPPED_BY,
    DROPPED_REASON,
    Plan,
    Statistics,
    advance,
    decide,
    keep_rows,
    resolve,
    select,
    shard_statistics,
    start,
)
from siftlm.selectors.settings import SELECTORS, RowRule, Rule, SelectSettings
from siftlm.selectors.weights import WeightSettings

__all__ = [
    "DECISION_SCHEMA",
    "DROPPED_BY",
    "DROPPED_REASON",
    "SELECTORS",
    "Plan",
    "RowRule",
    "Rule",
    "SelectSettings",
    "Statistics",
    "WeightSettings",
    "advance",
    "decide",
    "found",
    "keep_rows",
    "resolve",
    "select",
    "shard_statistics",
    "start",
]
