"""Computes the weights of kept documents: expected copies, scaled to a budget of tokens and capped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from siftlm.errors import UserError
from siftlm.selectors.budgets import CopiesBudget, FillingBudget, Weighed
from siftlm.selectors.component import placed
from siftlm.selectors.factors.column import ColumnFactor
from siftlm.selectors.factors.mixture import MixtureFactor
from siftlm.selectors.factors.segments import SegmentsFactor
from siftlm.selectors.factors.steps import StepsFactor
from siftlm.selectors.factors.table import TableFactor
from siftlm.selectors.mixture_budget import MixtureBudget
from siftlm.selectors.rows import Rows
from siftlm.selectors.rules.top import LARGEST_BUDGET
from siftlm.settings import End, Settings
from siftlm.statistics.hashing import uniform
from siftlm.statistics.ordered import Float64Array, Int64Array

WEIGHTS = "select.weights"
COPIES = "copies"  # the name of the random numbers that copies are drawn with

AnyFactor = Annotated[
    ColumnFactor | TableFactor | StepsFactor | SegmentsFactor | MixtureFactor, Field(discriminator="kind")
]
"""Every factor, by its `kind`: a new one is a file and a name here. Elsewhere, see `AnyRule`."""


class WeightSettings(Settings):
    """Configures the weights of documents: factors multiplied, scaled to a budget of tokens, at most `cap`.

    A document has min(c * product of its factors, cap) expected copies, where c is 1 or meets the budget.
    """

    factors: list[AnyFactor] = Field(default_factory=list, description="Multiplied with one another; none gives 1.")
    budget_tokens: int | None = Field(
        None, ge=1, le=LARGEST_BUDGET, description="The sum of weight * tokens, or of the tokens of all copies."
    )
    cap: float = Field(
        4.0,
        gt=0,
        le=1e6,
        description="The most copies of a document; 4 epochs cost little (Muennighoff 2023, 2305.16264).",
    )
    materialise: bool = Field(
        False,
        description="Write whole copies instead of a weight alone: 2.3 expected copies are 2, and a third with odds "
        "of 0.3, by a keyed draw of each document for itself (no systematic sample). With a budget their tokens meet "
        "it within a document; without one the run says their standard error.",
    )

    @field_validator("factors")
    @classmethod
    def _columns_differ(cls, factors: list[AnyFactor]) -> list[AnyFactor]:
        columns = [factor.column for factor in factors]
        if len(set(columns)) < len(columns):
            raise ValueError(f"each column can give one factor, got {columns}")
        if sum(isinstance(factor, MixtureFactor) for factor in factors) > 1:
            raise ValueError("one mixture can be had, got several")
        return factors

    @model_validator(mode="after")
    def _has_one_budget(self) -> WeightSettings:
        if self.budget_tokens is not None and self.mixture and self.mixture[1].train_tokens is not None:
            raise ValueError(f"budget_tokens must be left out, since factors.{self.mixture[0]} has train_tokens")
        return self

    @model_validator(mode="after")
    def _cap_is_whole(self) -> WeightSettings:
        if self.materialise and self.cap != int(self.cap):
            raise ValueError("cap must be a whole number where copies are materialised")
        return self

    def check(self, good_ends: Mapping[str, End]) -> None:
        """Raises UserError where a factor would weigh the worst documents most and the user did not ask for that."""
        for position, factor in enumerate(self.factors):
            with placed(factor_place(position)):
                factor.check(good_ends)

    def rehearse(self, rows: Rows) -> None:
        """Raises UserError where a column has a type that its factor cannot use; `rows` may be empty."""
        for position, factor in enumerate(self.factors):
            with placed(factor_place(position)):
                factor.rehearse(rows)

    @property
    def mixture(self) -> tuple[int, MixtureFactor] | None:
        """Returns (position, factor) of the mixture among the factors; None where there is none."""
        return next(((n, factor) for n, factor in enumerate(self.factors) if isinstance(factor, MixtureFactor)), None)

    @property
    def counts_tokens(self) -> bool:
        """Tells whether the column of token counts is needed."""
        return self.budget_tokens is not None or self.mixture is not None

    @property
    def budget(self) -> CopiesBudget | FillingBudget | MixtureBudget | None:
        """Returns the budget that finds the scale c of the weights; None where c is 1."""
        if self.mixture:
            position, mixture = self.mixture
            place, fractions = f"factors.{position}", mixture.fractions()
            tokens = mixture.train_tokens if self.budget_tokens is None else self.budget_tokens
            epochs = None if mixture.most_epochs is None else min(mixture.most_epochs, self.cap)
            return MixtureBudget(place, fractions, tokens, self.cap, epochs, self.materialise)
        if self.budget_tokens is None:
            return None
        if self.materialise:
            return CopiesBudget(self.budget_tokens, int(self.cap))
        return FillingBudget(self.budget_tokens, self.cap)

    def weighed(self, rows: Rows, states: Sequence[Any]) -> Weighed:
        """Returns the weights of the rows before budget and cap, with tokens and draws; `states` are the factors'."""
        tokens = rows.tokens() if self.counts_tokens else np.zeros(len(rows), np.int64)
        draw = rows.drawing(COPIES).draw() if self.materialise else np.zeros(len(rows), np.uint64)
        return Weighed(self._relative(rows, states), tokens, draw, self._shares(rows))

    def _shares(self, rows: Rows) -> Int64Array | None:
        """The share of the mixture that each row belongs to; None where there is no mixture."""
        if self.mixture is None:
            return None
        with placed(factor_place(self.mixture[0])):
            return self.mixture[1].group(rows)

    def _relative(self, rows: Rows, states: Sequence[Any]) -> Float64Array:
        """The product of the factors for every row, finite and >= 0."""
        weight = np.ones(len(rows))
        for position, (factor, state) in enumerate(zip(self.factors, states, strict=False)):
            with placed(factor_place(position)):
                weight = weight * factor.values(rows, state)
        if not np.isfinite(weight).all():
            raise UserError(f"{WEIGHTS}.factors: must have a finite product, got {weight.max()}")
        return weight

    def expected(self, rows: Rows, states: Sequence[Any]) -> tuple[Float64Array, Int64Array]:
        """Returns (expected copies, written copies) of every row; `states` are those of the factors and the budget."""
        weighed, budget = self.weighed(rows, states), self.budget
        if budget:
            expected = budget.expected(weighed, states[-1])
            return expected, budget.copies(weighed, states[-1], expected)
        expected = np.minimum(weighed.weight, self.cap)
        if self.materialise:
            return expected, np.floor(expected + uniform(weighed.draw)).astype(np.int64)
        return expected, (expected > 0).astype(np.int64)


def factor_place(position: int) -> str:
    """Returns the key path of the factor at `position` in the configuration."""
    return f"{WEIGHTS}.factors.{position}"
