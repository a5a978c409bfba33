"""Computes how many times smaller general-purpose compressors make each text."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import zstandard
from pydantic import Field, model_validator

from siftlm.scorers.protocol import NamedSettings, Scorer, ragged_text
from siftlm.store import digest

VERSION = 1
Codec = Literal["zstd", "gzip"]
LEVELS: dict[Codec, tuple[int, int, int]] = {"zstd": (1, 22, 3), "gzip": (1, 9, 9)}  # lowest, highest, default
WINDOWS: dict[Codec, tuple[int, int]] = {"zstd": (10, 27), "gzip": (9, 15)}  # logarithms of bytes to the base 2


class CompressionSettings(NamedSettings):
    """Measures how many times smaller a compressor makes each text, by itself."""

    kind: Literal["compression"] = "compression"
    paper: ClassVar = "Yin et al. 2024 (arXiv 2407.06645); Pandey 2024 (arXiv 2405.16684)"
    unchecked: ClassVar[str] = ""
    example: ClassVar = {"name": "zstd", "codec": "zstd", "level": 19}
    codec: Codec = Field("zstd", description="The compressor: zstd (RFC 8878) or gzip (RFC 1952).")
    level: int | None = Field(
        None, description="How hard it tries: 1 to 22 for zstd, 3 by default; 1 to 9 for gzip, 9 by default."
    )
    window_bytes: int | None = Field(
        None,
        description="How far back a repetition is found, a power of two: 1,024 to 2^27 for zstd, by default what the "
        "level takes; 512 to 32,768 for gzip, by default the latter.",
    )

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        low, high, _ = LEVELS[self.codec]
        if self.level is not None and not low <= self.level <= high:
            raise ValueError(f"level must be {low} to {high} for {self.codec}, got {self.level}")
        least, most = WINDOWS[self.codec]
        if self.window_bytes is not None and self.window_bytes not in {1 << n for n in range(least, most + 1)}:
            raise ValueError(
                f"window_bytes must be a power of two from {1 << least:,} to {1 << most:,} for {self.codec}, "
                f"got {self.window_bytes:,}"
            )
        return self

    def scorer(self) -> CompressionScorer:
        return CompressionScorer(self)

    def charts(self) -> list[str]:
        return [f"{self.name}_ratio"]


class CompressionScorer(Scorer):
    """Computes `<name>_ratio`, the UTF-8 bytes of a text divided by the bytes of its compressed file.

    Every text is a file of its own with a header and trailer of 9 to 18 bytes, so very short texts have ratios below 1.
    It is null for a text without bytes. Dense text and noise have low ratios, repetition has high ones.
    """

    settings: CompressionSettings

    def fields(self) -> list[pa.Field]:
        return [pa.field(f"{self.settings.name}_ratio", pa.float64())]

    def digest(self) -> str:
        settings = self.settings
        library = zstandard.ZSTD_VERSION if settings.codec == "zstd" else zlib.ZLIB_RUNTIME_VERSION
        chosen = (settings.name, settings.codec, settings.level, settings.window_bytes)
        return digest("compression", VERSION, *chosen, library)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values, offsets = ragged_text(batch["text"])
        size_of = self._sizer()
        view = memoryview(values)  # type: ignore[arg-type]  # numpy arrays had the buffer protocol before its type
        compressed = np.array([size_of(view[start:end]) for start, end in pairwise(offsets)], np.int64)
        plain = np.diff(offsets)
        ratios = pa.array(plain / compressed, pa.float64(), mask=plain == 0)
        return pa.RecordBatch.from_arrays([ratios], schema=pa.schema(self.fields()))

    def _sizer(self) -> Callable[[memoryview], int]:
        """What tells the compressed bytes of a text; of this thread, for compressors are not to be shared."""
        settings = self.settings
        level = settings.level if settings.level is not None else LEVELS[settings.codec][2]
        if settings.codec == "zstd":
            return _zstd_sizer(level, settings.window_bytes)
        bits = (settings.window_bytes or 1 << zlib.MAX_WBITS).bit_length() - 1
        return lambda text: _gzip_size(text, level, bits)


def _zstd_sizer(level: int, window: int | None) -> Callable[[memoryview], int]:
    if window is None:
        compressor = zstandard.ZstdCompressor(level)
        return lambda text: len(compressor.compress(text))
    return partial(_zstd_size, level=level, window_log=window.bit_length() - 1)


def _zstd_size(text: memoryview, level: int, window_log: int) -> int:
    # Parameters of the level depend on the size, as they do where no window is asked for.
    made = zstandard.ZstdCompressionParameters.from_level(level, source_size=len(text), window_log=window_log)
    return len(zstandard.ZstdCompressor(compression_params=made).compress(text))


def _gzip_size(text: memoryview, level: int, window_log: int) -> int:
    # The highest bit asks for gzip's header and trailer.
    compressor = zlib.compressobj(level, zlib.DEFLATED, window_log | 16)
    return len(compressor.compress(text)) + len(compressor.flush())
