"""Defines the base class of rules, which decide for documents in a scope which are dropped, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.selectors.component import Component, Mention
from siftlm.selectors.lists.settings import ListSettings
from siftlm.selectors.reasons import Reason
from siftlm.selectors.rows import Rows
from siftlm.settings import End, Settings
from siftlm.statistics.ordered import BoolArray

Drops = list[tuple[str, BoolArray]]
"""Why and which rows go: (reason, mask); the first mask that holds for a row gives its reason."""
Value = float | int | None
"""A number of a column at a cut, None for an open end."""


class Listing(NamedTuple):
    """Holds a list that a rule compares a column with, and the key path of the list within the rule."""

    place: str
    column: str
    table: ListSettings


@dataclass(frozen=True)
class PartVerdict:
    """Holds what one of the rules inside a rule says of the first row."""

    place: str  # its key path within the rule
    rule: RuleSettings
    rows: Rows  # with the random numbers that it compares
    state: Any  # its statistics of the corpus
    applies: bool  # whether the row is in its scope
    reason: str | None  # why it does not keep the row; None where it does

    @property
    def value(self) -> object:
        """Returns the number that it draws or the value that it compares; None where it compares no column."""
        drawn, column = self.rule.drawn(self.rows), self.rule.ranked_column
        return drawn if drawn is not None or column is None else self.rows.value(column)


@dataclass(frozen=True)
class Cut:
    """Holds the values of a column at which one group of documents was cut; None for an open end."""

    group: str | None
    values: tuple[Value, ...]
    documents: int


class Scope(Settings):
    """Limits a rule to the documents that match every list given."""

    language: list[str] | None = Field(None, min_length=1, description="Only documents of these languages.")
    source: list[str] | None = Field(None, min_length=1, description="Only documents of these inputs.")
    domain: list[str] | None = Field(None, min_length=1, description="Only documents of these registered domains.")


class RuleSettings(Component):
    """Configures a rule, which drops some of the still kept documents in its scope, each for a reason.

    It also says what happens to documents without a value.
    """

    reason: Reason | None = Field(
        None,
        description="The reason written for dropped documents, instead of the default: letters, digits, _ . and -.",
    )
    missing: Literal["drop", "keep"] = Field(
        "drop", description="What happens to a document without a value; its reason is <column>_missing."
    )
    when: Scope | None = Field(None, description="The documents that the rule applies to; default all.")

    def parts(self) -> list[tuple[str, RuleSettings]]:
        """Returns the rules that this one expands to, in order, each with the suffix of its key path."""
        return [("", self)]

    @property
    def ranked_column(self) -> str | None:
        """Returns `column`, whose missing values the setting `missing` is about; None where the rule has no column."""
        column: str | None = getattr(self, "column", None)
        return column

    @property
    def counts_tokens(self) -> bool:
        """Tells whether the rule needs the column of token counts."""
        return False

    @property
    def scope(self) -> dict[str, list[str]]:
        """Returns the columns that limit the rule, each with the values that it allows."""
        return {name: values for name, values in self.when or () if values is not None}

    def columns(self) -> set[str]:
        own = {self.ranked_column} if self.ranked_column else set()
        return own | set(self.scope)

    def default_reasons(self) -> tuple[str, ...]:
        """Returns the reasons that `drops` gives where the user configures none."""
        raise NotImplementedError(f"{self.kind} must say for which reasons it drops")

    def reasons(self) -> tuple[str, ...]:
        return (*self._missing_reason(), *((self.reason,) if self.reason else self.default_reasons()))

    def _missing_reason(self) -> list[str]:
        """The reason of documents without a value, where these are dropped."""
        return [f"{self.ranked_column}_missing"] if self.ranked_column is not None and self.missing == "drop" else []

    def describe(self) -> str:
        return self.words() + "".join(f"; only {name} in {', '.join(values)}" for name, values in self.scope.items())

    def mentions(self) -> list[Mention]:
        return [Mention(f"when.{name}", name, tuple(values)) for name, values in self.scope.items()]

    def listings(self) -> list[Listing]:
        """Returns the lists that tables name in its `in` and `not_in`."""
        return []

    def warnings(self) -> list[str]:
        """Returns what of its configuration has no effect, a sentence each."""
        return []

    def following(self, good_ends: Mapping[str, End]) -> Self:  # noqa: ARG002
        """Returns the rule with its unset direction taken from the good end of its column (lowest or highest)."""
        return self

    def rehearse(self, rows: Rows) -> None:
        for name, values in self.scope.items():
            rows.isin(name, values)
        self.rehearse_columns(rows)

    def rehearse_columns(self, rows: Rows) -> None:
        """Raises UserError where a column that the rule reads, beside those of its scope, has the wrong type."""
        self.drops(rows, None)

    def drops(self, rows: Rows, state: Any) -> Drops:
        """Returns (reason, mask) for the rows that the rule drops; every row has a value of `ranked_column`."""
        raise NotImplementedError(f"{self.kind} decides nothing")

    def in_scope(self, rows: Rows, alive: BoolArray) -> BoolArray:
        """Returns a mask of the rows that are still kept and to which the rule applies."""
        scope = alive.copy()
        for name, values in self.scope.items():
            scope &= rows.isin(name, values)
        return scope

    def subject(self, rows: Rows, alive: BoolArray) -> BoolArray:
        """Returns a mask of the rows in scope that have a value of `ranked_column`."""
        scope = self.in_scope(rows, alive)
        return scope & ~rows.missing(self.ranked_column) if self.ranked_column is not None else scope

    def dropped(self, rows: Rows, alive: BoolArray, state: Any = None) -> Drops:
        """Returns (reason, mask) of the documents that the rule drops; masks are disjoint and over all rows."""
        subject = self.subject(rows, alive)
        gone = [(reason, self.in_scope(rows, alive) & ~subject) for reason in self._missing_reason()]
        left = subject.copy()
        for reason, mask in self.drops(rows.where(subject), state):
            going = np.zeros(len(rows), np.bool_)
            going[subject] = mask
            gone.append((self.reason or reason, going & left))
            left &= ~going
        return [(reason, mask) for reason, mask in gone if mask.any()]

    @property
    def bounds(self) -> list[float]:
        """Returns the fixed values of the column at which the rule cuts, whatever the corpus."""
        return []

    def drawn(self, rows: Rows) -> float | None:  # noqa: ARG002
        """Returns the random number that the rule compares for the first row; None where it compares a column."""
        return None

    def part_verdicts(self, rows: Rows, state: Any) -> list[PartVerdict]:  # noqa: ARG002
        """Returns what the rules inside it say of the first row, each by itself; empty where it has none."""
        return []

    def outcome(self, state: Any, schema: pa.Schema) -> dict[str, Any]:  # noqa: ARG002
        """Returns, as JSON for the manifest, the statistics that the rule computed; empty where it needs none."""
        return {}

    def cuts(self, state: Any, kind: pa.DataType, names: Iterable[str | None] = ()) -> list[Cut]:  # noqa: ARG002
        """Returns the cuts of every group, largest group first; `names` are the names that groups may have."""
        return []

    def cut_of(self, rows: Rows, state: Any, kind: pa.DataType) -> tuple[Value, ...]:  # noqa: ARG002
        """Returns the values at which the first row's group was cut; empty where the rule ranks nothing."""
        return ()

    def cut_words(self, values: Sequence[str]) -> str:
        """Returns a phrase for the values at which a group was cut, for instance `12 to 45`."""
        return " to ".join(values) if len(values) == 2 else ", ".join(values)


def warned(place: str, rules: Sequence[RuleSettings]) -> list[str]:
    """Returns the warnings of rules, each behind its place in the configuration."""
    return [f"{place}.{n}: {warning}" for n, rule in enumerate(rules) for warning in rule.warnings()]


def flattened(place: str, rules: Sequence[RuleSettings]) -> list[tuple[str, RuleSettings]]:
    """Returns (place in the configuration, rule) for every rule; one that expands to several rules gives each."""
    return [(f"{place}.{n}{end}", part) for n, rule in enumerate(rules) for end, part in rule.parts()]
