"""Computes the text signals of Gopher, C4 and FineWeb as columns."""

from __future__ import annotations

import unicodedata
from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from siftlm.scorers.protocol import KernelScorer, ScorerSettings, ragged_text
from siftlm.store import digest
from siftlm_kernels.text_signals import GROUPS, SIGNALS, Signal, text_signals

VERSION = 3
Group = Literal["basic", "gopher_quality", "gopher_repetition", "c4", "fineweb"]


class SignalsSettings(ScorerSettings):
    """Counts the words, symbols, lines and repetitions by which rules tell good text from bad."""

    kind: Literal["signals"] = "signals"
    paper: ClassVar = "Rae et al. 2021, Raffel et al. 2020, Penedo et al. 2024 (2112.11446, 1910.10683, 2406.17557)"
    unchecked: ClassVar[str] = ""
    example: ClassVar = {}
    groups: list[Group] = Field(
        default=list(GROUPS),  # type: ignore[arg-type]
        min_length=1,
        description="Groups of signals to keep: basic, gopher_quality, gopher_repetition, c4, fineweb.",
    )

    @field_validator("groups")
    @classmethod
    def _differ(cls, groups: list[Group]) -> list[Group]:
        if len(set(groups)) < len(groups):
            raise ValueError(f"groups must differ, got {groups}")
        return groups

    def scorer(self) -> SignalsScorer:
        return SignalsScorer(self)


class SignalsScorer(KernelScorer):
    """Computes a column for each signal of the chosen groups, in the order of `SIGNALS`, never null."""

    settings: SignalsSettings

    def signals(self) -> list[Signal]:
        return [signal for signal in SIGNALS if signal.group in self.settings.groups]

    def fields(self) -> list[pa.Field]:
        return [pa.field(s.name, pa.type_for_alias(s.dtype), nullable=False) for s in self.signals()]

    def digest(self) -> str:
        # What is a letter or white space is the interpreter's Unicode's to say.
        return digest("signals", VERSION, self.settings.model_dump(), unicodedata.unidata_version)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = text_signals(*ragged_text(batch["text"]))
        schema = pa.schema(self.fields())
        return pa.RecordBatch.from_arrays([pa.array(columns[name]) for name in schema.names], schema=schema)
