"""Reads the formulas of columns, and computes them over Arrow tables.

A formula has the syntax of a Python expression, of which only what this module knows is allowed; it is never run as
Python. Values are numbers (float64, in which integers are computed too), booleans, strings and times. A null, and what
has no finite result (log of 0, a division by 0), is null; `and`, `or` and comparisons treat null as unknown.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.derived.corpus import Measured, Median, Quantile, Rank, Statistic, ZScore
from siftlm.derived.settings import ColumnSettings
from siftlm.derived.values import (
    FUNCTIONS,
    SHORT,
    FormulaError,
    Value,
    as_time,
    constant,
    finite,
    kind_of,
    readable,
    said,
    spread,
)
from siftlm.errors import UserError, nearest
from siftlm.statistics.cuts import LARGEST_MASS
from siftlm.statistics.hashing import hash_names
from siftlm.statistics.ordered import BoolArray

DEEPEST = 150  # operations within each other
HIGHEST = 160  # operations and formulas that one stands on
MOST_BUCKETS = 1000

CORPUS_FUNCTIONS = ("median", "quantile", "rank", "zscore")
"""What can be called over the values of all documents that are not out already."""

_ARITHMETIC = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide}
_COMPARISONS = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_LOGIC = {ast.And: pc.and_kleene, ast.Or: pc.or_kleene}


@dataclass(frozen=True, eq=False)
class Call:
    """Holds a function call in a formula that needs statistics of the whole corpus, such as `rank`.

    Attributes:
        name: The name of its state.
        level: 1 where it asks about what each document says alone, one more where about the answers of others.
    """

    name: str
    statistic: Statistic
    measured: ast.expr
    within: ast.expr | None
    weight: ast.expr | None
    level: int


class Program:
    """Computes columns in order, each from the given columns and the columns before it.

    Raises:
        UserError: a formula is none, names what is not there, or mixes what does not go together. It says where in the
            configuration (`places`) the formula stands.
    """

    def __init__(
        self, columns: Sequence[ColumnSettings], given: Mapping[str, pa.DataType], places: Sequence[str] = ()
    ) -> None:
        self.columns, self.given = columns, given
        self.formulas: dict[str, ast.expr] = {}
        self.calls: dict[ast.Call, Call] = {}
        self._levels: dict[str, int] = {}
        self._heights: dict[str, int] = {}
        self.types: dict[str, pa.DataType] = {}
        empty = pa.schema(list(given.items())).empty_table()
        for position, column in enumerate(columns):
            try:
                tree = _parsed(column.expr)
                self._levels[column.name] = self._level(tree)
                self._heights[column.name] = self._height(tree)
                self.types[column.name] = _Evaluation(self, empty, {}).value(tree).type
                self.formulas[column.name] = tree
            except FormulaError as mistake:
                place = places[position] if places else f"columns.{position}"
                raise UserError(f"{place}.expr: {mistake}") from None

    @property
    def levels(self) -> int:
        """Returns the number of rounds of statistics, where each round may use the results of the one before."""
        return max((call.level for call in self.calls.values()), default=0)

    def used(self) -> set[str]:
        """Returns the given columns that the formulas name."""
        nodes = (node for tree in self.formulas.values() for node in ast.walk(tree))
        return {node.id for node in nodes if isinstance(node, ast.Name) and node.id in self.given}

    def asked(self, level: int) -> list[tuple[str, Call]]:
        """Returns the calls that belong to one round of statistics (`level`), each with the name of its state."""
        return [(call.name, call) for call in self.calls.values() if call.level == level]

    def measured(self, call: Call, table: pa.Table, states: Mapping[str, Any], alive: BoolArray) -> Measured:
        """Returns the groups, values and masses that a call measures, for `alive` rows that have a value."""
        rows, known = _Evaluation(self, table, states).measured(call)
        return rows.where(alive[known])

    def compute(self, table: pa.Table, states: Mapping[str, Any]) -> pa.Table:
        """Returns the computed columns of some rows; `states` holds the statistics of all calls by name."""
        evaluation = _Evaluation(self, table, states)
        return pa.table({column.name: evaluation.column(column.name) for column in self.columns})

    def _height(self, tree: ast.AST) -> int:
        """How many operations and formulas stand on one another in a formula."""
        if isinstance(tree, ast.Name):
            return 1 + self._heights.get(tree.id, 0)
        height = 1 + max(map(self._height, ast.iter_child_nodes(tree)), default=0)
        if height > HIGHEST:
            raise FormulaError(f"must not build on more than {HIGHEST} formulas and operations, one on another")
        return height

    def _level(self, tree: ast.expr, depth: int = 0) -> int:
        """The level of a formula; its calls of the corpus are noted on the way."""
        if depth > DEEPEST:
            raise FormulaError(f"must not have more than {DEEPEST} operations within each other")
        if isinstance(tree, ast.Name):
            return self._levels.get(tree.id, 0)
        children = (child.value if isinstance(child, ast.keyword) else child for child in ast.iter_child_nodes(tree))
        below = max((self._level(child, depth + 1) for child in children if isinstance(child, ast.expr)), default=0)
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in CORPUS_FUNCTIONS:
            self.calls[tree] = _corpus_call(str(len(self.calls)), tree, below + 1)
            return below + 1
        return below


def _parsed(text: str) -> ast.expr:
    """The tree of a formula, which may go over several lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _argument(text) or ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            why = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
            raise FormulaError(f"must be a formula, got {text[:SHORT]!r}: {why}") from None


def _argument(text: str) -> ast.expr | None:
    """A formula as the argument of a call, within which lines may end; None where it is not one argument."""
    try:
        call = ast.parse(f"formula(\n{text}\n)", mode="eval").body
    except SyntaxError:  # whose message would be about the call
        return None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and len(call.args) == 1 and not call.keywords:
        return call.args[0]
    return None


def _corpus_call(state: str, node: ast.Call, level: int) -> Call:
    name = _called(node)
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    allowed = ("within", "weight") if name == "quantile" else ("within",)
    if unknown := [key for key in keywords if key not in allowed]:
        raise FormulaError(f"{name} must have no other key than {' and '.join(allowed)}, got {unknown[0]!r}")
    expected = 2 if name == "quantile" else 1
    if len(node.args) != expected or len(node.keywords) > len(keywords):
        taken = "a value and a number of buckets" if name == "quantile" else "one value"
        raise FormulaError(f"{name} must have {taken}, and perhaps `within=`, got {said(node)}")
    plain: dict[str, Statistic] = {"median": Median(), "rank": Rank(), "zscore": ZScore()}
    statistic = plain.get(name) or Quantile(_buckets(node))
    return Call(state, statistic, node.args[0], keywords.get("within"), keywords.get("weight"), level)


def _buckets(node: ast.Call) -> int:
    match node.args[1]:
        case ast.Constant(value=int(buckets)) if not isinstance(buckets, bool) and 2 <= buckets <= MOST_BUCKETS:
            return buckets
    raise FormulaError(f"quantile must have a whole number of 2 to {MOST_BUCKETS} buckets, got {said(node.args[1])}")


def _called(node: ast.Call) -> str:
    if not isinstance(node.func, ast.Name):
        raise FormulaError(f"must call one of {_names()}, got {said(node.func)!r}")
    return node.func.id


def _names() -> str:
    return ", ".join(sorted({*FUNCTIONS, *CORPUS_FUNCTIONS}))


class _Evaluation:
    """Computes formulas over one table; what several name is computed once."""

    def __init__(self, program: Program, table: pa.Table, states: Mapping[str, Any]) -> None:
        self.program, self.table, self.states = program, table, states
        self.made: dict[str, Value] = {}

    def column(self, name: str) -> pa.Array:
        """Returns a derived column, one value a row."""
        if name not in self.made:
            self.made[name] = spread(self.value(self.program.formulas[name]), self.table.num_rows)
        return self.made[name]

    def value(self, node: ast.expr) -> Value:
        """Returns the value of a part of a formula."""
        match node:
            case ast.Constant():
                return constant(node)
            case ast.Name():
                return self._named(node.id)
            case ast.BinOp(op=op) if type(op) in _ARITHMETIC:
                return finite(_ARITHMETIC[type(op)](self._number(node.left), self._number(node.right)))
            case ast.UnaryOp(op=ast.USub()):
                return pc.negate(self._number(node.operand))
            case ast.UnaryOp(op=ast.UAdd()):
                return self._number(node.operand)
            case ast.UnaryOp(op=ast.Not()):
                return pc.invert(self._boolean(node.operand))
            case ast.BoolOp():
                return reduce(_LOGIC[type(node.op)], map(self._boolean, node.values))
            case ast.Compare():
                return reduce(pc.and_kleene, self._compared(node))
            case ast.IfExp():
                condition = self._boolean(node.test)
                return pc.if_else(condition, *self._alike([node.body, node.orelse]))
            case ast.Call():
                return self._result(node)
        raise FormulaError(f"must be made of columns, numbers, strings, operators and functions, got {said(node)!r}")

    def measured(self, call: Call) -> tuple[Measured, BoolArray]:
        """Returns group, value and mass of the rows that have a value, and which these are."""
        rows = self.table.num_rows
        numbers = spread(self._number(call.measured), rows)
        known = np.asarray(numbers.is_valid())
        values = np.asarray(numbers.fill_null(0.0), np.float64)
        group, mass = np.zeros(rows, np.uint64), None
        if call.within is not None:
            groups = spread(self.value(call.within), rows)
            if pa.types.is_floating(groups.type):
                raise FormulaError(f"within must name a column of strings, booleans or integers, got {groups.type}")
            group = hash_names(groups.cast(pa.string()).fill_null("\0"))
        if call.weight is not None:
            weights = spread(self.value(call.weight), rows)
            if not pa.types.is_integer(weights.type):
                raise FormulaError(f"weight must name a column of integers, got {weights.type}")
            mass = np.asarray(weights.cast(pa.int64()).fill_null(0))
            if len(mass) and not 0 <= mass.min() <= mass.max() <= LARGEST_MASS:
                raise UserError(
                    f"columns: weight must be of integers from 0 to {LARGEST_MASS:,}, got {said(call.weight)} with "
                    f"{mass.min():,} to {mass.max():,}"
                )
        return Measured(group, values, mass).where(known), known

    def _named(self, name: str) -> Value:
        if name in self.program.formulas:
            return self.column(name)
        if name in self.program.given:
            return readable(name, self.table[name])
        if name in ("true", "false"):
            return pa.scalar(name == "true")
        later = [column.name for column in self.program.columns]
        if name in later:
            raise FormulaError(f"must name columns that come before it, got {name!r}")
        if name in FUNCTIONS or name in CORPUS_FUNCTIONS:
            raise FormulaError(f"must call {name} as a function, got {name!r} without brackets")
        near = nearest(name, [*self.program.given, *self.program.formulas, *FUNCTIONS, *CORPUS_FUNCTIONS])
        hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(sorted(self.program.given))}"
        raise FormulaError(f"must name columns of the run, got {name!r}{hint}")

    def _number(self, node: ast.expr) -> Value:
        value = self.value(node)
        if pa.types.is_boolean(value.type):
            value = pc.cast(value, pa.int8())
        if not (pa.types.is_floating(value.type) or pa.types.is_integer(value.type)):
            raise FormulaError(f"must compute with numbers, got {said(node)!r} of {kind_of(value.type)}")
        return pc.cast(value, pa.float64(), safe=False)

    def _boolean(self, node: ast.expr) -> Value:
        value = self.value(node)
        if not pa.types.is_boolean(value.type):
            raise FormulaError(f"must have a condition there, got {said(node)!r} of {kind_of(value.type)}")
        return value

    def _compared(self, node: ast.Compare) -> Iterator[Value]:
        left = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                inside = self._member(left, right)
                yield pc.invert(inside) if isinstance(op, ast.NotIn) else inside
            elif type(op) in _COMPARISONS:
                pair = self._alike([left, right])
                if isinstance(op, _ORDERED) and pa.types.is_boolean(pair[0].type):
                    raise FormulaError(f"must put numbers, strings or times in order, got {said(node)!r}")
                yield _COMPARISONS[type(op)](*pair)
            else:
                raise FormulaError(f"must compare with < <= > >= == != in, got {said(node)!r}")
            left = right

    def _member(self, left: ast.expr, right: ast.expr) -> Value:
        if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
            raise FormulaError(f"must name a list of values behind `in`, got {said(right)!r}")
        value, *others = self._alike([left, *right.elts])
        if not all(isinstance(other, pa.Scalar) for other in others):
            raise FormulaError(f"must list values and no columns behind `in`, got {said(right)!r}")
        wanted = pa.array([other.as_py() for other in others], value.type)
        inside = pc.is_in(value, value_set=wanted)
        return pc.if_else(pc.is_valid(value), inside, pa.scalar(None, pa.bool_()))

    def _alike(self, nodes: Sequence[ast.expr]) -> list[Value]:
        """The values of some nodes, which must be of one kind: numbers as float64, times from strings where need be."""
        values = [self.value(node) for node in nodes]
        kinds = [kind_of(value.type) for value in values]
        if "a time" in kinds and set(kinds) <= {"a time", "a string"}:
            kind = next(value.type for value in values if pa.types.is_timestamp(value.type))
            return [
                value if pa.types.is_timestamp(value.type) else as_time(value, kind, node)
                for value, node in zip(values, nodes, strict=True)
            ]
        if len(set(kinds)) > 1:
            other = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
            raise FormulaError(
                f"must have values of one kind together, got {said(nodes[0])!r} of {kinds[0]} and "
                f"{said(nodes[other])!r} of {kinds[other]}"
            )
        return [self._number(node) for node in nodes] if kinds[0] == "a number" else values

    def _result(self, node: ast.Call) -> Value:
        if node in self.program.calls:
            return self._answer(self.program.calls[node])
        name = _called(node)
        function = FUNCTIONS.get(name)
        if function is None:
            near = nearest(name, [*FUNCTIONS, *CORPUS_FUNCTIONS])
            raise FormulaError(
                f"must call one of {_names()}, got {name!r}" + (f"; did you mean {near!r}?" if near else "")
            )
        if node.keywords or not function.least <= len(node.args) <= function.most:
            many = function.least if function.least == function.most else f"{function.least} or more"
            raise FormulaError(f"{name} must have {many} value{'' if many == 1 else 's'}, got {said(node)!r}")
        if function.kind == "number":
            return function.compute(*map(self._number, node.args))
        return function.compute(*(self._alike(node.args) if function.kind == "same" else map(self.value, node.args)))

    def _answer(self, call: Call) -> Value:
        """What the corpus answers, one value a row; of nothing yet, a null each."""
        rows, known = self.measured(call)
        whole = isinstance(call.statistic, Quantile)
        kind = pa.int64() if whole else pa.float64()
        if not self.states:
            return pa.nulls(self.table.num_rows, kind)
        answers = np.full(self.table.num_rows, np.nan)
        answers[known] = call.statistic.values(rows, self.states[call.name])
        return pa.array(answers, mask=np.isnan(answers)).cast(kind)
