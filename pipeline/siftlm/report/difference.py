"""Compares two runs by named ratios, and evaluates conditions on them."""

from __future__ import annotations

import ast
import math
import operator
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from siftlm.errors import UserError, nearest

OVERLAP = "overlap"
TOTALS = ("documents", "bytes", "kept_documents", "kept_bytes", "kept_tokens", "written", OVERLAP)
"""The quantities of a condition that are no column's."""


@dataclass(frozen=True)
class Side:
    """Holds the totals of one of two compared runs; `kept_tokens` is None where it has no token counts."""

    folder: str
    identity: str
    documents: int
    bytes: int
    kept_documents: int
    kept_bytes: int
    kept_tokens: int | None
    written: int


@dataclass(frozen=True)
class Drift:
    """Holds how a column's values changed on documents in both runs; None where that is undefined."""

    column: str
    documents: int
    spearman: float | None
    mean_old: float | None
    mean_new: float | None
    changed: int | None  # documents with another value

    @property
    def mean_change(self) -> float | None:
        return None if self.mean_old is None or self.mean_new is None else self.mean_new - self.mean_old


@dataclass(frozen=True)
class Moved:
    """Counts the documents with one name (a reason, a domain) in the old run and the new."""

    name: str
    old: int
    new: int


@dataclass(frozen=True)
class RunDifference:
    """Holds the difference of two runs, with documents matched by doc_id and each id counted once."""

    old: Side
    new: Side
    documents_in_both: int
    kept_in_both: int
    now_kept: int  # in both runs, dropped before
    now_dropped: int  # in both runs, kept before
    only_old: int
    only_new: int
    kept_only_old: int
    kept_only_new: int
    compared: int
    drifts: tuple[Drift, ...]
    reasons: tuple[Moved, ...]
    groups: Mapping[str, tuple[Moved, ...]]
    proof: Mapping[str, float]  # what a proof found of the new run's selection, by the names that conditions have

    def quantities(self) -> dict[str, float]:
        """Returns the numbers that a `--fail-if` condition may name.

        `documents`, `bytes`, `kept_documents`, `kept_bytes`, `kept_tokens` and `written` are new / old; `overlap` is
        the share of the documents kept in either run that both keep; `drift_<column>` is 1 - Spearman's rank
        correlation and `mean_<column>` the ratio of the means, on documents in both. `proof.effect`, `proof.low` and
        `proof.high` are those of `siftlm prove` on the new run's selection, where there is a proof.
        """
        sides = {name: (getattr(self.old, name), getattr(self.new, name)) for name in TOTALS if name != OVERLAP}
        named = {n: ratio(old, new) for n, (old, new) in sides.items() if old is not None and new is not None}
        either = self.kept_in_both + self.now_kept + self.now_dropped + self.kept_only_old + self.kept_only_new
        named |= self.proof
        named[OVERLAP] = self.kept_in_both / either if either else 1.0
        for drift in self.drifts:
            if drift.spearman is not None:
                named[f"drift_{drift.column}"] = 1 - drift.spearman
            if drift.mean_old is not None and drift.mean_new is not None:
                named[f"mean_{drift.column}"] = ratio(drift.mean_old, drift.mean_new)
        return named

    def as_json(self) -> dict[str, Any]:
        """Returns all fields and the quantities as JSON values."""
        quantities = {name: value if math.isfinite(value) else None for name, value in self.quantities().items()}
        return {**asdict(self), "quantities": quantities}


def ratio(old: float, new: float) -> float:
    """Returns new / old; 1 where both are 0, and infinite where only `old` is 0."""
    if old == 0:
        return 1.0 if new == 0 else math.copysign(math.inf, new)
    return new / old


COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: ratio(b, a),
}
LONGEST = 1000


def holds(expression: str, quantities: Mapping[str, float]) -> bool:
    """Tells whether a condition on quantities holds, for instance `kept_tokens < 0.9`.

    It compares names and numbers, with `+ - * /`, `and`, `or`, `not` and parentheses.

    Raises:
        UserError: it is anything else, or names an unknown quantity.
    """
    if len(expression) > LONGEST:
        raise UserError(f"--fail-if: must have at most {LONGEST} characters, got {len(expression)}")
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's own, of numbers that run into words
            tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"--fail-if: must be a condition such as 'kept_tokens < 0.9', got {expression!r}") from None
    return _truth(tree.body, quantities)


def _truth(node: ast.expr, quantities: Mapping[str, float]) -> bool:
    match node:
        case ast.BoolOp(op=op, values=parts):
            truths = [_truth(part, quantities) for part in parts]  # every part is checked for unknown names
            return all(truths) if isinstance(op, ast.And) else any(truths)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _truth(part, quantities)
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(op) in COMPARISONS for op in ops):
            values = [_number(part, quantities) for part in (left, *rest)]
            return all(COMPARISONS[type(op)](a, b) for op, a, b in zip(ops, values, values[1:], strict=False))
    raise UserError(f"--fail-if: must compare quantities, got {ast.unparse(node)!r}")


def _number(node: ast.expr, quantities: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value) if abs(value) < sys.float_info.max:
            return float(value)
        case ast.Name() | ast.Attribute():
            return _named(ast.unparse(node), quantities)
        case ast.UnaryOp(op=ast.USub(), operand=part):
            return -_number(part, quantities)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
            return ARITHMETIC[type(op)](_number(left, quantities), _number(right, quantities))
    raise UserError(f"--fail-if: must be made of quantities and numbers, got {ast.unparse(node)!r}")


def _named(name: str, quantities: Mapping[str, float]) -> float:
    if name not in quantities:
        raise UserError(f"--fail-if: must name a quantity of both runs, got {name!r}; {_hint(name, quantities)}")
    return quantities[name]


def _hint(name: str, quantities: Mapping[str, float]) -> str:
    if name.startswith("proof."):
        return "proof.effect, proof.low and proof.high are there once siftlm prove has compared the new run's selection"
    near = nearest(name, quantities)
    totals = sorted(known for known in quantities if not known.startswith(("drift_", "mean_", "proof.")))
    return f"did you mean {near!r}?" if near else f"there are {', '.join(totals)}, drift_COLUMN and mean_COLUMN"
