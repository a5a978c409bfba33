"""Keeps documents whose value lies in a range, or in a list (`threshold`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from siftlm.selectors.component import Mention
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings


class Threshold(RuleSettings):
    """Keeps min <= value <= max for numbers, and what is or is not in a list.

    Reasons: <column>_below_min, <column>_above_max, <column>_not_in_list, <column>_in_list.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "threshold", "column": "perplexity", "min": 5, "max": 80}

    kind: Literal["threshold"] = "threshold"
    column: str = Field(description="The column compared.")
    min: float | None = Field(None, description="The least value kept.")
    max: float | None = Field(None, description="The greatest value kept.")
    in_: list[str | bool | int] | None = Field(None, alias="in", min_length=1, description="The only values kept.")
    not_in: list[str | bool | int] | None = Field(None, min_length=1, description="Values that are dropped.")

    @model_validator(mode="after")
    def _says_something(self) -> Threshold:
        if all(bound is None for bound in (self.min, self.max, self.in_, self.not_in)):
            raise ValueError("a threshold needs at least one of min, max, in and not_in")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max = {self.max}")
        return self

    def words(self) -> str:
        low = "" if self.min is None else f"{self.min:.6g} ≤ "
        high = "" if self.max is None else f" ≤ {self.max:.6g}"
        lists = [("in", self.in_), ("not in", self.not_in)]
        listed = [f"{word} {', '.join(map(str, values))}" for word, values in lists if values is not None]
        return " ".join([f"{low}{self.column}{high}", *listed])

    def default_reasons(self) -> tuple[str, ...]:
        given = {"below_min": self.min, "above_max": self.max, "not_in_list": self.in_, "in_list": self.not_in}
        return tuple(f"{self.column}_{why}" for why, bound in given.items() if bound is not None)

    def mentions(self) -> list[Mention]:
        keeps = self.when is None and self.missing == "drop"
        lists = [("in", self.in_, keeps), ("not_in", self.not_in, False)]
        return super().mentions() + [
            Mention(key, self.column, tuple(map(_text, values)), alone) for key, values, alone in lists if values
        ]

    @property
    def bounds(self) -> list[float]:
        return [bound for bound in (self.min, self.max) if bound is not None]

    def drops(self, rows: Rows, state: None) -> Drops:  # noqa: ARG002
        """Returns rows outside the range or the lists; bounds are inclusive."""
        ends = [(np.less, self.min), (np.greater, self.max)]
        masks = [beyond(rows.number(self.column), bound) for beyond, bound in ends if bound is not None]
        lists = [(True, self.in_), (False, self.not_in)]
        masks += [rows.isin(self.column, values) != kept for kept, values in lists if values is not None]
        return list(zip(self.default_reasons(), masks, strict=True))


def _text(value: str | bool | int) -> str:
    """A value as Arrow writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
