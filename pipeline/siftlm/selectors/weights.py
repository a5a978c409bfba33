"""Weights: expected copies of every kept document, scaled to a budget of tokens under a cap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from siftlm.errors import UserError
from siftlm.selectors.rows import Rows
from siftlm.selectors.segments import Segments, SegmentsFactor
from siftlm.selectors.top import LARGEST_BUDGET
from siftlm.settings import End, Settings
from siftlm.statistics.ordered import Float64Array


class ColumnFactor(Settings):
    """The value of a column, or one over it (`cluster_size` inverted gives each cluster the same weight)."""

    kind: Literal["column"] = "column"
    column: str = Field(description="A column of finite numbers >= 0, or > 0 where inverted.")
    inverse: bool | None = Field(
        default=None,
        description="Divide by the value instead; must be written for a column whose low values are the good ones.",
    )
    missing: float = Field(default=1.0, ge=0, description="The factor of a document without a value.")

    def check(self, good_ends: Mapping[str, End]) -> None:
        """Raises UserError where the worst documents would get most copies and the user did not ask for that."""
        if self.inverse is None and good_ends.get(self.column) == "lowest":
            raise UserError(
                f"inverse: must be written for {self.column}, whose low values are the good ones, got nothing; "
                "true gives these the most copies, false the fewest"
            )

    def values(self, rows: Rows) -> Float64Array:
        """The factor of every row."""
        column = np.where(rows.missing(self.column), 1.0, rows.real(self.column))
        with np.errstate(divide="ignore"):
            factor = 1.0 / column if self.inverse else column
        refused = ~(np.isfinite(factor) & (factor >= 0))
        if refused.any():
            kind = "positive" if self.inverse else "at least 0"
            raise UserError(f"column: must be finite and {kind}, got {column[refused][0]} in {self.column!r}")
        return np.where(rows.missing(self.column), self.missing, factor)


class TableFactor(Settings):
    """A number for each value of a column of strings: domain weights, languages, sources."""

    kind: Literal["table"] = "table"
    column: str = Field(description="domain, language, source or another column of strings, booleans or integers.")
    table: dict[str, Annotated[float, Field(ge=0)]] = Field(description="The factor of each value.")
    default: float = Field(default=1.0, ge=0, description="The factor of values that are not in the table, and nulls.")

    def values(self, rows: Rows) -> Float64Array:
        """The factor of every row."""
        return rows.look_up(self.column, self.table, self.default)


Factor = Annotated[ColumnFactor | TableFactor | SegmentsFactor, Field(discriminator="kind")]


class WeightSettings(Settings):
    """weight = min(c * product of the factors, cap) expected copies; c is 1, or what meets the budget."""

    factors: list[Factor] = Field(default_factory=list, description="Multiplied with one another; none gives 1.")
    budget_tokens: int | None = Field(
        default=None,
        ge=1,
        le=LARGEST_BUDGET,
        description="The sum of weight * tokens, or of the tokens of all copies.",
    )
    cap: float = Field(
        default=4.0,
        gt=0,
        le=1e6,
        description="The most copies of a document; 4 epochs cost little (Muennighoff 2023, 2305.16264).",
    )
    materialise: bool = Field(
        default=False,
        description="Write whole copies, drawn by keyed systematic sampling, instead of a weight alone.",
    )

    @field_validator("factors")
    @classmethod
    def _columns_differ(cls, factors: list[Factor]) -> list[Factor]:
        columns = [factor.column for factor in factors]
        if len(set(columns)) < len(columns):
            raise ValueError(f"each column can give one factor, got {columns}")
        return factors

    @model_validator(mode="after")
    def _cap_is_whole(self) -> WeightSettings:
        if self.materialise and self.cap != int(self.cap):
            raise ValueError("cap must be a whole number where copies are materialised")
        return self

    def columns(self) -> set[str]:
        """The columns that the factors read."""
        return {factor.column for factor in self.factors}

    def check(self, good_ends: Mapping[str, End], place: str) -> None:
        """Raises UserError where a factor turns the good end of its column round and the user did not write so."""
        for position, factor in enumerate(self.factors):
            with factor_named(place, position):
                if isinstance(factor, ColumnFactor):
                    factor.check(good_ends)

    def segmented(self) -> list[tuple[int, SegmentsFactor]]:
        """The factors that need statistics of the corpus, with their positions."""
        return [(n, factor) for n, factor in enumerate(self.factors) if isinstance(factor, SegmentsFactor)]

    def relative(self, rows: Rows, place: str, segments: Sequence[Segments] = ()) -> Float64Array:
        """The product of the factors for every row, finite and >= 0, before the budget and the cap.

        `segments` are those of `segmented()`, in order; none for no rows.
        """
        weight, found = np.ones(len(rows)), iter(segments)
        for position, factor in enumerate(self.factors):
            with factor_named(place, position):
                if isinstance(factor, SegmentsFactor):
                    weight = weight * factor.values(rows, next(found, None))
                else:
                    weight = weight * factor.values(rows)
        if not np.isfinite(weight).all():
            raise UserError(f"{place}.factors: must have a finite product, got {weight.max()}")
        return weight

    def capped(self, relative: Float64Array, scale: float) -> Float64Array:
        """Expected copies: min(scale * relative, cap)."""
        with np.errstate(over="ignore"):
            return np.minimum(scale * relative, self.cap)


@contextmanager
def factor_named(place: str, position: int) -> Iterator[None]:
    """Tells a user's mistake in a factor with the factor's place."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}.factors.{position}.{error}") from None
