"""The ratio is that of a file which the compressor's own library writes."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from pydantic import ValidationError

from siftlm.scorers.compression import CompressionSettings

WORDS = np.random.default_rng(3).choice(["the", "sieve", "keeps", "coarse", "grain", "and", "lets", "Größe"], 4000)
TEXTS = [" ".join(WORDS), "ab" * 3000, "x", "", "".join(map(chr, range(32, 3000))), " ".join(WORDS[:30])]


def ratios(texts: list[str], **settings: Any) -> list[float | None]:
    columns = {"text": pa.array(texts, pa.large_string())}

    made = CompressionSettings(name="c", **settings).scorer().score(pa.RecordBatch.from_pydict(columns))
    assert made.schema.names == ["c_ratio"]
    return made["c_ratio"].to_pylist()  # type: ignore[no-any-return]


def expected(sizes: list[int]) -> list[float | None]:
    return [len(text.encode()) / size if text else None for text, size in zip(TEXTS, sizes, strict=True)]


@pytest.mark.parametrize("level", [1, 6, 9])
def test_gzip_is_the_size_of_its_file(level: int) -> None:
    def size(text: str) -> int:
        file = io.BytesIO()
        with gzip.GzipFile("", "wb", level, file, mtime=0) as out:
            out.write(text.encode())
        return len(file.getvalue())

    assert ratios(TEXTS, codec="gzip", level=level) == expected([size(text) for text in TEXTS])


@pytest.mark.parametrize("level", [1, 3, 19])
def test_zstd_is_the_size_of_its_frame(level: int) -> None:
    frames = [zstandard.compress(text.encode(), level) for text in TEXTS]
    assert ratios(TEXTS, codec="zstd", level=level) == expected([len(frame) for frame in frames])


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_a_repetition_beyond_the_window_is_not_found(codec: str) -> None:
    noise = "".join(map(chr, np.random.default_rng(5).integers(33, 127, 6000).tolist()))
    near, far = (ratios([noise + noise], codec=codec, window_bytes=1 << bits)[0] for bits in (13, 11))
    assert near is not None
    assert far is not None
    assert near > 1.8 * far


def test_ratios_do_not_depend_on_the_batch() -> None:
    assert [ratios([text])[0] for text in TEXTS] == ratios(TEXTS)
    assert ratios(TEXTS[::-1]) == ratios(TEXTS)[::-1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "gzip", "level": 10}, "level must be 1 to 9 for gzip, got 10"),
        ({"codec": "zstd", "level": 0}, "level must be 1 to 22 for zstd, got 0"),
        ({"codec": "gzip", "window_bytes": 65536}, "window_bytes must be a power of two from 512 to 32,768"),
        ({"codec": "zstd", "window_bytes": 3000}, "window_bytes must be a power of two from 1,024 to 134,217,728"),
    ],
)
def test_what_the_codec_does_not_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CompressionSettings(name="c", **settings)


def test_the_digest_changes_with_the_settings() -> None:
    made = [
        CompressionSettings(name="c", **settings).scorer().digest()
        for settings in ({}, {"codec": "gzip"}, {"level": 4}, {"window_bytes": 1024})
    ]
    assert len(set(made)) == len(made)
