"""Reads the items of a benchmark from a file, one a line or row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from siftlm import filesystem


def items_of(path: str, fields: Sequence[str]) -> Iterator[Any]:
    """Yields the items of a .jsonl, .jsonl.gz, .jsonl.zst or .parquet file, of Parquet those `fields` alone.

    Raises:
        ValueError: the file is none of these, or a line is no JSON.
    """
    name = path.lower()
    with filesystem.open_read(path) as file:
        if name.endswith(".parquet"):
            for batch in pq.ParquetFile(file).iter_batches(columns=list(fields)):
                yield from batch.to_pylist()
        elif name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
            kind = {"gz": "gzip", "zst": "zstd"}.get(name.rsplit(".", 1)[-1])
            with pa.input_stream(file, compression=kind) as stream:
                yield from (orjson.loads(line) for line in stream.read().splitlines() if line.strip())
        else:
            raise ValueError("not a .jsonl, .jsonl.gz, .jsonl.zst or .parquet file")
