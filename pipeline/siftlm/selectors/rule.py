"""Defines what every rule has, a reason, a way with missing values and a scope, and what it answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from siftlm.selectors.component import Component, Mention
from siftlm.selectors.reasons import Reason
from siftlm.selectors.rows import Rows
from siftlm.settings import End, Settings
from siftlm.statistics.ordered import BoolArray

Drops = list[tuple[str, BoolArray]]
"""Why and which rows go: (reason, mask); the first mask that holds for a row gives its reason."""
Value = float | int | None
"""A number of a column at a cut, None for an open end."""


@dataclass(frozen=True)
class Cut:
    """Tells where one group of documents was cut: the values at its cuts, None for an open end."""

    group: str | None
    values: tuple[Value, ...]
    documents: int


class Scope(Settings):
    """Limits a rule to the documents that match every list given."""

    language: list[str] | None = Field(None, min_length=1, description="Only documents of these languages.")
    source: list[str] | None = Field(None, min_length=1, description="Only documents of these inputs.")
    domain: list[str] | None = Field(None, min_length=1, description="Only documents of these registered domains.")


class RuleSettings(Component):
    """Sees the rows in its scope that are still kept, and says which go and why."""

    reason: Reason | None = Field(
        None,
        description="The reason written for dropped documents, instead of the default: letters, digits, _ . and -.",
    )
    missing: Literal["drop", "keep"] = Field(
        "drop", description="What happens to a document without a value; its reason is <column>_missing."
    )
    when: Scope | None = Field(None, description="The documents that the rule applies to; default all.")

    def parts(self) -> list[tuple[str, RuleSettings]]:
        """Returns the rules that this one stands for, in their order, each with the end of its place."""
        return [("", self)]

    @property
    def ranked_column(self) -> str | None:
        """The column whose missing values `missing` speaks of: `column`, where the rule has one."""
        column: str | None = getattr(self, "column", None)
        return column

    @property
    def counts_tokens(self) -> bool:
        """Whether the rule needs the column of tokens."""
        return False

    @property
    def scope(self) -> dict[str, list[str]]:
        """The columns that the scope reads, with the values it allows."""
        return {name: values for name, values in self.when or () if values is not None}

    def columns(self) -> set[str]:
        own = {self.ranked_column} if self.ranked_column else set()
        return own | set(self.scope)

    def default_reasons(self) -> tuple[str, ...]:
        """Returns the reasons for which `drops` drops, where the user gives no other."""
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

    def following(self, good_ends: Mapping[str, End]) -> Self:  # noqa: ARG002
        """Returns the rule with what the good ends of columns decide where the user did not."""
        return self

    def rehearse(self, rows: Rows) -> None:
        for name, values in self.scope.items():
            rows.isin(name, values)
        self.rehearse_columns(rows)

    def rehearse_columns(self, rows: Rows) -> None:
        """Returns the same for the columns beside those of the scope."""
        self.drops(rows, None)

    def drops(self, rows: Rows, state: Any) -> Drops:
        """Tells which rows go and why; none of the rows misses `ranked_column`."""
        raise NotImplementedError(f"{self.kind} decides nothing")

    def in_scope(self, rows: Rows, alive: BoolArray) -> BoolArray:
        """Returns the rows that are still kept and that the rule applies to."""
        scope = alive.copy()
        for name, values in self.scope.items():
            scope &= rows.isin(name, values)
        return scope

    def subject(self, rows: Rows, alive: BoolArray) -> BoolArray:
        """Returns the rows of the scope that have a value."""
        scope = self.in_scope(rows, alive)
        return scope & ~rows.missing(self.ranked_column) if self.ranked_column is not None else scope

    def dropped(self, rows: Rows, alive: BoolArray, state: Any = None) -> Drops:
        """Returns the reasons of the rule with the rows that go for each, as disjoint masks over all rows."""
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
        """The values of the column at which the rule cuts in any corpus."""
        return []

    def drawn(self, rows: Rows) -> float | None:  # noqa: ARG002
        """Returns the draw that the rule compares for the first row; None where it compares a column."""
        return None

    def outcome(self, state: Any, schema: pa.Schema) -> dict[str, Any]:  # noqa: ARG002
        """Returns what the rule found in the corpus, as JSON; empty where it looks at rows alone."""
        return {}

    def cuts(self, state: Any, kind: pa.DataType, names: Iterable[str | None] = ()) -> list[Cut]:  # noqa: ARG002
        """Returns the cuts of every group, largest first; `names` are the values that its groups may have."""
        return []

    def cut_of(self, rows: Rows, state: Any, kind: pa.DataType) -> tuple[Value, ...]:  # noqa: ARG002
        """Returns the values at which the group of the first row was cut."""
        return ()

    def cut_words(self, values: Sequence[str]) -> str:
        """Returns the values at the cuts of a group, in words."""
        return " to ".join(values) if len(values) == 2 else ", ".join(values)


def flattened(place: str, rules: Sequence[RuleSettings]) -> list[tuple[str, RuleSettings]]:
    """Returns the rules that decide, each with its place in the configuration: those that a rule stands for apart."""
    return [(f"{place}.{n}{end}", part) for n, rule in enumerate(rules) for end, part in rule.parts()]
