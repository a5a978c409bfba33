"""Defines the base class of weight factors, each a number per document that multiplies its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from siftlm.selectors.component import Component
from siftlm.selectors.reasons import ZERO_WEIGHT
from siftlm.selectors.rows import Rows
from siftlm.settings import End
from siftlm.statistics.ordered import Float64Array


class FactorSettings(Component):
    """Configures a weight factor: a number computed from a column, by which a document's weight is multiplied."""

    column: str = Field(description="The column that the factor is made of.")

    def columns(self) -> set[str]:
        return {self.column}

    def reasons(self) -> tuple[str, ...]:
        """Returns the one reason, `zero_weight`, because a document of weight 0 is dropped."""
        return (ZERO_WEIGHT,)

    @property
    def score_column(self) -> str | None:
        """Returns the column of numbers whose distribution the report shows; None where the factor has none."""
        return None if self.grouped_by else self.column

    def check(self, good_ends: Mapping[str, End]) -> None:
        """Raises UserError where the worst documents would get the most copies and the user did not ask for that."""

    def rehearse(self, rows: Rows) -> None:
        self.values(rows, None)

    def values(self, rows: Rows, state: Any) -> Float64Array:
        """Returns the factor of every row, float64[rows], finite and >= 0."""
        raise NotImplementedError(f"{self.kind} gives no factor")
