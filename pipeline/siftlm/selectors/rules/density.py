"""Defines the rules `gaussian` and `stepwise`, which sample documents by perplexity as BERTIN does.

Quartiles and rate are found on the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from siftlm.errors import UserError
from siftlm.selectors.ranked import RankedRule, Ranking, exact
from siftlm.selectors.rows import Rows
from siftlm.selectors.rule import Drops
from siftlm.statistics.cuts import Cuts, Ranked, Target
from siftlm.statistics.exponential import exp_negative
from siftlm.statistics.hashing import uniform
from siftlm.statistics.ordered import Float64Array, from_float, from_number, to_number

QUARTILES = tuple(Target(share=Fraction(k, 4)) for k in (1, 2, 3))


class DensityRule(RankedRule):
    """Keeps a document at random with probability min(1, factor * shape(value)), by a keyed hash of its doc_id.

    The shape's quartiles are those of the corpus, exact, unless `quartiles` gives them. With `rate`, the
    factor is the one at which exactly that share of the documents is kept: a document is kept when draw /
    shape < factor, so the factor is a quantile of draw / shape (sequential Poisson sampling: Ohlsson, J.
    Official Statistics 14, 1998). Reason: not_sampled_by_<column>.
    """

    paper: ClassVar[str] = "De la Rosa et al. 2022 (BERTIN), arXiv 2207.06814"

    column: str = Field(description="The column sampled by, a perplexity for instance.")
    rate: float | None = Field(None, gt=0, le=1, description="The share of the documents kept.")
    factor: float | None = Field(None, gt=0, description="The factor before the shape, where no rate is given.")
    quartiles: list[float] | None = Field(
        None, min_length=3, max_length=3, description="The three quartiles, instead of the corpus's own."
    )

    @field_validator("quartiles")
    @classmethod
    def _quartiles_ascend(cls, quartiles: list[float] | None) -> list[float] | None:
        if quartiles is not None and quartiles != sorted(quartiles):
            raise ValueError("quartiles must ascend")
        return quartiles

    @model_validator(mode="after")
    def _has_one_size(self) -> DensityRule:
        if (self.rate is None) == (self.factor is None):
            raise ValueError(f"{self.kind} needs either rate or factor")
        return self

    @property
    def passes(self) -> int:
        return (self.quartiles is None) + (self.rate is not None)

    def _seeks_quartiles(self, number: int) -> bool:
        return self.quartiles is None and number == 0

    def words(self) -> str:
        size = f"rate {self.rate:.6g}" if self.rate is not None else f"factor {self.factor:.6g}"
        return f"drawn by {self.column} ({self.kind}, {size})"

    def default_reasons(self) -> tuple[str, ...]:
        return (f"not_sampled_by_{self.column}",)

    def targets(self, number: int) -> tuple[Target, ...]:
        """Returns the quartiles for the search that finds them, and the rate for the search for the factor."""
        if self._seeks_quartiles(number) or self.rate is None:
            return QUARTILES
        return (Target(share=exact(self.rate)),)

    def ranked(self, rows: Rows, number: int, cuts: tuple[Cuts, ...]) -> Ranked:
        """Returns the rows ranked by value, ties together, to find quartiles, or by draw / shape to find the factor."""
        zero, one = np.zeros(len(rows), np.uint64), np.ones(len(rows), np.int64)
        if self._seeks_quartiles(number):
            return Ranked(zero, from_number(rows.number(self.column)), zero, one)
        return Ranked(zero, from_float(self._ratio(rows, cuts)), rows.draw(), one)

    def drops(self, rows: Rows, state: Ranking) -> Drops:
        """Returns the reason and a mask of the rows whose draw / shape is at or above the factor."""
        if not len(rows):
            return []
        if self.factor is not None:
            beyond = self._ratio(rows, state.cuts) >= self.factor
        else:
            beyond = ~state.cuts[-1].before(0, self.ranked(rows, self.passes - 1, state.cuts))
        return [(self.default_reasons()[0], beyond)]

    def _ratio(self, rows: Rows, cuts: tuple[Cuts, ...]) -> Float64Array:
        """draw / shape, infinite where the shape is 0."""
        values, draw = rows.real(self.column), uniform(rows.draw())
        if not len(rows):
            return values
        quartiles = self.quartiles or to_number(cuts[0].key[0], rows.number(self.column).dtype).tolist()
        with np.errstate(divide="ignore", over="ignore"):
            return np.asarray(draw / self.shape(values, *quartiles), np.float64)

    def shape(self, values: Float64Array, first: float, second: float, third: float) -> Float64Array:
        """Returns the probability of keeping each value, before it is multiplied by the factor."""
        raise NotImplementedError(f"{self.kind} has no shape")


class Gaussian(DensityRule):
    """Samples documents by a bell around the median: exp(-((value - median) / median)^2 / width) (BERTIN).

    The formula is that of the data set bertin-project/mc4-sampling; its script takes factor 0.78 and width 9/2.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "gaussian", "column": "perplexity", "rate": 0.4}

    kind: Literal["gaussian"] = "gaussian"
    unchecked: ClassVar[str] = ""
    width: float = Field(4.5, gt=0, description="Width of the bell in units of the median, squared.")

    def shape(self, values: Float64Array, first: float, second: float, third: float) -> Float64Array:  # noqa: ARG002
        """Returns the height of the bell around the median for each value; 0 for infinite values."""
        if second == 0 or not np.isfinite(second):
            raise UserError(f"column: must have a median other than 0 and finite, got {second} for {self.column!r}")
        with np.errstate(over="ignore"):
            distance = (values - second) / second
            return exp_negative(distance * distance / self.width)


class Stepwise(DensityRule):
    """Samples documents with probability proportional to 1 / the range of their quarter of the values (BERTIN).

    The ranges are Q1, Q2 - Q1, Q3 - Q2, and 10 Q3 for the last.

    Quarters: p <= Q1; Q1 < p <= Q2; Q2 < p < Q3; p >= Q3. A quarter without range keeps its documents. The data set's
    script takes factor 1.5e5 for perplexities with a median of 6.6e5.
    """

    example: ClassVar[Mapping[str, Any]] = {"kind": "stepwise", "column": "perplexity", "rate": 0.4}

    kind: Literal["stepwise"] = "stepwise"
    unchecked: ClassVar[str] = ""

    def shape(self, values: Float64Array, first: float, second: float, third: float) -> Float64Array:
        """Returns 1 / the range of the quarter into which each value falls."""
        if first <= 0 or not np.isfinite(third):
            raise UserError(
                f"column: must have positive and finite quartiles, got {[first, second, third]} for {self.column!r}"
            )
        ranges = np.array([first, second - first, third - second, 10 * third])
        quarter = np.where(values <= first, 0, np.where(values <= second, 1, np.where(values < third, 2, 3)))
        with np.errstate(divide="ignore"):
            return np.asarray((1 / ranges)[quarter], np.float64)
