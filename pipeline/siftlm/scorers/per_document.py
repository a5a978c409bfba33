"""Defines scores that give numbers of each document from the values of its tokens, in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, field_validator

from siftlm.scorers.score import Done, ScoreSettings, SumScorer, sum_columns
from siftlm.scorers.token_masks import TokenMask
from siftlm.scorers.token_numbers import DEFAULT_WINDOW, DocumentNumbers, find_number
from siftlm.settings import End


class PerDocumentSettings(ScoreSettings):
    """Configures a score that has values of every token, and numbers of a document that are computed from them."""

    token_values: ClassVar[tuple[str, ...]] = ("nll",)
    per_document: list[str] = Field(
        [], description="Columns with one number a document, of its tokens: `nll_mean`, `nll_std`, `nll_p0` to "
        "`nll_p100` (percentiles), `worst_window`; a language model has them of `entropy` and `el2n` too.",
    )  # fmt: skip
    worst_window_tokens: int = Field(
        DEFAULT_WINDOW, ge=1, description="Tokens of the windows of which `worst_window` is the highest mean nll."
    )

    token_masks: list[TokenMask] = Field(
        default_factory=list, description="Columns that mark tokens by their values, a bit a token."
    )

    @field_validator("token_masks")
    @classmethod
    def _of_values_and_different(cls, masks: list[TokenMask]) -> list[TokenMask]:
        if unknown := [mask.value for mask in masks if mask.reads not in cls.token_values]:
            raise ValueError(f"value must be nll or perplexity, all that this model gives, got {unknown[0]!r}")
        names = [mask.name for mask in masks]
        if len(set(names)) < len(names):
            raise ValueError(f"names must differ, got {names}")
        return masks

    @field_validator("per_document")
    @classmethod
    def _known_and_different(cls, names: list[str]) -> list[str]:
        for name in names:
            find_number(name, cls.token_values)
        if len(set(names)) < len(names):
            raise ValueError(f"columns must differ, got {names}")
        return names

    @property
    def numbers(self) -> DocumentNumbers:
        """Returns what computes the columns of `per_document`."""
        found = (find_number(name, self.token_values) for name in self.per_document)
        return DocumentNumbers(tuple(found), self.worst_window_tokens, tuple(self.token_masks))

    @property
    def masks(self) -> list[str]:
        return [mask.name for mask in self.token_masks]

    def mask_content(self) -> list[object]:
        """Returns what keys depend on of the masks: nothing without one, so that older keys stay."""
        return [mask.model_dump(mode="json") for mask in self.token_masks]

    def number_versions(self) -> dict[str, int]:
        """Returns what keys depend on of the numbers' code: the versions that are not the first, by name."""
        return {number.name: number.version for number in self.numbers.numbers if number.version > 1}

    def number_ends(self) -> dict[str, End]:
        """Returns which numbers are good where they are low, by the names of their columns."""
        return {f"{self.name}_{number.name}": "lowest" for number in self.numbers.numbers if number.low_is_good}

    def charts(self) -> Sequence[str]:
        return *super().charts(), *(f"{self.name}_{name}" for name in self.per_document)


class TokenScorer(SumScorer):
    """Computes a score from what a component gives: the nats of every token of each text."""

    settings: PerDocumentSettings

    def nats(self, texts: Sequence[str]) -> list[list[float]]:
        """Returns the nats of every token that was predicted of each text."""
        raise NotImplementedError(f"{self.settings.kind} must give the nats of tokens")

    def fields(self) -> list[pa.Field]:
        return [*super().fields(), *self.settings.numbers.fields()]

    def good_ends(self) -> dict[str, End]:
        return super().good_ends() | self.settings.number_ends()

    def begin(self, documents: NDArray[np.object_]) -> Done:
        """Returns the columns of `fields`; a text that is null, or whose nats are not finite, is an error."""
        texts = pa.array(documents, pa.large_string())
        nats = self.nats([text or "" for text in documents])
        counts = [len(of_text) for of_text in nats]
        sums = sum_columns(texts, [sum(of_text) for of_text in nats], counts)
        stops = np.cumsum(counts, dtype=np.int64)
        values = {"nll": np.array([nat for of_text in nats for nat in of_text], np.float64)}
        failed = pc.is_valid(sums["error"]).to_numpy(zero_copy_only=False)
        numbers = self.settings.numbers.columns(values, stops - counts, stops, failed)
        return Done(pa.RecordBatch.from_arrays([*sums.values(), *numbers], schema=pa.schema(self.fields())))
