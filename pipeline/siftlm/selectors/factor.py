"""Defines what every weight factor answers: a number for each document, which multiplies its weight."""

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
    """Gives each kept document a number, from a column, that its weight is multiplied by."""

    column: str = Field(description="The column that the factor is made of.")

    def columns(self) -> set[str]:
        return {self.column}

    def reasons(self) -> tuple[str, ...]:
        """Returns a weight of 0 drops a document."""
        return (ZERO_WEIGHT,)

    @property
    def score_column(self) -> str | None:
        """The column of numbers whose distribution tells what the factor does; None where there is none."""
        return None

    def check(self, good_ends: Mapping[str, End]) -> None:
        """Raises UserError where the worst documents would get most copies and the user did not ask for that."""

    def rehearse(self, rows: Rows) -> None:
        self.values(rows, None)

    def values(self, rows: Rows, state: Any) -> Float64Array:
        """Returns the factor of every row, finite and >= 0."""
        raise NotImplementedError(f"{self.kind} gives no factor")
