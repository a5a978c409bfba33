"""MinHash LSH bands as columns, for the near-duplicate search of the dedup stage."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa
from pydantic import Field

from siftlm.scorers.protocol import Fileless, ragged_text
from siftlm.settings import End, Settings
from siftlm.store import digest
from siftlm_kernels.caching import cache_folder

VERSION = 4
SHINGLES_KEY = b"siftlm.shingles"
"""Metadata of the column `bands`: the digest of the settings, by which a later run knows comparable bands."""


class ShingleSettings(Settings):
    """How documents are shingled and signed (FineWeb's values by default, Penedo et al. 2024)."""

    kind: Literal["shingles"] = "shingles"
    ngram: int = Field(5, ge=1, le=64, description="Words in a shingle.")
    bands: int = Field(14, ge=1, le=1024, description="Bands of the LSH; two documents that share one are candidates.")
    rows: int = Field(8, ge=1, le=1024, description="Permutations in a band.")
    seed: int = Field(1, ge=0, lt=1 << 32, description="Seed of the permutations.")


class ShingleScorer(Fileless):
    """`bands` (uint64, one hash a band) and `has_shingles`, false for a text without a word, which matches nothing."""

    def __init__(self, settings: ShingleSettings) -> None:
        self.settings = settings

    def fields(self) -> list[pa.Field]:
        bands = pa.list_(pa.uint64(), self.settings.bands)
        return [
            pa.field("bands", bands, nullable=False, metadata={SHINGLES_KEY: self.digest()}),
            pa.field("has_shingles", pa.bool_(), nullable=False),
        ]

    def good_ends(self) -> dict[str, End]:
        return {}

    def digest(self) -> str:
        return digest("shingles", VERSION, self.settings.model_dump())

    def check(self) -> None:
        """Nothing can be wrong that the settings do not show; where compiled kernels go may be worth a word."""
        cache_folder()

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from siftlm_kernels.minhash import minhash_bands

        chosen = self.settings
        values, offsets = ragged_text(batch["text"])
        bands, has_shingles = minhash_bands(
            values, offsets, ngram=chosen.ngram, bands=chosen.bands, rows=chosen.rows, seed=chosen.seed
        )
        flat = pa.array(bands.reshape(-1), pa.uint64())
        columns = [pa.FixedSizeListArray.from_arrays(flat, chosen.bands), pa.array(has_shingles)]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(self.fields()))
