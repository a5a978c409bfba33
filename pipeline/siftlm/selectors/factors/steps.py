"""Defines the factor `steps`, a step function of a column such as cluster size or a quality score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from siftlm.selectors.factor import FactorSettings
from siftlm.selectors.rows import Rows
from siftlm.statistics.ordered import Float64Array


class StepsFactor(FactorSettings):
    """Multiplies a document's weight by the factor of the last step that begins at or below its value.

    With `cluster_size` of duplicates that are kept once, the factors are how often FineWeb-2 writes them again; with
    the bucket of a quality score, OLMo 3's upsampling of the best.
    """

    paper: ClassVar[str] = "Penedo et al. 2025 (FineWeb-2), arXiv 2506.20920"
    unchecked: ClassVar[str] = ""
    example: ClassVar[Mapping[str, Any]] = {
        "kind": "steps", "column": "cluster_size", "steps": [[1, 1.0], [3, 2.0], [6, 3.0]],
    }  # fmt: skip

    kind: Literal["steps"] = "steps"
    column: str = Field(description="A column of numbers.")
    steps: list[tuple[float, Annotated[float, Field(ge=0)]]] = Field(
        min_length=1, description="[value from which it holds, factor], values ascending."
    )
    below: float = Field(1.0, ge=0, description="The factor below the first step.")
    missing: float = Field(1.0, ge=0, description="The factor of a document without a value.")

    @field_validator("steps", mode="before")
    @classmethod
    def _pairs(cls, steps: Any) -> Any:
        """TOML has lists and no tuples."""
        return [tuple(step) if isinstance(step, list) else step for step in steps] if isinstance(steps, list) else steps

    @field_validator("steps")
    @classmethod
    def _ascend(cls, steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
        starts = [start for start, _ in steps]
        if starts != sorted(set(starts)):
            raise ValueError(f"steps must begin at ascending values, got {starts}")
        return steps

    def words(self) -> str:
        told = ", ".join(f"{factor:.6g} from {start:.6g}" for start, factor in self.steps)
        return f"weight by steps of {self.column}: {told}"

    def values(self, rows: Rows, state: None) -> Float64Array:  # noqa: ARG002
        starts, factors = zip(*self.steps, strict=True)
        step = np.searchsorted(starts, rows.real(self.column), side="right")
        return np.where(rows.missing(self.column), self.missing, np.asarray([self.below, *factors])[step])
