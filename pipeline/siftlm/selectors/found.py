"""What a finished plan found, in the units of the columns: for the manifest and the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from siftlm.selectors.plan import Plan, weight_scale
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.top import Top
from siftlm.statistics.cuts import Cuts
from siftlm.statistics.ordered import LARGEST, UInt64Array, to_number


def found(plan: Plan, schema: pa.Schema) -> dict[str, Any]:
    """The cuts of every ranked rule, the scale of the weights and the segments of their factors, as JSON.

    `cuts` are the column's values at the ends of a band or at the budget, None for an open end, and only for rules
    that rank all documents together; `documents` and `mass` are what a rule ranked, `groups` in how many groups.
    Of a budget, `short` is what all groups together lack of it, and `groups_short` how many lack any.
    """
    ranked = [
        {"rule": position, "kind": rule.kind} | _ranked(rule, cuts[0], schema)
        for position, (rule, cuts) in enumerate(zip(plan.settings.rules, plan.cuts, strict=False))
        if cuts
    ]
    weights = plan.settings.weights
    segments = [
        {"factor": position, "documents": s.documents, "means": s.means, "weights": s.weights}
        for (position, _), s in zip(weights.segmented() if weights else [], plan.segments, strict=True)
    ]
    scale = {"weight_scale": weight_scale(plan)} | ({"segments": segments} if segments else {})
    return {"passes": plan.passes, "rules": ranked} | scale


def _ranked(rule: RuleSettings, cuts: Cuts, schema: pa.Schema) -> dict[str, Any]:
    totals = {
        "groups": len(cuts.groups),
        "documents": int(cuts.documents.sum()),
        "mass": int(cuts.mass.sum()),
    } | (_budget(rule, cuts) if isinstance(rule, Top) else {})
    if len(cuts.groups) != 1 or rule.ranked_column is None:
        return totals
    kind = schema.field(rule.ranked_column).type
    keys = ~cuts.key[0] if isinstance(rule, Top) and rule.end == "highest" else cuts.key[0]
    return totals | {"column": rule.ranked_column, "cuts": _values(keys, kind)}


def _budget(rule: Top, cuts: Cuts) -> dict[str, Any]:
    kept: dict[str, Any] = {"end": rule.end, "by": rule.column, "within": rule.within, "unit": rule.unit}
    if rule.amount is None:
        return kept | {"rate": rule.rate}
    missing = [rule.amount - mass for mass in cuts.mass.tolist() if mass < rule.amount]
    if not len(cuts.groups):  # no document at all
        missing = [rule.amount]
    return kept | {"budget": rule.amount, "short": sum(missing), "groups_short": len(missing)}


def _values(keys: UInt64Array, kind: pa.DataType) -> list[float | int | None]:
    """The numbers of a column of that type; None for the sentinels of an open end."""
    dtype = np.dtype(np.float64 if pa.types.is_floating(kind) else np.int64)
    open_ = (keys == 0) | (keys == LARGEST)
    return [None if end else v for end, v in zip(open_.tolist(), to_number(keys, dtype).tolist(), strict=True)]
