"""Defines the rule `thresholds`, which holds limits for many columns in one table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from siftlm.selectors.component import Mention
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import RuleSettings
from siftlm.selectors.rules.threshold import Bounds, Threshold


class ColumnLimits(RuleSettings):
    """Applies a `threshold` to every column of a table, in order, with one scope and one policy for nulls."""

    columns_: dict[str, Bounds] = Field(
        alias="columns", min_length=1, description="For each column min, max, in, not_in, by and table, as a threshold."
    )

    def thresholds(self) -> dict[str, Threshold]:
        """Returns the `threshold` rule of every column."""
        shared = {"reason": self.reason, "missing": self.missing, "when": self.when}
        return {
            column: Threshold.model_validate({"column": column, **shared, **bounds.model_dump(by_alias=True)})
            for column, bounds in self.columns_.items()
        }

    def with_limits(self, limits: Mapping[str, Bounds], without: Collection[str]) -> Self | None:
        """Returns the rule with other limits for some columns and without others; None where no column is left."""
        columns = {name: limits.get(name, own) for name, own in self.columns_.items() if name not in without}
        return self.model_copy(update={"columns_": columns}) if columns else None

    def parts(self) -> list[tuple[str, RuleSettings]]:
        return [(f".columns.{column}", threshold) for column, threshold in self.thresholds().items()]

    def columns(self) -> set[str]:
        return set[str]().union(*(threshold.columns() for threshold in self.thresholds().values()))

    def reasons(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(reason for part in self.thresholds().values() for reason in part.reasons()))

    def words(self) -> str:
        return ", ".join(threshold.words() for threshold in self.thresholds().values())

    def mentions(self) -> list[Mention]:
        return super().mentions() + [
            mention._replace(place=f"columns.{column}.{mention.place}")
            for column, threshold in self.thresholds().items()
            for mention in threshold.lists()
        ]

    def rehearse(self, rows: Rows) -> None:
        for threshold in self.thresholds().values():
            threshold.rehearse(rows)


class Thresholds(ColumnLimits):
    """Applies a `threshold` to every column of its table, in order, with one scope and one policy for nulls."""

    example: ClassVar[Mapping[str, Any]] = {
        "kind": "thresholds",
        "missing": "keep",
        "columns": {"perplexity": {"min": 5, "max": 80}, "commonness": {"max": 0.9}},
    }

    kind: Literal["thresholds"] = "thresholds"
    unchecked: ClassVar[str] = ""
