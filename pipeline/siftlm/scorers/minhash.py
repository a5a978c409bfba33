"""Computes MinHash columns: LSH bands to find near-duplicates, and signatures for datasketch."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from siftlm.scorers.protocol import KernelScorer, ScorerSettings, ragged_text
from siftlm.store import digest

VERSION = 4
SHINGLES_KEY = b"siftlm.shingles"
"""Metadata of the column `bands`: the digest of the settings, by which a later run knows comparable bands."""
SIGNATURE = "minhash"  # the column of signatures


class ShingleSettings(ScorerSettings):
    """Configures the shingles and MinHash bands of documents; defaults are those of FineWeb."""

    kind: Literal["shingles"] = "shingles"
    ngram: int = Field(5, ge=1, le=64, description="Words in a shingle.")
    bands: int = Field(14, ge=1, le=1024, description="Bands of the LSH; two documents that share one are candidates.")
    rows: int = Field(8, ge=1, le=1024, description="Permutations in a band.")
    similarity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Choose bands and rows for this Jaccard similarity, as datasketch's MinHashLSH does.",
    )
    permutations: int | None = Field(
        None, ge=2, le=1024, description="Permutations that `similarity` shares out among the bands; left out, 112."
    )
    seed: int = Field(1, ge=0, lt=1 << 32, description="Seed of the permutations.")

    @model_validator(mode="after")
    def _shaped(self) -> ShingleSettings:
        if self.similarity is None:
            if self.permutations is not None:
                raise ValueError("permutations must come with similarity; without it they are bands * rows")
            return self
        permutations = self.permutations or 112
        bands, rows = best_shape(self.similarity, permutations)
        chosen = {"bands": bands, "rows": rows, "permutations": permutations}
        if any(getattr(self, name) != chosen[name] for name in {"bands", "rows"} & self.model_fields_set):
            raise ValueError(
                f"similarity must stand without bands and rows, which it chooses, got {self.bands} and {self.rows} "
                f"beside {self.similarity}; it gives {bands} and {rows}"
            )
        self.__dict__.update(chosen)
        return self

    def scorer(self) -> ShingleScorer:
        return ShingleScorer(self)


class SignatureSettings(ScorerSettings):
    """Configures which MinHash signatures are written."""

    kind: Literal["signatures"] = "signatures"
    ngram: int
    permutations: int
    seed: int

    @classmethod
    def of(cls, shingles: ShingleSettings) -> SignatureSettings:
        permutations = shingles.permutations or shingles.bands * shingles.rows
        return cls(ngram=shingles.ngram, permutations=permutations, seed=shingles.seed)

    def scorer(self) -> SignatureScorer:
        return SignatureScorer(self)


@lru_cache
def best_shape(similarity: float, permutations: int) -> tuple[int, int]:
    """Returns the (bands, rows) for which datasketch's MinHashLSH expects the fewest errors.

    Errors are false positives and false negatives.

    Raises:
        ValueError: two bands, the fewest that MinHashLSH takes, are too many.
    """
    from datasketch import MinHashLSH

    try:
        index = MinHashLSH(threshold=similarity, num_perm=permutations)
    except ValueError:
        raise ValueError(
            f"permutations must be enough for two bands, got {permutations} for a similarity of {similarity}"
        ) from None
    return index.b, index.r


class ShingleScorer(KernelScorer):
    """Computes `bands` (uint64, one hash for each band) and `has_shingles`.

    `has_shingles` is false for a text without a word, which matches nothing.
    """

    settings: ShingleSettings

    def fields(self) -> list[pa.Field]:
        bands = pa.list_(pa.uint64(), self.settings.bands)
        return [
            pa.field("bands", bands, nullable=False, metadata={SHINGLES_KEY: self.digest()}),
            pa.field("has_shingles", pa.bool_(), nullable=False),
        ]

    def digest(self) -> str:
        return digest("shingles", VERSION, self.settings.model_dump(exclude={"similarity", "permutations"}))

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


class SignatureScorer(KernelScorer):
    """Computes the column `minhash`: the bytes of a datasketch.LeanMinHash of each document's shingles."""

    settings: SignatureSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(SIGNATURE, pa.binary(), nullable=False)]

    def digest(self) -> str:
        return digest("signatures", 1, self.settings.model_dump())

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from siftlm_kernels.minhash import minhash

        hashvalues = minhash(
            *ragged_text(batch["text"]), **self.settings.model_dump(exclude={"kind"}), impl="datasketch"
        )
        signatures = pa.array([self._serialised(row) for row in hashvalues], pa.binary())
        return pa.RecordBatch.from_arrays([signatures], schema=pa.schema(self.fields()))

    def _serialised(self, hashvalues: NDArray[np.uint32]) -> bytes:
        from datasketch import LeanMinHash

        signature = LeanMinHash(seed=self.settings.seed, hashvalues=hashvalues, scheme="affine32")
        buffer = bytearray(signature.bytesize())
        signature.serialize(buffer)
        return bytes(buffer)
