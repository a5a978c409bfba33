"""Defines the rule `sample`, which keeps a random share of the documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from siftlm.errors import UserError
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops, RuleSettings
from siftlm.statistics.hashing import uniform


class Sample(RuleSettings):
    """Keeps a random share of the documents: those whose draw, a keyed hash of doc_id, is below the rate.

    Reason: not_sampled. The documents kept at a rate are among those kept at any higher rate with the same seed.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "sample", "rate": 0.3}

    kind: Literal["sample"] = "sample"
    unchecked: ClassVar[str] = ""
    rate: float | None = Field(None, ge=0, le=1, description="The probability of being kept.")
    column: str | None = Field(None, description="A column with each document's own probability.")

    @model_validator(mode="after")
    def _has_one_rate(self) -> Sample:
        if (self.rate is None) == (self.column is None):
            raise ValueError("a sample needs either rate or column")
        return self

    def words(self) -> str:
        return f"drawn with probability {self.rate if self.column is None else self.column}"

    def default_reasons(self) -> tuple[str, ...]:
        return ("not_sampled",)

    def drawn(self, rows: Rows) -> float:
        return float(uniform(rows.draw())[0])

    def drops(self, rows: Rows, state: None) -> Drops:  # noqa: ARG002
        """Returns the reason and a mask of the rows whose draw in (0, 1) is not below their rate."""
        rate = np.full(len(rows), self.rate) if self.column is None else rows.real(self.column)
        outside = (rate < 0) | (rate > 1)
        if outside.any():
            raise UserError(f"column: must hold probabilities in [0, 1], got {rate[outside][0]} in {self.column!r}")
        return [("not_sampled", uniform(rows.draw()) >= rate)]
