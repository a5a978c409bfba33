"""Decides what a shard reads: many small files together, one file, or a slice of a large one.

What a shard is changes no byte of the output, only how the work is divided and what a changed file makes anew. Files
are taken in order. Small ones are put together up to where the hash of a name says so, so that a file that comes or
goes changes the shard that it is in and no other. Large ones are cut between records where their format allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import xxhash

from siftlm.engine.shards import Task
from siftlm.engine.step import Shard
from siftlm.findings import name_some
from siftlm.patterns import InputFile
from siftlm.readers import Bounds, InputSettings, ReadBatch, SliceBound, read_slices, slice_cuts
from siftlm.readers.detection import without_packing
from siftlm.readers.slices import WHOLE
from siftlm.stages.inputs import SHOWN, Fingerprinted, check_unchanged, gone

SLICES = "slices"  # the fact of a task with what it reads
TOGETHER = 16  # shares of `shard_bytes`: what is smaller than one is put together up to about one
FILE_BYTES = 32 << 10  # what a file counts for at least, however small
LEAST_SLICE = 64 << 10
EXPANSION = 4  # of text over its compressed bytes, about
_THREADS = 8
_UNCUT = (
    "no record can be found in the middle of one gzip, bzip2 or xz stream, of one zstd frame or row group, and of JSON "
    "without a value a line"
)


class FileSlice(NamedTuple):
    """Names a file, or a part of it, with its fingerprint and signature from before it was read."""

    path: str
    fingerprint: str
    signature: str
    size: int  # bytes of the file, or an equal share of them
    bounds: Bounds = WHOLE

    @property
    def packed(self) -> list[Any]:
        """Returns the slice as JSON can carry it."""
        bounds = [None if cut is None else list(cut) for cut in self.bounds]
        return [self.path, self.fingerprint, self.signature, self.size, bounds]

    @classmethod
    def of(cls, packed: Sequence[Any]) -> FileSlice:
        """Returns a slice from what `packed` made of it."""
        path, fingerprint, signature, size, (begin, end) = packed
        return cls(path, fingerprint, signature, size, (begin and SliceBound(*begin), end and SliceBound(*end)))

    @property
    def identity(self) -> tuple[Any, ...]:
        """Returns what the documents of the slice depend on, besides the settings and the format."""
        return self.fingerprint, *(None if cut is None else tuple(cut) for cut in self.bounds)

    @property
    def name(self) -> str:
        """Returns the path and, of a part of a file, where that begins."""
        begin, _ = self.bounds
        return self.path if self.bounds == WHOLE else f"{self.path} from {begin.at if begin else 0:,}"


def read_unchanged(
    task: Task, settings: InputSettings, batch_bytes: int, records: list[int] | None = None
) -> Iterator[ReadBatch]:
    """Yields the batches of an input shard, and appends to `records` how many records each of its slices has.

    Raises:
        UserError: a file changed since its fingerprint was taken.
    """
    slices = [FileSlice.of(packed) for packed in task.facts[SLICES]]
    counts = [] if records is None else records
    try:
        yield from read_slices(((part.path, part.bounds) for part in slices), settings, counts, batch_bytes=batch_bytes)
    except FileNotFoundError:
        raise gone(slices[len(counts)].path) from None
    for part in slices:
        check_unchanged(part.path, part.fingerprint, part.signature)


def shares(settings: InputSettings, files: Sequence[Fingerprinted]) -> Iterator[list[FileSlice]]:
    """Yields what each shard of a source reads, in the order of the files."""
    group: list[FileSlice] = []
    gathered = 0.0
    target = settings.shard_bytes / TOGETHER
    for file, slices in zip(files, _sliced(settings, files), strict=True):
        size = max(FILE_BYTES, text_bytes(file.file))
        small = len(slices) == 1 and size < target
        if group and not (small and gathered + size <= 2 * target):
            yield group
            group, gathered = [], 0.0
        if not small:
            yield from ([part] for part in slices)
            continue
        group += slices
        gathered += size
        if _uniform(file.file.path) < size / target:
            yield group
            group, gathered = [], 0.0
    if group:
        yield group


def text_bytes(file: InputFile) -> int:
    """Returns about how much text a file has, judged by its size and its name."""
    packed = without_packing(file.path) != file.path.lower() or file.path.lower().endswith((".parquet", ".parq", ".pq"))
    return file.size * EXPANSION if packed else file.size


def _uniform(path: str) -> float:
    """A number in [0, 1) by the name of a file."""
    return xxhash.xxh3_64_intdigest(path.rpartition("/")[2].encode()) / 2**64


def _sliced(settings: InputSettings, files: Sequence[Fingerprinted]) -> Iterator[list[FileSlice]]:
    """Every file as the slices that it is read in; only files that look large are opened."""
    size = max(LEAST_SLICE, settings.shard_bytes)
    large = [file for file in files if text_bytes(file.file) >= 1.5 * size]
    with ThreadPoolExecutor(_THREADS) as pool:
        cuts = dict(
            zip(
                (file.file.path for file in large),
                pool.map(lambda file: slice_cuts(file.file.path, settings, size), large),
                strict=True,
            )
        )
    for file, fingerprint, signature in files:
        places = cuts.get(file.path, [])
        pairs = zip([None, *places], [*places, None], strict=True)
        share = file.size // (len(places) + 1)
        sizes = [file.size - share * len(places), *(share for _ in places)]
        yield [
            FileSlice(file.path, fingerprint, signature, part, pair) for part, pair in zip(sizes, pairs, strict=True)
        ]


def whole_files(inputs: Sequence[InputSettings], shards: Sequence[Shard]) -> list[str]:
    """Returns a line for every source with files that are too large for a shard and cannot be cut."""
    lines = []
    for settings in inputs:
        own = (part for shard in shards if shard.facts["source"] == settings.source for part in shard.reads)
        large = [part.path for part in own if part.bounds == WHOLE and _is_large(part, settings)]
        if large:
            many = f"{len(large):,} files are" if len(large) > 1 else "one file is"
            lines.append(
                f"input {settings.source!r}: {many} above shard_bytes and read whole, by one process each: "
                f"{name_some(large, SHOWN)}; {_UNCUT}"
            )
    return lines


def _is_large(part: FileSlice, settings: InputSettings) -> bool:
    return text_bytes(InputFile(part.path, part.size)) >= 2 * max(LEAST_SLICE, settings.shard_bytes)
