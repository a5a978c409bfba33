"""Stores a joined table by the hashes of its keys, and looks up the rows of documents in it.

A part holds the rows of a range of hashes: the hash of the key in 128 bits, in order, and the columns. Two keys of n
share a hash with odds n^2 / 2^129, so the keys themselves are not kept. One part at a time is in memory while the table
is written; those that were read last stay in memory, as many as a process may hold.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import xxhash

from siftlm.errors import UserError
from siftlm.stages.join.source import Source
from siftlm.statistics.ordered import BoolArray, UInt64Array
from siftlm.statistics.stored import stored
from siftlm.store import Store

FOLDER = "tables"
PART_BYTES = 64 << 20  # of a part in memory, about
HELD_BYTES = 512 << 20  # of parts that a process keeps
MOST_BITS = 9  # of parts: files that are open at a time while a table is written
_HIGH, _LOW, _KEY = "hash high", "hash low", "its key"  # columns of documents have no blanks in their names
HASH = (pa.field(_HIGH, pa.uint64(), nullable=False), pa.field(_LOW, pa.uint64(), nullable=False))
KEY = pa.field(_KEY, pa.string())


class Hashes(NamedTuple):
    """Holds the 128-bit hashes of keys as two arrays of halves, uint64[keys] each."""

    high: UInt64Array
    low: UInt64Array

    @staticmethod
    def of(keys: pa.Array) -> Hashes:
        """Returns the xxh3_128 hashes of the UTF-8 bytes of strings, which must have no nulls."""
        digest = xxhash.xxh3_128_digest
        both = np.frombuffer(b"".join(map(digest, keys.cast(pa.binary()).to_pylist())), ">u8").reshape(-1, 2)
        return Hashes(both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64))


@stored
@dataclass(frozen=True)
class TableFacts:
    """Counts the rows of a table, its rows without a key, and its distinct keys."""

    rows: int = 0
    without_key: int = 0
    keys: int = 0


@dataclass(frozen=True)
class Table:
    """Reads and writes a stored table, split into 2^bits files by the leading bits of key hashes."""

    store: Store
    key: str
    bits: int = 0

    def path(self, part: int) -> str:
        """Returns the path of the table's file with the number `part`."""
        return self.store.path(FOLDER, f"{self.key}/{part:03x}-of-{1 << self.bits:03x}", ".arrow")

    def part_of(self, high: UInt64Array) -> UInt64Array:
        """Returns the number of the file that each hash belongs to, from the hash's high half."""
        return high >> np.uint64(64 - self.bits) if self.bits else np.zeros(len(high), np.uint64)

    def write(self, source: Source) -> TableFacts:
        """Writes the table and returns its counts; raises UserError for a repeated key where these are refused."""
        schema = pa.schema([*HASH, KEY, *source.schema()])
        rows = without = 0
        with tempfile.TemporaryDirectory() as folder:
            with ExitStack() as files:
                spill = [
                    files.enter_context(pa.ipc.new_file(f"{folder}/{part}", schema)) for part in range(1 << self.bits)
                ]
                for keys, columns in source.rows():
                    rows, without = rows + len(keys), without + keys.null_count
                    for part, table in self._by_part(keys, columns, schema):
                        spill[part].write_table(table)
            kept = sum(self._write_part(part, f"{folder}/{part}", source) for part in range(1 << self.bits))
        return TableFacts(rows, without, kept)

    def _by_part(self, keys: pa.Array, columns: pa.Table, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
        known = keys.is_valid()
        keys, columns = keys.filter(known), columns.filter(known)
        hashes = Hashes.of(keys)
        table = pa.table([pa.array(hashes.high), pa.array(hashes.low), keys, *columns.columns], schema=schema)
        parts = self.part_of(hashes.high)
        for part in np.unique(parts).tolist():
            yield part, table.filter(pa.array(parts == part))

    def _write_part(self, part: int, spilled: str, source: Source) -> int:
        with pa.ipc.open_file(spilled) as file:
            table = file.read_all()
        high, low = (table[name].to_numpy() for name in (_HIGH, _LOW))
        order = np.lexsort((low, high))  # stable: of one key the first row of the table comes first
        again = np.zeros(len(order), np.bool_)
        again[1:] = (np.diff(high[order]) == 0) & (np.diff(low[order]) == 0)
        if again.any() and source.settings.duplicates == "refuse":
            name = table[_KEY][int(order[again][0])].as_py()
            raise UserError(
                f"{source.place}.duplicates: each key must have one row, got several for {name!r} in "
                f'{source.settings.path}; "first" takes the first of them'
            )
        kept = table.drop_columns(_KEY).take(pa.array(order[~again])).combine_chunks()
        out = pa.BufferOutputStream()
        with pa.ipc.new_file(out, kept.schema) as file:
            file.write_table(kept)
        self.store.write_sealed(self.path(part), out.getvalue().to_pybytes())
        return int(kept.num_rows)

    def columns(self) -> pa.Schema:
        """Returns the schema of the columns that the table adds to documents."""
        fields = _PARTS.get(self.store, self.path(0)).schema
        return pa.schema([field for field in fields if field not in HASH])

    def look_up(self, keys: pa.Array, schema: pa.Schema) -> tuple[pa.Table, BoolArray]:
        """Returns the table's columns for each of `keys`, null without a row, and a mask of the matched keys."""
        hashes = Hashes.of(keys.fill_null(""))
        parts = self.part_of(hashes.high)
        known = np.asarray(keys.is_valid())
        order: list[np.ndarray] = []
        tables: list[pa.Table] = []
        for part in np.unique(parts[known]).tolist():
            mine = np.flatnonzero(known & (parts == part))
            rows = _PARTS.get(self.store, self.path(part))
            place = _find(rows, Hashes(hashes.high[mine], hashes.low[mine]))
            order.append(mine[place >= 0])
            tables.append(rows.select(schema.names).take(pa.array(place[place >= 0])))
        matched = np.zeros(len(keys), np.bool_)
        rows = np.concatenate([np.zeros(0, np.int64), *order])
        matched[rows] = True
        place = np.full(len(keys), -1, np.int64)
        place[rows] = np.arange(len(rows))
        values = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
        return values.take(pa.array(place, mask=place < 0)), matched


def _find(rows: pa.Table, hashes: Hashes) -> np.ndarray:
    """The place of each hash among the rows of a part, -1 where it is not there."""
    high, low = (rows[name].to_numpy() for name in (_HIGH, _LOW))
    place = np.searchsorted(high, hashes.high)
    found = np.full(len(place), -1, np.int64)
    open_ = np.ones(len(place), np.bool_)
    while (open_ := open_ & (place < len(high))).any():  # on to the next where high halves are the same
        at = np.minimum(place, len(high) - 1)
        open_ &= high[at] == hashes.high
        same = open_ & (low[at] == hashes.low)
        found[same] = place[same]
        open_ &= ~same
        place = place + open_
    return found


class _Parts:
    """Keeps the table files that were read last in memory, for all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: OrderedDict[tuple[Store, str], pa.Table] = OrderedDict()

    def get(self, store: Store, path: str) -> pa.Table:
        with self._lock:  # one thread reads a part that several wait for
            table = self._tables.pop((store, path), None)
            if table is None:
                with pa.ipc.open_file(pa.py_buffer(store.read_sealed(path))) as file:
                    table = file.read_all()
            self._tables[store, path] = table
            while len(self._tables) > 1 and sum(held.nbytes for held in self._tables.values()) > HELD_BYTES:
                self._tables.popitem(last=False)
            return table

    def forget(self) -> None:
        with self._lock:
            self._tables.clear()


_PARTS = _Parts()


def forget() -> None:
    """Frees the memory of the table files that this process holds."""
    _PARTS.forget()
