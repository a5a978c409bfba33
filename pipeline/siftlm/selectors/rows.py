"""Gives rules and weight factors the columns of documents as numpy arrays, converted from Arrow once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from siftlm.errors import UserError, nearest
from siftlm.selectors.lists.settings import ListSettings
from siftlm.statistics import columns as arrow
from siftlm.statistics.cuts import LARGEST_MASS, POOL
from siftlm.statistics.hashing import hash_names, hash_strings, keyed
from siftlm.statistics.ordered import BoolArray, Float64Array, Int64Array, UInt64Array


@dataclass(frozen=True)
class Rows:
    """Reads columns of some rows of a shard: those at `index`, int64[rows], in `table`.

    Every array has the length of `index`. `purpose` names the random numbers of these rows. Views of one shard share
    `cache`, so a column is converted, and an id hashed, once.
    """

    table: pa.RecordBatch | pa.Table
    index: npt.NDArray[np.intp]
    seed: int
    tokens_column: str | None
    purpose: str = "rehearsal"
    cache: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pa.RecordBatch | pa.Table, seed: int, tokens: str | None) -> Rows:
        """Returns all rows of a shard."""
        return cls(table, np.arange(table.num_rows), seed, tokens)

    def drawing(self, purpose: str) -> Rows:
        """Returns the same rows, whose random numbers are now those of `purpose`."""
        return replace(self, purpose=purpose)

    def __len__(self) -> int:
        return len(self.index)

    def where(self, mask: BoolArray) -> Rows:
        """Returns the rows for which `mask`, bool[rows], is true."""
        return replace(self, index=self.index[mask])

    def number(self, name: str) -> Float64Array | Int64Array:
        """Returns a column as int64 or float64, 0 where it is missing."""
        return self._numbers(name)[0][self.index]

    def real(self, name: str) -> Float64Array:
        """Returns a column as float64, 0 where it is missing."""
        return self.number(name).astype(np.float64, copy=False)

    def missing(self, name: str) -> BoolArray:
        """Tells for each row whether a column, of any type, is null or NaN."""
        if pa.types.is_floating(self._column(name).type):
            return self._numbers(name)[1][self.index]
        nulls = self._cached(f"null {name}", lambda: np.asarray(self._column(name).is_null()))
        return np.asarray(nulls[self.index], np.bool_)

    def value(self, name: str) -> object:
        """Returns the first row's value of a column as a Python object, None where it is null."""
        value: object = self._column(name)[int(self.index[0])].as_py()
        return value

    def isin(self, name: str, values: Sequence[str | bool | int]) -> BoolArray:
        """Tells for each row whether a column of strings, booleans or integers holds one of `values`; nulls do not."""
        column = self._column(name)
        try:
            wanted = pa.array(list(values)).cast(column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
            raise UserError(f"in: must list values of {name}'s type {column.type}, got {values}") from None
        return np.asarray(np.asarray(pc.is_in(column, wanted))[self.index], np.bool_)

    def listed(self, name: str, table: ListSettings) -> BoolArray:
        """Tells for each row whether a list has the value of a column of strings; it never has a null."""
        column = self._column(name)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise UserError(f"column: must be of strings where a table names a list, got {name!r} of {column.type}")
        return np.asarray(self._cached(f"{name} in {table!r}", lambda: _listed(column, table))[self.index], np.bool_)

    def look_up(self, name: str, table: dict[str, float], default: float, setting: str = "column") -> Float64Array:
        """Returns for each row the number that `table` has for the column's value, written as text; else `default`.

        The column is of strings, booleans or integers; an error names the setting that named it.
        """
        column = self._column(name)
        if not (
            pa.types.is_string(column.type) or pa.types.is_boolean(column.type) or pa.types.is_integer(column.type)
        ):
            raise UserError(f"{setting}: must be of strings, booleans or integers, got {name!r} of {column.type}")
        encoded = column.cast(pa.string()).dictionary_encode()
        values = [table.get(key, default) for key in encoded.dictionary.to_pylist()] + [default]
        codes = np.asarray(encoded.indices.fill_null(len(values) - 1))
        return np.asarray(np.asarray(values)[codes][self.index], np.float64)

    def group(self, name: str) -> UInt64Array:
        """Returns a 60-bit hash of a column of strings, with the lowest 4 bits 0; nulls join small groups.

        Two of n names share a group with odds n^2 / 2^61: 4e-7 for 1e6 domains.
        """
        column = self._column(name)
        hashes = self._cached(
            f"group {name}", lambda: np.where(np.asarray(column.is_null()), POOL, hash_names(column) & POOL)
        )
        return np.asarray(hashes[self.index], np.uint64)

    def draw(self) -> UInt64Array:
        """Returns a uniform 64-bit random number for each row by seed, purpose and doc_id; purposes are independent."""
        hashes = self._cached("hash of doc_id", lambda: hash_strings(self._column("doc_id")))
        return keyed(hashes[self.index], self.seed, self.purpose)

    def tokens(self) -> Int64Array:
        """Returns the token count of every document, 0 where it is missing."""
        assert self.tokens_column is not None, "a rule by tokens was validated without a column of tokens"
        counts = self.number(self.tokens_column)
        if counts.dtype != np.int64 or (len(counts) and counts.min() < 0):
            raise UserError(f"tokens: must be a column of integers >= 0, got {self.tokens_column!r}")
        if len(counts) and counts.max() > LARGEST_MASS:
            raise UserError(
                f"tokens: must be a column of integers up to {LARGEST_MASS:,}, got {self.tokens_column!r} with "
                f"{counts.max():,}"
            )
        return counts.astype(np.int64, copy=False)

    def mass(self, by: str) -> Int64Array:
        """Returns how much each document counts in a unit: 1 for `documents`, its token count for `tokens`."""
        return self.tokens() if by == "tokens" else np.ones(len(self), np.int64)

    def _column(self, name: str) -> pa.Array:
        names = self.table.schema.names
        if names.count(name) != 1:
            near = nearest(name, names)
            hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(names)}"
            raise UserError(f"column: must be one of the columns of a document, got {name!r}{hint}")
        return self._cached(f"column {name}", lambda: arrow.column(self.table, name))

    def _numbers(self, name: str) -> tuple[Float64Array | Int64Array, BoolArray]:
        self._column(name)
        numbers: tuple[Float64Array | Int64Array, BoolArray]
        numbers = self._cached(f"number {name}", lambda: arrow.numbers(self.table, name))
        return numbers

    def _cached(self, name: str, make: Any) -> Any:
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]


def _listed(column: pa.Array, table: ListSettings) -> BoolArray:
    """Whether a list has each value of a column; it is asked once for each different value."""
    opened, encoded = table.opened(), column.dictionary_encode()
    held = np.append(opened.holds(encoded.dictionary), False)
    return np.asarray(held[np.asarray(encoded.indices.fill_null(len(held) - 1))], np.bool_)
