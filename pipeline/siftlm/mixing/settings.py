"""Defines the settings of the step from estimates to the weights of units."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from siftlm.settings import Settings


class ProjectSettings(Settings):
    """Configures how estimates become sampling weights of units, capped so that no text repeats."""

    method: Literal["linear", "l2"] = Field(
        "linear",
        description="linear takes whole units in rank order until the budget is full; l2 is the Euclidean "
        "projection of the values.",
    )
    by: Literal["estimate", "partial"] = Field(
        "estimate", description="The column projected: the estimate, or the partial correlation given strength."
    )
    budget_tokens: int | None = Field(None, gt=0, description="Tokens to select: cap = tokens of the unit / budget.")
    keep_share: float | None = Field(
        None, gt=0, le=1, description="Instead of budget_tokens: the budget as a share of all tokens."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.budget_tokens is None) == (self.keep_share is None):
            raise ValueError("exactly one of budget_tokens and keep_share must be set")
        return self
