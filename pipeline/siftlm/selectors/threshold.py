"""`threshold`: documents whose value lies in a range, or in a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import override

from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings
from siftlm.statistics.cuts import Cuts


class Threshold(RuleSettings):
    """Keeps min <= value <= max for numbers; for strings, booleans and integers, what is (not) in a list.

    Reasons: <column>_below_min, <column>_above_max, <column>_not_in_list, <column>_in_list.
    """

    kind: Literal["threshold"] = "threshold"
    column: str = Field(description="The column compared.")
    min: float | None = Field(default=None, description="The least value kept.")
    max: float | None = Field(default=None, description="The greatest value kept.")
    in_: list[str | bool | int] | None = Field(
        default=None, alias="in", min_length=1, description="The only values kept."
    )
    not_in: list[str | bool | int] | None = Field(default=None, min_length=1, description="Values that are dropped.")

    @model_validator(mode="after")
    def _says_something(self) -> Threshold:
        given = [bound for bound in (self.min, self.max, self.in_, self.not_in) if bound is not None]
        if not given:
            raise ValueError("a threshold needs at least one of min, max, in and not_in")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max = {self.max}")
        return self

    @property
    @override
    def ranked_column(self) -> str:
        return self.column

    @override
    def words(self) -> str:
        low = "" if self.min is None else f"{self.min:.6g} ≤ "
        high = "" if self.max is None else f" ≤ {self.max:.6g}"
        lists = [("in", self.in_), ("not in", self.not_in)]
        listed = [f"{word} {', '.join(map(str, values))}" for word, values in lists if values is not None]
        return " ".join([f"{low}{self.column}{high}", *listed])

    @override
    def drops(self, rows: Rows, cuts: Sequence[Cuts], draws: str) -> Drops:
        """Rows outside the range or the lists; bounds are inclusive."""
        found: Drops = []
        if self.min is not None:
            found.append(("below_min", np.less(rows.number(self.column), self.min)))
        if self.max is not None:
            found.append(("above_max", np.greater(rows.number(self.column), self.max)))
        if self.in_ is not None:
            found.append(("not_in_list", ~rows.isin(self.column, self.in_)))
        if self.not_in is not None:
            found.append(("in_list", rows.isin(self.column, self.not_in)))
        return [(self.reason or f"{self.column}_{why}", mask) for why, mask in found]
