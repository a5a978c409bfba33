"""Defines the rule `threshold`, which keeps documents whose value lies in a range or in a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from siftlm.selectors.component import Mention, placed
from siftlm.selectors.lists.settings import ListSettings
from siftlm.selectors.lists.union import AnyList
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, Listing, RuleSettings
from siftlm.settings import Settings
from siftlm.statistics.ordered import BoolArray

LIST, TABLE = "list", "table"
"""How pydantic tags the two shapes of `in` and `not_in`."""
SHOWN = 3  # values of `by` whose limits are told in words


def _shape(value: object) -> str:
    """Whether a list is one of the configuration, or a table that says where it is."""
    return TABLE if isinstance(value, dict | ListSettings) else LIST


Values: TypeAlias = Annotated[
    Annotated[list[str | bool | int], Field(min_length=1), Tag(LIST)] | Annotated[AnyList, Tag(TABLE)],
    Discriminator(_shape),
]
"""Values of a column: as they are, or in a list of some kind, from a file for instance."""


class Limits(Settings):
    """Configures which values of a column are kept: a range, a list, or all but a list."""

    min: float | None = Field(None, description="The least value kept.")
    max: float | None = Field(None, description="The greatest value kept.")
    in_: Values | None = Field(
        None, alias="in", description="The only values kept, or a table that names a list of strings by its path."
    )
    not_in: Values | None = Field(None, description="Values that are dropped, or a table as for `in`.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max = {self.max}")
        return self

    def bounds_by_reason(self) -> dict[str, Any]:
        """Returns the limits that are set, by the suffix of the reason that documents outside them get."""
        given = {"below_min": self.min, "above_max": self.max, "not_in_list": self.in_, "in_list": self.not_in}
        return {why: bound for why, bound in given.items() if bound is not None}

    def tables(self, column: str) -> list[Listing]:
        """Returns the lists that tables name, each with its key and the column that it is compared with."""
        tables = [("in", self.in_), ("not_in", self.not_in)]
        return [Listing(key, column, table) for key, table in tables if isinstance(table, ListSettings)]


class Bounds(Limits):
    """Configures which values of a column are kept, with limits that may depend on another column."""

    by: str | None = Field(
        None, min_length=1, description="A column whose values have limits of their own, in `table`."
    )
    table: dict[str, Limits] = Field(
        default_factory=dict, description="Value of `by` -> limits instead of those for all other documents."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.by is None) != (not self.table):
            raise ValueError("by and table must be set together")
        everybody: list[Limits] = [self, *self.table.values()]
        if not any(limits.bounds_by_reason() for limits in everybody):
            raise ValueError("a threshold needs at least one of min, max, in and not_in")
        return self


class Threshold(RuleSettings, Bounds):
    """Keeps documents whose value is at least `min`, at most `max`, in `in` and not in `not_in`.

    Limits may depend on the value of another column.

    Reasons: <column>_below_min, <column>_above_max, <column>_not_in_list, <column>_in_list.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "threshold", "column": "perplexity", "min": 5, "max": 80}

    kind: Literal["threshold"] = "threshold"
    unchecked: ClassVar[str] = ""
    column: str = Field(description="The column compared.")

    def columns(self) -> set[str]:
        return super().columns() | ({self.by} if self.by else set())

    def words(self) -> str:
        others = {value: _words(self.column, limits) for value, limits in self.table.items()}
        told = [f"{self.by} {value}: {words}" for value, words in others.items()]
        shown = told if len(told) <= SHOWN else [*told[:SHOWN], f"and for {len(told) - SHOWN} more"]
        return "; ".join([_words(self.column, self), *shown])

    def default_reasons(self) -> tuple[str, ...]:
        limits = (self, *self.table.values())
        return tuple(dict.fromkeys(f"{self.column}_{why}" for each in limits for why in each.bounds_by_reason()))

    def mentions(self) -> list[Mention]:
        return super().mentions() + self.lists()

    def lists(self) -> list[Mention]:
        """Returns the values that `in`, `not_in` and `table` name, each with its key path."""
        keeps = self.when is None and self.missing == "drop" and not self.table
        lists = [("in", self.in_, keeps), ("not_in", self.not_in, False)]
        listed = [
            Mention(key, self.column, tuple(map(_text, values)), alone)
            for key, values, alone in lists
            if isinstance(values, list)
        ]
        return listed + ([Mention("table", self.by, tuple(self.table))] if self.by else [])

    def listings(self) -> list[Listing]:
        tables = [(f"table.{value}", limits) for value, limits in self.table.items()]
        inner = [
            listing._replace(place=f"{place}.{listing.place}")
            for place, limits in tables
            for listing in limits.tables(self.column)
        ]
        return [*self.tables(self.column), *inner]

    def rehearse_columns(self, rows: Rows) -> None:
        """Tries every limit, those of `table` too, whose values the rows may not have."""
        if self.by is not None:
            rows.look_up(self.by, {}, 0.0)
        self._try_limits(rows, self)
        for value, limits in self.table.items():
            with placed(f"table.{value}"):
                self._try_limits(rows, limits)

    def _try_limits(self, rows: Rows, limits: Limits) -> None:
        for why, bound in limits.bounds_by_reason().items():
            self._outside(rows, why, bound)

    @property
    def bounds(self) -> list[float]:
        return [bound for bound in (self.min, self.max) if bound is not None]

    def drops(self, rows: Rows, state: None) -> Drops:  # noqa: ARG002
        """Returns (reason, mask) of the rows outside the range or the lists; bounds are inclusive."""
        masks = {reason: np.zeros(len(rows), np.bool_) for reason in self.default_reasons()}
        for limits, mine in self._limited(rows):
            for why, bound in limits.bounds_by_reason().items():
                masks[f"{self.column}_{why}"][mine] = self._outside(rows.where(mine), why, bound)
        return list(masks.items())

    def _limited(self, rows: Rows) -> Iterator[tuple[Limits, BoolArray]]:
        """The limits, with the rows that each is for."""
        if self.by is None:
            yield self, np.ones(len(rows), np.bool_)
            return
        which = rows.look_up(self.by, {value: number for number, value in enumerate(self.table)}, -1.0, "by")
        every = list(self.table.values())
        for number in np.unique(which):
            yield every[int(number)] if number >= 0 else self, which == number

    def _outside(self, rows: Rows, why: str, bound: Any) -> BoolArray:
        match why:
            case "below_min":
                return np.asarray(np.less(rows.number(self.column), bound), np.bool_)
            case "above_max":
                return np.asarray(np.greater(rows.number(self.column), bound), np.bool_)
            case "not_in_list":
                return ~self._holds(rows, "in", bound)
        return self._holds(rows, "not_in", bound)

    def _holds(self, rows: Rows, key: str, bound: list[str | bool | int] | ListSettings) -> BoolArray:
        if isinstance(bound, list):
            return rows.isin(self.column, bound)
        with placed(key):
            return rows.listed(self.column, bound)


def _words(column: str, limits: Limits) -> str:
    low = "" if limits.min is None else f"{limits.min:.6g} ≤ "
    high = "" if limits.max is None else f" ≤ {limits.max:.6g}"
    lists = [("in", limits.in_), ("not in", limits.not_in)]
    listed = [f"{word} {_list_words(values)}" for word, values in lists if values is not None]
    return " ".join([f"{low}{column}{high}", *listed]) if limits.bounds_by_reason() else f"any {column}"


def _list_words(values: list[str | bool | int] | ListSettings) -> str:
    return values.words() if isinstance(values, ListSettings) else ", ".join(map(str, values))


def _text(value: str | bool | int) -> str:
    """A value as Arrow writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
