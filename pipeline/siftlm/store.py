"""Stores the outputs of steps under keys, written whole or not at all.

An output is marked when it is done, and audited by its counts. A stage's output for one shard is
`<stage>/<key>.parquet`, committed by `<stage>/<key>.done`, a small JSON marker with the counts. The key is a digest of
everything that the bytes depend on, so an output is never stale: it is there, or it is not. Several runs may share one
store.

Nothing that is read back is trusted: a marker holds the checksums of the output's files and one of itself, and a file
is compared with them when it is opened. What is not as it was written is named and loses its marker, so that it is made
again; for that reason nothing in a store is synced to the disk.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from errno import EISDIR, ENOENT, ENOTDIR
from functools import partial
from typing import Any, BinaryIO, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from siftlm import filesystem, seals
from siftlm.errors import UserError, one_line
from siftlm.seals import CHANGED, Seal
from siftlm.tables import MANY_ROWS, Choice, ShardWriter, at_hand, chosen, open_parquet, rows_of_group

log = logging.getLogger(__name__)

DAMAGE = re.compile(r"store: must hold every file as it was written, got (.+?): (.+?); ")
GONE = "it is gone"
_DIGEST_BYTES = 16  # of xxh3_128, before the content of a file that has no marker
T = TypeVar("T")

_damages: dict[str, tuple[str, str]] = {}
"""Markers that this process removed, and the damage for which it did."""


def digest(*parts: object) -> str:
    """Returns a 128-bit digest in hexadecimal of values that JSON can hold.

    Equal values give equal digests on every machine.
    """
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    return xxhash.xxh3_128_hexdigest(content)


@dataclass(frozen=True)
class Marker:
    """Holds the counts, seals and facts of one committed output; the audit adds the counts up.

    rows_in = rows_out + the sum of `dropped` + the sum of `errors`, always. `files` seals the files of the output, by
    what their names have behind the key. `content` digests the output where a later stage wants to know whether it
    changed. `facts` holds what is not counted: sizes, digests, seconds.
    """

    stage: str
    key: str
    shard: str
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    files: dict[str, Seal] = field(default_factory=dict)
    content: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def balance(self) -> int:
        """Returns how many rows are not accounted for; anything but 0 fails the run."""
        return self.rows_in - self.rows_out - sum(self.dropped.values()) - sum(self.errors.values())


@dataclass(frozen=True)
class Store:
    """Reads and writes the committed outputs of stages in a folder, local or remote.

    It can be pickled for workers. Nothing is removed from a store that is not `owned`: one of an earlier run, say.
    """

    root: str
    owned: bool = True

    def path(self, stage: str, key: str, suffix: str = ".parquet") -> str:
        return f"{self.root}/{stage}/{key}{suffix}"

    def done(self, stage: str) -> set[str]:
        """Returns the keys of all committed outputs of `stage`, by one listing of its folder."""
        names = filesystem.list_names(f"{self.root}/{stage}")
        return {name.removesuffix(".done") for name in names if name.endswith(".done")}

    def is_done(self, stage: str, key: str) -> bool:
        return filesystem.exists(self.path(stage, key, ".done"))

    def committed(self, stage: str, keys: Iterable[str]) -> dict[str, Marker]:
        """Returns the markers of those of the outputs that exist, by one listing of their folder.

        An output whose marker or size is not as it was written is named, and is not there any more.
        """
        sizes = filesystem.list_sizes(f"{self.root}/{stage}")
        markers = (_or_none(partial(self._whole, stage, key, sizes)) for key in keys if f"{key}.done" in sizes)
        return {marker.key: marker for marker in markers if marker is not None}

    def find(self, stage: str, key: str) -> Marker | None:
        """Returns the marker of one output after checking all of its files; None where there is none.

        A damaged output is named in the log, and counts as missing.
        """
        return _or_none(partial(self._sound, stage, key)) if self.is_done(stage, key) else None

    def _sound(self, stage: str, key: str) -> Marker:
        marker, folder = self.marker(stage, key), self.path(stage, key, "")
        for suffix in marker.files:
            with self.opened(stage, key, suffix):
                pass
        if strange := set(filesystem.list_names(folder)) - {name[1:] for name in marker.files}:
            raise self.damaged(f"{folder}/{min(strange)}", "it was not written by a run", stage, key)
        return marker

    def seals(self, stage: str, key: str) -> dict[str, Seal]:
        """Returns the seals of all files of an output that is a folder, for its marker."""
        names = filesystem.list_names(self.path(stage, key, ""))
        return {f"/{name}": Seal.of(self.path(stage, key, f"/{name}")) for name in names}

    def _whole(self, stage: str, key: str, sizes: Mapping[str, int]) -> Marker:
        marker = self.marker(stage, key)
        for suffix, seal in marker.files.items():
            if "/" not in suffix and sizes.get(f"{key}{suffix}") != seal.size:
                raise self.damaged(self.path(stage, key, suffix), "it is not whole", stage, key)
        return marker

    def marker(self, stage: str, key: str) -> Marker:
        path = self.path(stage, key, ".done")
        with self._damage_named(path, stage, key):
            told = orjson.loads(filesystem.read_bytes(path))
        check = told.pop("check", "") if isinstance(told, dict) else None
        if check != digest(told) or (told["stage"], told["key"]) != (stage, key):
            raise self.damaged(path, CHANGED, stage, key)
        return Marker(**{**told, "files": {suffix: Seal(**seal) for suffix, seal in told["files"].items()}})

    def commit(self, marker: Marker) -> Marker:
        """Marks an output as complete, after all of its files are in place."""
        if marker.balance():
            raise AssertionError(
                f"{marker.stage} of {marker.shard}: {marker.rows_in} rows in, {marker.rows_out} out, "
                f"{marker.dropped} dropped, {marker.errors} errors: {marker.balance()} unaccounted for"
            )
        kept = {suffix: filesystem.kept_digest(self.path(marker.stage, marker.key, suffix)) for suffix in marker.files}
        files = {suffix: replace(seal, kept=kept[suffix]) for suffix, seal in marker.files.items()}
        told = asdict(replace(marker, files=files))
        content = orjson.dumps({**told, "check": digest(told)}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)
        filesystem.write_bytes(self.path(marker.stage, marker.key, ".done"), content, durable=False)
        return marker

    def write_sealed(self, path: str, content: bytes) -> None:
        """Writes a small file without a marker, with a checksum that `read_sealed` checks."""
        filesystem.write_bytes(path, xxhash.xxh3_128_digest(content) + content, durable=False)

    def read_sealed(self, path: str) -> bytes:
        """Returns what `write_sealed` wrote; raises UserError where the file is damaged or gone.

        A damaged file is removed.
        """
        with self._damage_named(path):
            content = filesystem.read_bytes(path)
        if xxhash.xxh3_128_digest(content[_DIGEST_BYTES:]) != content[:_DIGEST_BYTES]:
            raise self.damaged(path, CHANGED)
        return content[_DIGEST_BYTES:]

    def holds_sealed(self, path: str) -> bool:
        """Tells whether there is an undamaged file of `write_sealed`; a damaged one is removed."""
        return filesystem.exists(path) and _or_none(partial(self.read_sealed, path)) is not None

    def damaged(self, path: str, reason: str, stage: str | None = None, key: str = "") -> UserError:
        """Returns the error to raise for a file that is not as it was written.

        Its marker is removed, or the file itself where it has none, so that a run makes it again. Another thread that
        then misses the marker gives the same error.
        """
        forgotten = path if stage is None else self.path(stage, key, ".done")
        if (path, reason) == (forgotten, GONE):
            path, reason = _damages.get(forgotten, (path, reason))
        _damages[forgotten] = path, reason
        mended = self.owned and _removed(forgotten)
        remedy = "run again to have it made anew" if mended else f"remove {forgotten} and run again"
        return UserError(f"store: must hold every file as it was written, got {path}: {reason}; {remedy}")

    def writer(
        self,
        stage: str,
        key: str,
        schema: pa.Schema,
        *,
        suffix: str = ".parquet",
        metadata: dict[str, str] | None = None,
    ) -> AbstractContextManager[ShardWriter]:
        """Opens a Parquet writer whose file appears under its name only when the block ends well."""
        return open_parquet(self.path(stage, key, suffix), schema, metadata=metadata, durable=False)

    def batches(self, stage: str, key: str, *, rows: int = 512, columns: Choice = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows of one output in order, at most `rows` at a time.

        One row group is in memory.
        """
        return self.row_range(stage, key, 0, sys.maxsize, rows=rows, columns=columns)

    def row_range(
        self, stage: str, key: str, start: int, end: int, *, rows: int = 512, columns: Choice = None
    ) -> Iterator[pa.RecordBatch]:
        """Yields rows [start, end) of one output, and reads only the row groups that hold them."""
        with self.open(stage, key) as file:
            names, first = chosen(file, columns), 0
            for group in range(file.num_row_groups):
                last = first + file.metadata.row_group(group).num_rows
                if first < end and last > start:
                    yield from rows_of_group(file, group, max(start - first, 0), min(end, last) - first, rows, names)
                first = last

    def table(self, stage: str, key: str, columns: Choice = None, suffix: str = ".parquet") -> pa.Table:
        """Returns one output as a table, which is meant for narrow columns and never for texts."""
        with self.open(stage, key, suffix) as file:
            return file.read(columns=chosen(file, columns), use_threads=file.metadata.num_rows > MANY_ROWS)

    def rows(self, stage: str, key: str) -> int:
        """Returns how many rows an output has."""
        with self.open(stage, key) as file:
            return int(file.metadata.num_rows)

    def schema(self, stage: str, key: str) -> pa.Schema:
        with self.open(stage, key) as file:
            return file.schema_arrow

    @contextmanager
    def open(self, stage: str, key: str, suffix: str = ".parquet") -> Iterator[pq.ParquetFile]:
        """Opens one output as a Parquet file; raises UserError where it is not as it was written."""
        with (
            self.opened(stage, key, suffix) as stream,
            self._damage_named(self.path(stage, key, suffix), stage, key),
            pq.ParquetFile(at_hand(stream), pre_buffer=False, page_checksum_verification=True) as file,
        ):
            yield file

    @contextmanager
    def opened(self, stage: str, key: str, suffix: str) -> Iterator[BinaryIO]:
        """Opens one file of an output for reading; raises UserError where it is not as it was committed."""
        path = self.path(stage, key, suffix)
        with self._damage_named(path, stage, key):
            stream = filesystem.open_read(path)
        with stream:
            if not seals.is_known(path, stream):
                seal = self.marker(stage, key).files.get(suffix)
                reason = seal.damage(path, stream) if seal else "its marker does not know it"
                if reason:
                    raise self.damaged(path, reason, stage, key)
                seals.remember(path, stream)
            yield stream

    @contextmanager
    def _damage_named(self, path: str, stage: str | None = None, key: str = "") -> Iterator[None]:
        """Names the file of the store that cannot be read as what was committed."""
        try:
            yield
        except (pa.ArrowException, orjson.JSONDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, ENOENT, ENOTDIR, EISDIR):
                raise
            reason = GONE if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
            raise self.damaged(path, reason, stage, key) from error


def _removed(path: str) -> bool:
    """Whether a file is gone now; it stays in a folder that cannot be written."""
    try:
        filesystem.remove(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)  # by somebody else who has seen the damage
    return True


def damage_in(error: BaseException | None) -> tuple[str, str] | None:
    """Returns (path, reason) of the damaged file of a store that caused an error, None for other errors.

    The error may come from another process.
    """
    while error is not None:
        if told := DAMAGE.search(str(error)):
            return told[1], told[2]
        error = error.__cause__ or error.__context__
    return None


def tell_damage(error: BaseException) -> str:
    """Logs which damaged file is made again, and returns its path; raises errors of another kind."""
    told = damage_in(error)
    if told is None:
        raise error
    log.warning("%s", one_line(f"store: {told[0]} is damaged, {told[1]}; it is made again"))
    return told[0]


def _or_none(look: Callable[[], T]) -> T | None:
    """What `look` returns; None where it finds damage, which is named."""
    try:
        return look()
    except UserError as error:
        tell_damage(error)
        return None


def mended(work: Callable[[], T]) -> T:
    """Calls `work`, and calls it again where it has found damaged outputs, to make them again.

    Every call goes on from what is committed. Whoever finds damage removes the marker, so that the next round makes the
    output again. A file that is found damaged twice is not: the disk fails, or somebody else writes there.
    """
    told: set[str] = set()
    while True:
        try:
            return work()
        except (UserError, RuntimeError) as error:
            damage = damage_in(error)
            if damage is None or damage[0] in told:
                raise
            told.add(tell_damage(error))
