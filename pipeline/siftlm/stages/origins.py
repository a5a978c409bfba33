"""Tells which file a record of a shard is from, and which record of the file it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.store import Marker


class FilePart(NamedTuple):
    """Describes a stretch of a shard's records: the file, how many there are, and the number of the first there."""

    path: str
    records: int
    first: int


@dataclass(frozen=True)
class Origins:
    """Finds the file and the number in it, from 0, of the records of one shard."""

    parts: Sequence[FilePart]

    def of(self, positions: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Returns the paths and the numbers in their files of records at positions int64[n] of the shard."""
        ends = np.cumsum([part.records for part in self.parts])
        at = np.asarray(positions.fill_null(0))
        index = np.minimum(np.searchsorted(ends, at, side="right"), len(self.parts) - 1)
        moved = np.array([part.first - (end - part.records) for part, end in zip(self.parts, ends, strict=True)])
        paths = pa.array([part.path for part in self.parts]).take(pa.array(index))
        return paths, pc.if_else(positions.is_valid(), pa.array(at + moved[index]), positions)


def origins(reads: Iterable[Sequence[Any]], documents: Sequence[Marker]) -> list[Origins]:
    """Returns the origins of every shard's records, given what each shard reads and the markers of its documents.

    Slices of a file are in order, so records are numbered on over all of them.
    """
    before: Counter[str] = Counter()
    made: list[Origins] = []
    for slices, marker in zip(reads, documents, strict=True):
        parts: list[FilePart] = []
        for part, records in zip(slices, marker.facts["records"], strict=True):
            parts.append(FilePart(part.path, records, before[part.path]))
            before[part.path] += records
        made.append(Origins(parts))
    return made


def from_manifest(shard: Mapping[str, Any]) -> Origins:
    """Returns the origins of a shard that a manifest describes."""
    return Origins([FilePart(*part) for part in shard["files"]])
