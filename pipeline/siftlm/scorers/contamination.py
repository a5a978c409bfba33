"""Contamination: how much of a document stands in a benchmark, by word n-grams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from siftlm import filesystem
from siftlm.errors import UserError
from siftlm.paths import ReadPath
from siftlm.scorers.protocol import ragged_text
from siftlm.settings import End, Settings
from siftlm.store import digest

VERSION = 2
FILTER_BYTES = 8  # a byte of a first filter for every n-gram: of those that are not there one in nine gets through


class ContaminationSettings(Settings):
    """A benchmark to look for in the documents (13-grams of words: Brown et al. 2020, appendix C)."""

    kind: Literal["contamination"] = "contamination"
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name of the columns, the benchmark's for instance.")
    path: ReadPath = Field(description="The items: .jsonl, .jsonl.gz, .jsonl.zst or .parquet, one a row.")
    text_fields: list[str] = Field(
        ["text"], min_length=1, description="Fields of an item that count, joined by line feeds, lists too."
    )
    ngram: int = Field(13, ge=1, le=64, description="Words in a row that a document and an item must share.")

    @property
    def place(self) -> str:
        """Where the settings stand, for errors."""
        return f"annotate.contamination.{self.name}"


class ContaminationScorer:
    """`<name>_overlap`, the share of the document's n-grams that the benchmark has, and `<name>_item`.

    Words and n-grams are those of `siftlm_kernels.minhash`, compared by 64-bit hashes. `<name>_item` is the number of
    the item, from 0, that has most of them (the first among equals; an n-gram of several items is the first one's),
    null where the overlap is 0. Both are null for a document without words. An item of fewer than `ngram` words is
    found in documents that are nothing else.
    """

    def __init__(self, settings: ContaminationSettings) -> None:
        self.settings = settings

    def fields(self) -> list[pa.Field]:
        name = self.settings.name
        return [pa.field(f"{name}_overlap", pa.float64()), pa.field(f"{name}_item", pa.string())]

    def good_ends(self) -> dict[str, End]:
        return {f"{self.settings.name}_overlap": "lowest"}

    def digest(self) -> str:
        chosen = self.settings
        return digest("contamination", VERSION, chosen.name, chosen.text_fields, chosen.ngram, self._content())

    def check(self) -> None:
        self._index()

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        from siftlm_kernels.minhash import shingle_hashes

        index = self._index()
        hashes, bounds = shingle_hashes(*ragged_text(batch["text"]), ngram=self.settings.ngram)
        at, items = index.find(hashes)
        counts, first = np.diff(bounds), np.searchsorted(at, bounds)
        found = np.diff(first)
        overlap = found / np.maximum(counts, 1)
        names: list[str | None] = [None] * len(counts)
        for row in np.flatnonzero(found).tolist():
            names[row] = str(np.bincount(items[first[row] : first[row + 1]]).argmax())
        columns = [pa.array(overlap, pa.float64(), mask=counts == 0), pa.array(names, pa.string())]
        return pa.RecordBatch.from_arrays(columns, schema=pa.schema(self.fields()))

    def _content(self) -> str:
        try:
            return filesystem.fingerprint(self.settings.path)
        except OSError as error:
            raise _unreadable(self.settings, error) from None

    def _index(self) -> Benchmark:
        chosen = self.settings
        return _load(chosen.model_dump_json(), self._content())


@dataclass(frozen=True)
class Benchmark:
    """The n-grams of a benchmark: hashes in order, the item of each, and a filter that most others don't pass."""

    hashes: NDArray[np.uint64]
    items: NDArray[np.int64]
    passes: NDArray[np.bool_]

    @classmethod
    def of(cls, hashes: NDArray[np.uint64], items: NDArray[np.int64]) -> Benchmark:
        """`hashes` in the order of the items; an n-gram that comes again belongs to the first."""
        distinct, first = np.unique(hashes, return_index=True)
        passes = np.zeros(1 << (FILTER_BYTES * max(1, len(distinct)) - 1).bit_length(), np.bool_)
        passes[distinct & np.uint64(len(passes) - 1)] = True
        return cls(distinct, items[first], passes)

    def find(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where `hashes` has n-grams of the benchmark, in order, and the items that these are of."""
        at = np.flatnonzero(self.passes[hashes & np.uint64(len(self.passes) - 1)])
        place = np.minimum(np.searchsorted(self.hashes, hashes[at]), max(0, len(self.hashes) - 1))
        same = self.hashes[place] == hashes[at] if len(self.hashes) else np.zeros(len(at), np.bool_)
        return at[same], self.items[place[same]]


@lru_cache(maxsize=32)
def _load(chosen: str, _content: str) -> Benchmark:
    from siftlm_kernels.minhash import shingle_hashes

    settings = ContaminationSettings.model_validate_json(chosen)
    try:
        texts = pa.array([_text(settings, row, item) for row, item in enumerate(_items(settings))], pa.large_string())
    except (OSError, ValueError, KeyError) as error:  # pyarrow's and orjson's errors are ValueErrors
        raise _unreadable(settings, error) from None
    hashes, bounds = shingle_hashes(*ragged_text(texts), ngram=settings.ngram)
    if not len(hashes):
        raise UserError(f"{settings.place}.path: must hold items with words, got {settings.path!r} without any")
    return Benchmark.of(hashes, np.repeat(np.arange(len(texts)), np.diff(bounds)))


def _items(settings: ContaminationSettings) -> Iterator[Any]:
    name = settings.path.lower()
    with filesystem.open_read(settings.path) as file:
        if name.endswith(".parquet"):
            for batch in pq.ParquetFile(file).iter_batches(columns=settings.text_fields):
                yield from batch.to_pylist()
        elif name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst")):
            kind = {"gz": "gzip", "zst": "zstd"}.get(name.rsplit(".", 1)[-1])
            with pa.input_stream(file, compression=kind) as stream:
                yield from (orjson.loads(line) for line in stream.read().splitlines() if line.strip())
        else:
            raise ValueError("not a .jsonl, .jsonl.gz, .jsonl.zst or .parquet file")


def _text(settings: ContaminationSettings, row: int, item: Any) -> str:
    """The text of an item: its fields, a line each."""
    parts: list[str] = []
    for field in settings.text_fields:
        value = item.get(field) if isinstance(item, dict) else None
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, str):
                raise UserError(
                    f"{settings.place}.text_fields: must name texts or lists of texts of every item, got {field!r}, "
                    f"which is {type(part).__name__} in item {row} of {settings.path}"
                )
            parts.append(part)
    return "\n".join(parts)


def _unreadable(settings: ContaminationSettings, error: Exception) -> UserError:
    reason = str(getattr(error, "strerror", None) or error).splitlines()[0]
    return UserError(f"{settings.place}.path: must be a benchmark's items, got {settings.path!r}: {reason}")
