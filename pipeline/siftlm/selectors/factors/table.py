"""Defines the factor `table`, which has a number for each value of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from siftlm.selectors.component import Mention
from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.rows import Rows
from siftlm.statistics.ordered import Float64Array


class TableFactor(FactorSettings):
    """Multiplies a document's weight by the number that a table has for its domain, language, source or the like.

    The shares of the tokens follow from the tokens that there are; `mixture` gives shares.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "table", "column": "language", "table": {"en": 0.5, "de": 2.0}}

    kind: Literal["table"] = "table"
    unchecked: ClassVar[str] = ""
    column: str = Field(description="domain, language, source or another column of strings, booleans or integers.")
    table: dict[str, Annotated[float, Field(ge=0)]] = Field(description="The factor of each value.")
    default: float = Field(1.0, ge=0, description="The factor of values that are not in the table, and nulls.")

    def words(self) -> str:
        return f"weight by {self.column}: {', '.join(f'{value} {n:.6g}' for value, n in self.table.items())}"

    def mentions(self) -> list[Mention]:
        return [Mention("table", self.column, tuple(self.table))]

    @property
    def grouped_by(self) -> tuple[str, str]:
        return "column", self.column

    def values(self, rows: Rows, state: None) -> Float64Array:  # noqa: ARG002
        return rows.look_up(self.column, self.table, self.default)
