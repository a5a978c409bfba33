"""Defines the factor `column`, which multiplies a weight by a column's value or divides by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from siftlm.errors import UserError
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.rows import Rows
from siftlm.settings import End
from siftlm.statistics.ordered import Float64Array


class ColumnFactor(FactorSettings):
    """Multiplies a document's weight by the value of a column, or divides by it where `inverse` is set.

    Divided by `cluster_size`, all clusters count the same.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "column", "column": "cluster_size", "inverse": True}

    kind: Literal["column"] = "column"
    unchecked: ClassVar[str] = ""
    column: str = Field(description="A column of finite numbers >= 0, or > 0 where inverted.")
    inverse: bool | None = Field(
        None,
        description="Divide by the value instead; must be written for a column whose low values are the good ones.",
    )
    missing: float = Field(1.0, ge=0, description="The factor of a document without a value.")

    def words(self) -> str:
        return f"weight {'divided' if self.inverse else 'multiplied'} by {self.column}"

    def check(self, good_ends: Mapping[str, End]) -> None:
        if self.inverse is None and good_ends.get(self.column) == "lowest":
            raise UserError(
                f"inverse: must be written for {self.column}, whose low values are the good ones, got nothing; "
                "true gives these the most copies, false the fewest"
            )

    def values(self, rows: Rows, state: None) -> Float64Array:  # noqa: ARG002
        column = np.where(rows.missing(self.column), 1.0, rows.real(self.column))
        with np.errstate(divide="ignore"):
            factor = 1.0 / column if self.inverse else column
        refused = ~(np.isfinite(factor) & (factor >= 0))
        if refused.any():
            kind = "positive" if self.inverse else "at least 0"
            raise UserError(f"column: must be finite and {kind}, got {column[refused][0]} in {self.column!r}")
        return np.where(rows.missing(self.column), self.missing, factor)
